"""The libraries that are compared with: which are there, and of which version."""

from __future__ import annotations

import functools
import importlib.metadata


@functools.cache
def version(distribution: str) -> str | None:
    """The installed version, None where there is none."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def missing(distributions: tuple[str, ...]) -> list[str]:
    return [name for name in distributions if version(name) is None]
