from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from stages.ingest.core import duplicates
from stages.ingest.core.perceptual import Looks


def numbers(contents: list[bytes]) -> np.ndarray:
    return duplicates.numbered(pa.array([c.ljust(16, b"\0") for c in contents], pa.binary(16)))


def alike(hashes: list[int]) -> Looks:
    return Looks(np.array(hashes, np.uint64), np.ones((len(hashes), 63), np.float32) / np.sqrt(63).astype(np.float32) * 1.0001)


@pytest.mark.parametrize("distance", [0, 1, 3, 4, 7])
def test_banding_finds_the_pairs_that_comparing_all_finds(distance: int) -> None:
    rng = np.random.default_rng(distance)
    seeds = rng.integers(0, 1 << 63, 40, dtype=np.uint64)
    hashes = np.concatenate([seeds, seeds, seeds[:10]])
    for i in range(40, len(hashes)):
        for bit in rng.choice(64, rng.integers(0, 10), replace=False):
            hashes[i] ^= np.uint64(1) << np.uint64(bit)
    slow = [
        (a, b, int(hashes[a] ^ hashes[b]).bit_count())
        for a in range(len(hashes))
        for b in range(a + 1, len(hashes))
        if int(hashes[a] ^ hashes[b]).bit_count() <= distance
    ]
    assert [tuple(p) for p in duplicates.near_pairs(hashes, distance).tolist()] == sorted(slow)
    assert len(slow) > 5


def test_exact_copies_are_counted_by_pairs_and_named_across_splits_first() -> None:
    ids = ["a", "b", "c", "d", "e"]
    splits = ["train", "train", "test", "train", "train"]
    found = duplicates.exact(ids, splits, numbers([b"x", b"x", b"x", b"y", b"y"]), drop=False).card("report")
    assert (found["pairs"], found["cross_split_pairs"], found["between"]) == (4, 2, {"test-train": 2})
    assert [(e["a"], e["b"]) for e in found["examples"]] == [("a", "c"), ("d", "e")]
    assert found["dropped"] == 0


def test_dropping_keeps_the_copy_of_the_test_split() -> None:
    found = duplicates.exact(["a", "b", "c"], ["train", "valid", "test"], numbers([b"x"] * 3), drop=True)
    assert found.dropped == {0, 1}


def test_near_copies_with_equal_content_are_left_to_the_exact_count() -> None:
    found = duplicates.near(["a", "b", "c"], ["train"] * 3, numbers([b"x", b"x", b"y"]), alike([8, 8, 9]), 4, drop=False)
    assert (found.pairs, found.examples[0]["bits"]) == (1, 1)


def test_near_pairs_that_do_not_correlate_are_strangers() -> None:
    shape = np.eye(2, 63, dtype=np.float32)
    found = duplicates.near(
        ["a", "b"], ["train", "test"], numbers([b"x", b"y"]), Looks(np.array([8, 8], np.uint64), shape), 4, drop=False
    )
    assert found.pairs == 0


def test_dropping_near_copies_takes_the_lesser_row_with_its_exact_copies() -> None:
    ids, splits = ["a", "b", "c", "d"], ["test", "train", "train", "train"]
    found = duplicates.near(ids, splits, numbers([b"x", b"y", b"y", b"z"]), alike([8, 9, 9, (1 << 64) - 1]), 2, drop=True)
    assert found.dropped == {1, 2}


def test_a_hash_that_a_crowd_shares_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "CROWD", 3)
    ids = [f"{i}" for i in range(6)]
    found = duplicates.near(ids, ["train"] * 6, numbers([i.encode() for i in ids]), alike([0, 0, 0, 0, 77, 77]), 0, drop=False)
    assert (found.skipped, found.pairs) == (4, 1)


def test_at_most_fifty_examples_are_kept() -> None:
    ids = [f"{i:03d}" for i in range(200)]
    contents = numbers([str(i // 2).encode() for i in range(200)])
    found = duplicates.exact(ids, ["train", "test"] * 100, contents, drop=False)
    assert (found.pairs, len(found.examples)) == (100, 50)
