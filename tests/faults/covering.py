"""A small coverage-guided fuzzer: inputs that reach lines which none reached before are kept, and mutated in their turn.

Coverage is that of lines, seen by `sys.settrace` in the files of one folder. Seeds, order and mutations follow from one number,
and the budget is counted in executions, so that a run finds the same on every machine.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tests.faults.hostile.mutations import ALL

Line = tuple[str, int]
_LONGEST = 1 << 14  # bytes of an input that is kept


@dataclass
class Found:
    """What a run found. crash: the first input that raised what it must not, and the error; kept: inputs of new lines."""

    executions: int = 0
    crash: tuple[bytes, BaseException] | None = None
    kept: list[bytes] = field(default_factory=list)
    lines: set[Line] = field(default_factory=set)


def fuzz(
    target: Callable[[bytes], Any],
    seeds: Sequence[bytes],
    allowed: tuple[type[BaseException], ...],
    folder: Path,
    *,
    executions: int,
    seed: int = 0,
    guided: bool = True,
) -> Found:
    """Calls `target` with the seeds and their mutations until the budget is spent or it raises what is not allowed.

    guided: whether what reached a new line is kept. Without it the seeds alone are mutated: what a blind fuzzer does.
    """
    draw, found = random.Random(seed), Found()
    queue = list(seeds)
    for number in range(executions):
        data = seeds[number] if number < len(seeds) else _mutated(draw.choice(queue), draw)
        found.executions += 1
        reached, error = _run(target, data, folder)
        if error is not None and not isinstance(error, allowed):
            found.crash = data, error
            break
        if reached - found.lines:
            found.kept.append(data)
            if guided and number >= len(seeds) and len(data) <= _LONGEST:
                queue.append(data)
        found.lines |= reached
    return found


def _mutated(data: bytes, draw: random.Random) -> bytes:
    for _ in range(draw.choice((1, 1, 2, 3))):
        data = draw.choice(_MUTATIONS)(data, draw)
    return data


def _byte(data: bytes, draw: random.Random) -> bytes:
    """One byte is another."""
    at = draw.randrange(len(data) or 1)
    return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]


_MUTATIONS = [*ALL, *[_byte] * 6]


def _run(target: Callable[[bytes], Any], data: bytes, folder: Path) -> tuple[set[Line], BaseException | None]:
    """The lines of files in `folder` that the call reached, and what it raised."""
    reached, root = set[Line](), str(folder)

    def lines(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            reached.add((frame.f_code.co_filename, frame.f_lineno))
        return lines

    def calls(frame: FrameType, event: str, arg: Any) -> Any:
        return lines if frame.f_code.co_filename.startswith(root) else None

    before = sys.gettrace()
    sys.settrace(calls)
    try:
        target(data)
    except Exception as error:
        return reached, error
    finally:
        sys.settrace(before)
    return reached, None
