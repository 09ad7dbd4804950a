"""Items made by a program. A corpus of them must call itself simulated."""

from __future__ import annotations

from typing import Any

from stages.common import atomic, registry
from stages.common.registry import part
from stages.common.schema import Part, as_plain
from stages.ingest.core.item import Context, Items, Source


@part
class SimulatedSource(Source):
    """What the `simulator` makes; its settings, seed included, are the source's identity."""

    name = "simulated"
    simulated = True

    def __init__(self, context: Context, *, simulator: Part) -> None:
        self._items: Items = registry.make("simulator", simulator, where="source.simulator")
        self.digest = atomic.digest_json(as_plain(simulator))
        self.about: dict[str, Any] = {"simulator": as_plain(simulator)}

    def items(self) -> Items:
        return self._items
