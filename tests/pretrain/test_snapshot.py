"""Resumable state on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from stages.pretrain.core import snapshot

STATE: dict[str, Any] = {
    "done": 7,
    "flag": True,
    "nothing": None,
    "rate": 0.1 + 0.2,
    "names": ["a", "b"],
    "pair": (1, 2.5),
    "by_number": {0: {"x": torch.arange(3)}, 1: {}},
    "bits": torch.tensor([0.1, float("nan"), float("inf")], dtype=torch.float64),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "scalar": torch.tensor(4),
    "empty": torch.zeros(0, 3),
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool(torch.equal(a.nan_to_num(9), b.nan_to_num(9)))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def test_what_is_read_is_what_was_written_to_the_bit_and_the_type(tmp_path: Path) -> None:
    snapshot.save(tmp_path, 7, STATE)
    found = snapshot.latest(tmp_path)
    assert found is not None and same(STATE, found)


def test_no_pickle_is_written(tmp_path: Path) -> None:
    snapshot.save(tmp_path, 7, STATE)
    names = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert names == {"state.json", "state.safetensors", "manifest.json"}


def test_a_tensor_that_is_a_view_of_another_memory_order_is_kept(tmp_path: Path) -> None:
    x = torch.arange(24.0).view(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    snapshot.save(tmp_path, 1, {"x": x, "y": x[:, :1], "again": x})
    found = snapshot.latest(tmp_path)
    assert found is not None and torch.equal(found["x"], x) and torch.equal(found["y"], x[:, :1])


def test_only_the_newest_is_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        snapshot.save(tmp_path, step, {"done": step})
    assert [p.name for p in tmp_path.iterdir()] == ["step=0000000015"]
    assert snapshot.latest(tmp_path) == {"done": 15}


@pytest.mark.parametrize("damage", ["cut", "flip", "no manifest"])
def test_a_damaged_snapshot_is_passed_over_for_an_older_one(tmp_path: Path, damage: str) -> None:
    snapshot.save(tmp_path, 20, {"x": torch.ones(100)})
    broken = tmp_path / "step=0000000020"
    aside = tmp_path / "aside"
    broken.rename(aside)
    snapshot.save(tmp_path, 10, {"done": 10})
    aside.rename(broken)
    file = broken / "state.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-10])
    elif damage == "flip":
        file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    else:
        (broken / "manifest.json").unlink()
    assert snapshot.latest(tmp_path) == {"done": 10}


def test_nothing_is_found_where_there_is_nothing(tmp_path: Path) -> None:
    assert snapshot.latest(tmp_path / "absent") is None


def test_what_cannot_be_kept_exactly_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="state/deep/0: a set"):
        snapshot.save(tmp_path, 1, {"deep": [{1, 2}]})
