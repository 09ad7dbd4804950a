"""Which of a source's paths are wanted."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence

_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")

Wanted = Callable[[str], bool]


def everything(path: str) -> bool:
    """Wants every path."""
    return True


def matching(include: Sequence[str], exclude: Sequence[str] = ()) -> Wanted:
    """True for paths that match one of `include` and none of `exclude`: fnmatch patterns over the whole path, `*` spans `/`."""
    takes = re.compile("|".join(fnmatch.translate(p) for p in expand(include)) or r"(?!)")
    leaves = re.compile("|".join(fnmatch.translate(p) for p in expand(exclude)) or r"(?!)")
    return lambda path: takes.match(path) is not None and leaves.match(path) is None


def expand(patterns: Iterable[str]) -> list[str]:
    """Patterns with their braces written out: `a/{x,y}.gz` is `a/x.gz` and `a/y.gz`."""
    done: list[str] = []
    for pattern in patterns:
        found = _BRACES.search(pattern)
        if found is None:
            done.append(pattern)
        else:
            head, tail = pattern[: found.start()], pattern[found.end() :]
            done += expand(head + choice + tail for choice in found.group(1).split(","))
    return done


def is_literal(pattern: str) -> bool:
    """Whether a pattern names one path."""
    return not any(c in pattern for c in "*?[")
