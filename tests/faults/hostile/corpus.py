"""All hostile items: mutated sources of every reader, and those made by hand."""

from __future__ import annotations

import functools

from tests.faults.hostile import archives, mutations, pictures, sounds, sources, tables, values
from tests.faults.hostile.item import Hostile

LEAST = 500  # items, at least


@functools.cache
def items() -> list[Hostile]:
    """Every item, in a fixed order; their names differ."""
    found = [item for name, source in sources.sources().items() for item in mutations.mutated(name, source)]
    return [
        *found,
        *pictures.pictures(),
        *sounds.sounds(),
        *archives.archives(),
        *tables.tables(),
        *tables.parquets(),
        *values.json_values(),
        *values.arrays(),
    ]


def sound(name: str) -> Hostile:
    """The source of that name as it was before anything happened to it."""
    source = sources.sources()[name]
    return Hostile(f"{name}/sound", source.plan, source.files, outcomes=frozenset({"corpus", "quarantine"}))
