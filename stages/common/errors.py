"""Errors that a user can act on: what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable
from pathlib import Path

USER_MISTAKE = 2  # exit code of a user's mistake; ours is 1
MAY_PASS = 75  # exit code of what may succeed when tried again (EX_TEMPFAIL)
_OF_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
# What libraries say, each in its own exception, when memory ran out.
_NO_MEMORY = re.compile(
    r"allocate memory|out of memory|not enough memory|failed to map segment|start new thread", re.IGNORECASE
)


def shown(text: str, most: int = 4000) -> str:
    """A text short enough to be read: of a long one the beginning, and how long it is. Data may have cells of any length."""
    return text if len(text) <= most else f"{text[:most]} ... ({len(text)} characters)"


class UserError(Exception):
    """A mistake in the configuration, the data or the machine's set-up. The process ends with exit code 2.

    what: one sentence. where: the file, column or key. do: what puts it right.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, do: str | None = None) -> None:
        self.what, self.where = shown(what), None if where is None else shown(str(where))
        self.do = None if do is None else shown(do)
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.do:
            lines.append(f"  do: {self.do}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:  # so that it crosses a process border whole
        return _rebuild, (type(self), self.what, self.where, self.do)


class PassingError(UserError):
    """Something outside failed, and another try may succeed: a process was killed. The process ends with exit code 75."""


class ContractError(UserError):
    """A table or file does not keep its contract: missing, retyped or null columns, damaged bytes."""


def _rebuild(kind: type[UserError], what: str, where: str | None, do: str | None) -> UserError:
    return kind(what, where=where, do=do)


def of_machine(error: BaseException) -> UserError | None:
    """A full or read-only disk, a limit, a missing permission, or memory that ran out, as the user's to put right.

    None for any other error.
    """
    if isinstance(error, OSError) and error.errno in _OF_MACHINE:
        where = error.filename if isinstance(error.filename, str) else None
        return UserError(error.strerror or str(error), where=where, do="make room or check permissions")
    if isinstance(error, MemoryError) or (
        isinstance(error, (OSError, RuntimeError, ImportError)) and _NO_MEMORY.search(str(error))
    ):
        said = next(iter(str(error).splitlines()), type(error).__name__)
        do = "give it more, run fewer stages at once (--workers), or lower batch_size; a size out of all reason is that of a "
        return UserError(f"memory ran out: {said}", do=f"{do}damaged file: `prelude verify`")
    return None


def unknown(noun: str, name: str, allowed: Iterable[str], *, where: str | Path | None = None) -> UserError:
    """The error for a name that is not among `allowed`: names the nearest one, else lists them."""
    choices = sorted(allowed)
    folded = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    if close:
        do = f"did you mean {folded[close[0]]!r}?"
    elif choices:
        do = f"choose one of: {', '.join(choices)}"
    else:
        do = "remove it: none is allowed here"
    return UserError(f"unknown {noun} {name!r}", where=where, do=do)
