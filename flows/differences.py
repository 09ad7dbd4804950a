"""Where two nested values of a plan differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_LONGEST = 40


def differences(old: Any, new: Any, between: str = " -> ", path: str = "") -> Iterator[str]:
    """Leaves that differ, as `optim.lr: 0.1 -> 0.3`; one that is missing is `nothing`, a long one is cut."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(old.get(key, _NOTHING), new.get(key, _NOTHING), between, f"{path}.{key}" if path else key)
    elif old != new:
        yield f"{path}: {_short(old)}{between}{_short(new)}"


class _Nothing:
    def __str__(self) -> str:
        return "nothing"


_NOTHING = _Nothing()


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
