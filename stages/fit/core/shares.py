"""Which items are labelled at a label share: drawn by a hash of (seed, id), so row order does not matter.

An item's rank in its class comes from its own hash; a share takes the first ranks. So 5 labels per class are among the 10
labels per class of the same seed, and both among all.
"""

from __future__ import annotations

import hashlib

import numpy as np

from stages.common.errors import UserError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def keys(ids: list[str]) -> np.ndarray:
    """A 64-bit key (N,) of each id."""
    digests = b"".join(hashlib.blake2b(i.encode(), digest_size=8).digest() for i in ids)
    return np.frombuffer(digests, "<u8")


def draws(key: np.ndarray, seed: int) -> np.ndarray:
    """One uniform 64-bit number (N,) per key and seed: SplitMix64 from state `key` after `seed` steps (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = key + np.uint64(seed % (1 << 64)) * _GOLDEN + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def take(share: str, key: np.ndarray, seed: int, classes: np.ndarray | None) -> np.ndarray:
    """(N,) bool: the items labelled at a share, of N items with keys (N,) and, for a class label, classes (N,).

    "all": every item. "10%": that share of each class, rounded, one at least (a number label: of all items). "5": that many of
    each class, or all it has. Raises UserError for a count where the label is a number.
    """
    if share == "all":
        return np.ones(len(key), bool)
    strata = np.zeros(len(key), np.int64) if classes is None else classes
    size = np.bincount(strata)[strata]  # of each item's class
    if share.endswith("%"):
        wanted = np.maximum(1, np.floor(size * float(share[:-1]) / 100 + 0.5))
    elif classes is None:
        raise UserError(f"{share!r} counts labels per class, and a number has none", where="labels", do='write a share: "10%"')
    else:
        wanted = np.full(len(key), int(share))
    order = np.lexsort((draws(key, seed), strata))
    first = np.concatenate([[0], np.cumsum(np.bincount(strata))])[strata[order]]
    rank = np.empty(len(key), np.int64)
    rank[order] = np.arange(len(key)) - first  # within its class
    return rank < wanted


def held_out(key: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(N,) bool: a fifth of the groups (N,) of train items, chosen by hash, for want of a valid split; the same for all seeds.

    Whole groups, so that no speaker or patient is on both sides; where there is one group only, a fifth of the items.
    """
    names, group = np.unique(groups, return_inverse=True)
    if len(names) == 1:
        group, size, group_key = np.arange(len(key)), len(key), key
    else:
        size, group_key = len(names), keys([str(n) for n in names])
    chosen = np.argsort(draws(group_key, -1), kind="stable")[: max(1, round(size / 5))]
    return np.isin(group, chosen)
