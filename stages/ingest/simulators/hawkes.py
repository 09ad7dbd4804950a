"""Marked Hawkes processes of latent classes: simulated sequences of events whose law is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.item import Item

_BLOCK = 256  # candidate events drawn at a time


@part
class Hawkes:
    """`items` sequences of `events` events of `types` types, each of one of `classes` latent classes.

    Type c of a sequence of class k has intensity lambda_c(t) = base + sum over past events (t_i, c_i, v_i) of
    A_k[c, c_i] v_i decay exp(-decay (t - t_i)) (Hawkes 1971, "Spectra of some self-exciting and mutually exciting point
    processes", with exponential kernels and marks); v are marks exp(spread N(0, 1) - spread^2 / 2), of mean 1. A_k lets type c
    excite c and c + k + 1 (modulo `types`), `branching` / 2 each: all classes have the same rates of types, and differ in what
    follows what. Simulated by thinning (Ogata 1981), all sequences side by side: between events the intensity falls, so its
    value now bounds it. base: of each type, 1 / types. Times in seconds, from 0.

    Labels: kind (`k0` ..., the latent class), next (`e0` ..., the type of event `events` + 1, which the media do not
    hold). Item i depends on (seed, i) alone. Raises UserError for arguments out of their range.
    """

    def __init__(
        self,
        *,
        items: int = 1500,
        events: int = 60,
        types: int = 8,
        classes: int = 4,
        branching: float = 0.8,
        decay: float = 2.0,
        spread: float = 0.5,
        seed: int = 0,
    ) -> None:
        if not 1 <= classes < types or min(items, events) < 1 or not 0 <= branching < 1 or decay <= 0 or spread < 0:
            raise UserError(
                "classes must be fewer than types, branching in [0, 1), decay above 0, the rest positive",
                where="simulator hawkes",
            )
        self.count, self.events, self.types, self.classes = items, events, types, classes
        self.branching, self.decay, self.spread, self.seed = branching, decay, spread, seed
        self.columns = [Column("events", "media", "events")]

    def excitation(self, kind: int) -> np.ndarray:
        """A_k (types, types): row the type excited, column the exciting one."""
        matrix = np.zeros((self.types, self.types))
        of = np.arange(self.types)
        np.add.at(matrix, (of, of), self.branching / 2)
        np.add.at(matrix, ((of + kind + 1) % self.types, of), self.branching / 2)
        return matrix

    def _candidates(self, rngs: list[np.random.Generator]) -> Iterator[np.ndarray]:
        """(N, 3) uniform numbers in [0, 1) for each candidate event, one after another."""
        while True:
            block = np.stack([rng.random((_BLOCK, 3)) for rng in rngs])
            yield from (block[:, step] for step in range(_BLOCK))

    def drawn(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """kind (N,), times, types and marks (N, events + 1) of all sequences."""
        n, length = self.count, self.events + 1
        rngs = [np.random.default_rng([self.seed, i]) for i in range(n)]
        kind = np.array([rng.integers(self.classes) for rng in rngs])
        normals = np.stack([rng.standard_normal(length) for rng in rngs])
        candidates = self._candidates(rngs)
        matrix = np.stack([self.excitation(k) for k in range(self.classes)])[kind]
        marks = np.exp(self.spread * normals - self.spread**2 / 2)
        times, types = np.zeros((n, length)), np.zeros((n, length), np.int64)
        excited = np.zeros((n, self.types))  # the part of each intensity that past events make, at `now`
        now, found, base = np.zeros(n), np.zeros(n, np.int64), 1 / self.types
        while (open_ := np.flatnonzero(found < length)).size:
            wait, keep, which = next(candidates)[open_].T
            bound = excited[open_].sum(1) + 1.0
            elapsed = -np.log1p(-wait) / bound
            excited[open_] *= np.exp(-self.decay * elapsed)[:, None]
            now[open_] += elapsed
            rates = excited[open_] + base
            total = rates.cumsum(1)
            kept = keep * bound < total[:, -1]
            item, at = open_[kept], found[open_[kept]]
            chosen = (which[kept, None] * total[kept, -1:] >= total[kept]).sum(1)
            times[item, at], types[item, at] = now[item], chosen
            excited[item] += matrix[item, :, chosen] * (marks[item, at] * self.decay)[:, None]
            found[item] += 1
        return kind, times, types, marks

    def __iter__(self) -> Iterator[Item]:
        kind, times, types, marks = self.drawn()
        names = pa.array([f"e{c}" for c in range(self.types)])
        for i in range(self.count):
            columns = [
                pa.array(times[i, :-1]),
                names.take(pa.array(types[i, :-1])),
                pa.array(marks[i, :-1].astype(np.float32)),
            ]
            media = {"events": pa.StructArray.from_arrays(columns, ["time", "code", "value"])}
            yield Item(f"hawkes-{i:07d}", media, {"kind": f"k{kind[i]}", "next": f"e{types[i, -1]}"})
