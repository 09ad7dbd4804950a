"""Shards written one by one, in any order, are those of one run."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from stages.common import atomic, cluster
from stages.common.workspace import Workspace
from stages.extract import spread
from stages.extract.extraction import spans
from tests.builders import image_corpus
from tests.extract.conftest import Extract, write_encoder

NODE = {"batch_size": 16, "shard_rows": 25}  # of 100 items: 4 shards, which end within batches


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a cluster is given; it works off the units in an order of its own."""
    given: list[dict[str, Any]] = []

    def each(plan: Any, work: Callable[[Any], Any], units: Sequence[Any], **resources: Any) -> Iterator[tuple[Any, Any]]:
        for unit in random.Random(1).sample(units, len(units)):
            given.append(unit)
            yield unit, json.loads(json.dumps(work(json.loads(json.dumps(unit)))))

    monkeypatch.setattr(cluster, "each", each)
    return given


@pytest.fixture
def images(workspace: Workspace) -> Workspace:
    image_corpus(workspace.corpus("c"), n=100)
    write_encoder(workspace.encoder("e"), workspace.corpus("c"), seeds=(0, 3))
    return workspace


def test_shard_by_shard_the_bytes_are_those_of_one_run(
    images: Workspace, extract: Extract, units: list[dict[str, Any]], tmp_path: Path
) -> None:
    alone = atomic.manifest(extract(**NODE))
    spread_out = extract({"device": "cpu", "ray": {}}, **NODE)
    assert sorted((u["seed"], u["number"]) for u in units) == [(s, n) for s in (0, 3) for n in range(4)]
    assert atomic.manifest(spread_out) == alone
    assert not atomic.damaged(spread_out)
    record = atomic.read_json(images.record("extract", "f") / "record.json")
    assert record["throughput"]["items_per_s"] > 0 and record["details"]["reused_shards"] == 0


def test_only_shards_that_are_not_there_are_given_out_or_written(
    images: Workspace, extract: Extract, units: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = atomic.manifest(extract(**NODE))
    plain, done = spread.write, list[tuple[int, int]]()

    def write(unit: dict[str, Any]) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((unit["seed"], unit["number"]))
        return plain(unit)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(spread, "write", write)
        extract({"device": "cpu", "ray": {}}, **NODE)
    units.clear()
    again = extract({"device": "cpu", "ray": {}}, **NODE)
    assert len(units) == 5 and not {(u["seed"], u["number"]) for u in units} & set(done)
    assert atomic.manifest(again) == alone
    assert atomic.read_json(images.record("extract", "f") / "record.json")["details"]["reused_shards"] == 3


def test_one_machine_goes_on_with_what_a_cluster_left_and_half_written_shards_go(
    images: Workspace, extract: Extract, units: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = atomic.manifest(extract(**NODE))
    plain = spread.write

    def write(unit: dict[str, Any]) -> Any:
        if unit["number"] == 1:
            (Path(unit["folder"]) / ".part-00001.parquet.tmp-elsewhere-7").write_bytes(b"half")
            raise KeyboardInterrupt
        return plain(unit)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(spread, "write", write)
        extract({"device": "cpu", "ray": {}}, **NODE)
    left = list(images.state.glob("resume/extract/*/cpu/seed=*/part-*.parquet"))
    assert left
    assert atomic.manifest(extract(**NODE)) == alone
    assert atomic.read_json(images.record("extract", "f") / "record.json")["details"]["reused_shards"] == len(left)


def test_a_shard_that_is_there_after_all_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "part-00002.parquet").write_bytes(b"whole")
    assert spread.write({"number": 2, "folder": str(tmp_path)}) == (0, 0.0, 0.0)
    assert (tmp_path / "part-00002.parquet").read_bytes() == b"whole"


def test_numbers_that_follow_each_other_are_one_span() -> None:
    assert spans([0, 1, 5, 7, 8, 9]) == [(0, 2), (5, 6), (7, 10)]
    assert spans([]) == []
