"""Graphs whose nodes carry text, as one array: symbols, their number, degrees and adjacency side by side.

Packed int32 (N, nodes, length + 2 + nodes). Of a node: [:length] its symbols, 0 after its own; [length] how many are its own;
[length + 1] its degree in the graph that the item was cut from; [length + 2 + j] 1 where an edge joins it to node j. Rows
beyond an item's nodes are 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from stages.common.errors import ContractError
from stages.common.symbols import symbols


def decode(array: pa.StructArray, name: str, contract: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The packed array, and each item's nodes (N,). An item of more nodes keeps the first ones and the edges among them.

    contract: nodes, the most of an item; length, the symbols of a node; tokenizer, the path of its file. Raises ContractError
    for an item without a node, an edge beyond its item's nodes, or a count of degrees that is not that of the nodes.
    """
    most, length = contract["nodes"], contract["length"]
    texts, edges, degree = (_Lists(array.field(field)) for field in ("nodes", "edges", "degree"))
    for item in np.flatnonzero(texts.count == 0)[:1]:
        raise _misfit(name, f"graph {item} has no node")
    if (degree.count != texts.count).any() or (edges.count % 2).any():
        raise _misfit(name, "a graph's degrees or edges do not fit its nodes")
    packed = np.zeros((len(array), most, length + 2 + most), np.int32)
    item, place = texts.items()
    kept = place < most
    rows, counts = symbols(contract["tokenizer"]).rows(texts.values.filter(pa.array(kept)), length)
    item, place = item[kept], place[kept]
    packed[item, place, :length] = rows
    packed[item, place, length] = counts
    packed[item, place, length + 1] = degree.values.to_numpy(zero_copy_only=False)[kept]
    pairs = edges.values.to_numpy(zero_copy_only=False).reshape(-1, 2)
    owner = edges.items()[0][::2]
    if len(pairs) and (pairs.min() < 0 or (pairs.max(1) >= texts.count[owner]).any()):
        raise _misfit(name, "a graph has an edge to a node that it has not")
    within = pairs.max(1, initial=0) < most
    (a, b), owner = pairs[within].T, owner[within]
    packed[owner, a, length + 2 + b] = packed[owner, b, length + 2 + a] = 1
    return packed, np.minimum(texts.count, most)


class _Lists:
    """A list column's values, and how many each item has."""

    def __init__(self, array: pa.ListArray) -> None:
        self.values, self.count = array.flatten(), np.diff(array.offsets.to_numpy()).astype(np.int64)

    def items(self) -> tuple[np.ndarray, np.ndarray]:
        """The item of each value, and its place within."""
        ends = np.cumsum(self.count)
        item = np.repeat(np.arange(len(self.count)), self.count)
        return item, np.arange(len(item)) - np.repeat(ends - self.count, self.count)


def _misfit(name: str, says: str) -> ContractError:
    return ContractError(f"column {name!r}: {says}", do="run the ingest again")
