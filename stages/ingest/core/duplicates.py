"""Copies of items: exact, by a digest of the media; near, by perceptual hashes of images. What lies in two splits is a leak.

Near pairs are found without comparing all: hashes that differ in at most d of 64 bits agree whole in one of d + 1 bands. A hash
alone takes many strangers for copies, so each candidate is confirmed by the correlation of the coefficients behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from stages.ingest.core.perceptual import Looks

EXAMPLES = 50
CROWD = 1000
ALIKE = 0.95  # correlation of the low frequencies from which two images are near copies
_BLOCK = 1 << 22  # candidate pairs looked at in one go
# Which of two copies stays: the published test set first, since the training set can better spare a row.
_KEEP = {"test": 0, "valid": 1, "train": 2}


@dataclass
class Found:
    """Copies of one sort. pairs counts them all; cross_split those between splits; `dropped` rows are to go."""

    pairs: int = 0
    cross_split: int = 0
    between: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    dropped: set[int] = field(default_factory=set)
    skipped: int = 0

    def card(self, policy: str, **more: Any) -> dict[str, Any]:
        found = {"policy": policy, "pairs": self.pairs, "cross_split_pairs": self.cross_split, "dropped": len(self.dropped)}
        return found | {"between": dict(sorted(self.between.items())), "examples": self.examples} | more


def numbered(digests: pa.FixedSizeBinaryArray) -> np.ndarray:
    """(N,) int64: a number for each of N digests, the same for the same digest."""
    width = digests.type.byte_width
    texts = np.frombuffer(digests.buffers()[1], f"S{width}", len(digests), digests.offset * width)  # NumPy sorts these fastest
    return np.unique(texts, return_inverse=True)[1]


def exact(ids: Sequence[str], splits: Sequence[str], contents: np.ndarray, drop: bool) -> Found:
    """Pairs of rows with the same content (N,) int64; with `drop`, all of a set of copies but one are to go."""
    order = np.argsort(contents, kind="stable")
    edges = np.flatnonzero(np.diff(contents[order], prepend=-1, append=-1))
    found = Found()
    for which in np.flatnonzero(np.diff(edges) > 1):
        members = order[edges[which] : edges[which + 1]].tolist()
        _count(found, members, ids, splits)
        if drop:
            found.dropped.update(sorted(members, key=lambda i: (_KEEP.get(splits[i], 3), ids[i]))[1:])
    _first_examples(found)
    return found


def near(ids: Sequence[str], splits: Sequence[str], contents: np.ndarray, seen: Looks, distance: int, drop: bool) -> Found:
    """Pairs of contents that look alike: hashes at most `distance` bits apart, correlation at least `ALIKE`.

    Exact copies count as one content. With `drop`, of every pair still whole the row of the lesser claim goes, with its copies,
    the closest pairs first. A hash that over `CROWD` contents share says nothing (flat pictures): those are left out.
    """
    found = Found()
    copies: dict[int, list[int]] = {}
    for i in sorted(range(len(ids)), key=lambda i: (_KEEP.get(splits[i], 3), ids[i])):
        copies.setdefault(contents[i], []).append(i)
    chosen = np.array([members[0] for members in copies.values()], np.int64)
    _, which, size = np.unique(seen.hashes[chosen], return_inverse=True, return_counts=True)
    found.skipped = int((size[which] > CROWD).sum())
    chosen = chosen[size[which] <= CROWD]
    pairs = near_pairs(seen.hashes[chosen], distance)
    alike = np.einsum("pd,pd->p", seen.shape[chosen[pairs[:, 0]]], seen.shape[chosen[pairs[:, 1]]])
    pairs = pairs[alike >= ALIKE]
    for first, second, bits in pairs[np.lexsort((pairs[:, 1], pairs[:, 0], pairs[:, 2]))].tolist():
        a, b = int(chosen[first]), int(chosen[second])
        _pair(found, a, b, ids, splits, bits)
        if drop and a not in found.dropped and b not in found.dropped:
            lesser = max(a, b, key=lambda i: (_KEEP.get(splits[i], 3), ids[i]))
            found.dropped.update(copies[contents[lesser]])
    _first_examples(found)
    return found


def near_pairs(hashes: np.ndarray, distance: int) -> np.ndarray:
    """(P, 3) int64: row a < row b and the bits, 0 to `distance`, in which their hashes (N,) uint64 differ."""
    if not 0 <= distance < 64:
        raise ValueError(f"the distance must be 0 to 63 bits, got {distance}")
    edges = np.linspace(0, 64, distance + 2).astype(int)
    pieces = []
    for low, high in pairwise(edges.tolist()):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << high - low) - 1)
        for a, b in _same_band(band):
            bits = np.bitwise_count(hashes[a] ^ hashes[b]).astype(np.int64)
            close = bits <= distance
            pieces.append(np.stack([np.minimum(a, b), np.maximum(a, b), bits], 1)[close])
    return np.unique(np.concatenate(pieces), axis=0) if pieces else np.zeros((0, 3), np.int64)


def _same_band(band: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of rows of equal band value, in blocks: with rows sorted by value, those k places apart, k = 1, 2, ..."""
    order = np.argsort(band, kind="stable")
    value = band[order]
    starts = np.flatnonzero(np.r_[True, value[1:] != value[:-1]])
    ends = np.repeat(np.r_[starts[1:], len(value)], np.diff(np.r_[starts, len(value)]))
    at, step = np.arange(len(value)), 1
    while len(at := at[at + step < ends[at]]):
        for i in range(0, len(at), _BLOCK):
            block = at[i : i + _BLOCK]
            yield order[block], order[block + step]
        step += 1


def _count(found: Found, members: list[int], ids: Sequence[str], splits: Sequence[str]) -> None:
    """Counts the pairs of a set of copies from its sizes: a thousand blank images are half a million pairs."""
    sizes = Counter(splits[i] for i in members)
    found.pairs += len(members) * (len(members) - 1) // 2
    names = sorted(sizes)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            found.between[f"{a}-{b}"] += sizes[a] * sizes[b]
            found.cross_split += sizes[a] * sizes[b]
    first = min(members, key=lambda i: ids[i])
    across = [i for i in members if splits[i] != splits[first]] or [i for i in members if i != first]
    other = min(across, key=lambda i: ids[i])
    found.examples.append(_example(first, other, ids, splits, 0))


def _pair(found: Found, a: int, b: int, ids: Sequence[str], splits: Sequence[str], bits: int) -> None:
    found.pairs += 1
    if splits[a] != splits[b]:
        found.cross_split += 1
        found.between["-".join(sorted((splits[a], splits[b])))] += 1
    first, second = sorted((a, b), key=lambda i: ids[i])
    found.examples.append(_example(first, second, ids, splits, bits))


def _example(a: int, b: int, ids: Sequence[str], splits: Sequence[str], bits: int) -> dict[str, Any]:
    return {"a": ids[a], "a_split": splits[a], "b": ids[b], "b_split": splits[b], "bits": bits}


def _first_examples(found: Found) -> None:
    """Keeps the pairs across splits first, then the closest."""
    found.examples.sort(key=lambda e: (e["a_split"] == e["b_split"], e["bits"], e["a"], e["b"]))
    del found.examples[EXAMPLES:]
