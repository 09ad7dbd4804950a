"""Which row trains, tunes or tests. Whole groups move, so no speaker, patient or scene lies in two splits.

A group's place is fixed by SHA-256 of the salt and the group: u(group) in [0, 1). Without strata, u alone decides, so adding
items moves none of the others. With strata, the groups of each class are ranked by u and cut at the shares, so each class is
divided as asked to the nearest group; adding a group can then move at most one other per cut.
"""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from stages.common.errors import UserError, unknown
from stages.common.plan import SplitPlan

FIRST = ("train", "valid", "test")
_LINES = 4096  # joined at a time


@dataclass(frozen=True)
class Rows:
    """What splits are made from, row by row. declared: the source's own splits; strata: class names, or empty."""

    ids: Sequence[str]
    groups: Sequence[str]
    declared: Sequence[str | None]
    strata: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.ids)


def in_order(names: set[str]) -> list[str]:
    """train, valid, test, then others by name."""
    return [n for n in FIRST if n in names] + sorted(names - set(FIRST))


def place(salt: str, key: str) -> float:
    """u in [0, 1): the first 8 bytes of SHA-256("<salt>:<key>"), over 2^64."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{key}".encode()).digest()[:8], "big") / 2**64


def assign(rows: Rows, plan: SplitPlan) -> list[str]:
    """The split of every row. Raises UserError: a group in two declared splits, a row without one, an empty split."""
    strata = _strata(rows)
    if plan.by == "declared":
        of = _declared(rows)
        expected = set(of.values())
    else:
        of = _divide(list(dict.fromkeys(rows.groups)), plan.fractions, str(plan.salt), strata)
        expected = {name for name, share in plan.fractions.items() if share > 0}
    for name, how in plan.carve.items():
        source, share = _carving(name, how, set(of.values()))
        candidates = [g for g, s in of.items() if s == source]
        moved = _divide(candidates, {name: share, source: 1 - share}, f"{plan.salt}:{name}", strata)
        of.update(moved)
        expected |= {name, source}
    for split in sorted(expected):
        if split not in of.values():
            raise UserError(
                f"the split {split!r} is empty: {len(of)} groups do not fill it",
                where="split",
                do="give it a larger share, or group by something finer",
            )
    return [of[g] for g in rows.groups]


def limited(rows: Rows, splits: Sequence[str], keep: np.ndarray, limit: dict[str, int], salt: int) -> np.ndarray:
    """keep (N,) bool, less what exceeds a split's limit: its rows of the lowest u(id) stay, of each stratum its share."""
    stays = keep.copy()
    for split, most in limit.items():
        if split not in set(splits):
            raise unknown("split", split, set(splits), where="limit")
        if most < 1:
            raise UserError(f"a limit must be 1 or more, got {most}", where=f"limit.{split}")
        by_stratum: dict[str, list[int]] = {}
        members = [i for i in np.flatnonzero(keep).tolist() if splits[i] == split]
        for i in sorted(members, key=lambda i: (place(f"{salt}:limit", rows.ids[i]), rows.ids[i])):
            by_stratum.setdefault((rows.strata[i] if rows.strata else None) or "", []).append(i)
        quota = _largest_remainder({k: len(v) for k, v in by_stratum.items()}, most)
        for stratum, indices in by_stratum.items():
            stays[indices[quota[stratum] :]] = False
    return stays


def split_digest(ids: Sequence[str], splits: Sequence[str]) -> str:
    """SHA-256 over the sorted lines `<id> <split>`, with newlines between them."""
    lines = sorted(f"{i} {s}" for i, s in zip(ids, splits, strict=True))
    whole = hashlib.sha256()
    for start in range(0, len(lines), _LINES):
        whole.update(("\n" * bool(start) + "\n".join(lines[start : start + _LINES])).encode())
    return whole.hexdigest()


def _strata(rows: Rows) -> dict[str, str] | None:
    """The stratum of each group, that of its first row by id; None if there are no strata."""
    if not rows.strata:
        return None
    found: dict[str, str] = {}
    for i in sorted(range(len(rows)), key=rows.ids.__getitem__):
        found.setdefault(rows.groups[i], rows.strata[i] or "")
    return found


def _declared(rows: Rows) -> dict[str, str]:
    of: dict[str, str] = {}
    for identity, group, split in zip(rows.ids, rows.groups, rows.declared, strict=True):
        if not split:
            raise UserError(f"item {identity!r} has no declared split", where="split", do="use `by: hash`, or declare one")
        if of.setdefault(group, split) != split:
            raise UserError(
                f"group {group!r} lies in the splits {of[group]!r} and {split!r}",
                where="split",
                do="split by hash, or correct the declared splits: a model tested on a group it saw is not tested",
            )
    return of


def _divide(groups: list[str], shares: dict[str, float], salt: str, strata: dict[str, str] | None) -> dict[str, str]:
    """Each group's split: cut points on u itself, or, with strata, on its rank within the stratum."""
    names = [n for n in in_order(set(shares)) if shares[n] > 0]
    edges = list(accumulate(shares[n] for n in names))[:-1]
    if strata is None:
        return {g: names[bisect(edges, place(salt, g))] for g in groups}
    groups = sorted(groups)  # equal places go by name
    members: dict[str, list[str]] = {}
    for i in np.argsort(np.array([place(salt, g) for g in groups]), kind="stable"):
        members.setdefault(strata[groups[i]], []).append(groups[i])
    return {g: names[bisect(edges, (rank + 0.5) / len(of))] for of in members.values() for rank, g in enumerate(of)}


def _carving(name: str, how: dict[str, Any], splits: set[str]) -> tuple[str, float]:
    where = f"split.carve.{name}"
    for key in how:
        if key not in ("from", "share"):
            raise unknown("key", key, ("from", "share"), where=where)
    source, share = how.get("from"), how.get("share")
    if not isinstance(source, str) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise UserError(
            "a carved split needs `from` and a `share` between 0 and 1", where=where, do="{from: train, share: 0.1}"
        )
    if source not in splits:
        raise unknown("split", source, splits, where=f"{where}.from")
    if name in splits:
        raise UserError(f"the split {name!r} exists already", where=where, do="carve a split of another name")
    return source, float(share)


def _largest_remainder(sizes: dict[str, int], most: int) -> dict[str, int]:
    total = sum(sizes.values())
    if total <= most:
        return sizes
    exact = {k: most * n / total for k, n in sizes.items()}
    quota = {k: int(v) for k, v in exact.items()}
    for k in sorted(sizes, key=lambda k: (quota[k] - exact[k], k))[: most - sum(quota.values())]:
        quota[k] += 1
    return quota
