from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.common import features
from stages.extract import shards
from stages.extract.shards import ShardWriter


def batch(start: int, n: int, layer: int = -1) -> pa.RecordBatch:
    row = np.arange(start, start + n)
    splits = pa.array(["train" if i % 3 else "test" for i in row])
    x = np.stack([row, -row], 1).astype(np.float32)
    return features.batch(pa.array([str(i) for i in row]), splits, row, np.zeros(n, np.int32), layer, x)


def test_row_groups_have_the_contracts_size_whatever_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "ROW_GROUP_ROWS", 10)
    writer = ShardWriter(tmp_path, 2, "float32", 0)
    for start, n in ((0, 3), (3, 4), (7, 25), (32, 1)):
        writer.write(batch(start, n))
    writer.close_shard()
    file = pq.ParquetFile(tmp_path / "part-00000.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [10, 10, 10, 3]
    assert file.read()["row"].to_pylist() == list(range(33))
    assert file.schema_arrow == features.schema(2, "float32")


def test_a_shard_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, 2, "float32", 0)
    writer.write(batch(0, 5))
    assert shards.missing(tmp_path, 1) == [0]
    writer.close_shard()
    writer.close_shard()
    assert shards.missing(tmp_path, 2) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["part-00000.parquet"]


def test_writing_goes_on_after_the_finished_shards(tmp_path: Path) -> None:
    for number, start in enumerate((0, 5)):
        writer = ShardWriter(tmp_path, 2, "float32", number)
        writer.write(batch(start, 5))
        writer.close_shard()
    assert shards.missing(tmp_path, 3) == [2]
    assert pq.read_table(tmp_path / "part-00001.parquet")["row"].to_pylist() == [5, 6, 7, 8, 9]


def test_rows_are_counted_by_split_and_for_one_layer(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, 2, "float32", 0)
    writer.write(batch(0, 6, layer=0))
    writer.write(batch(0, 6, layer=1))
    writer.close_shard()
    writer.write(batch(6, 3, layer=0))
    writer.close_shard()
    assert shards.counts(tmp_path, ["train", "valid", "test"], 0) == {"train": 6, "valid": 0, "test": 3}
    assert shards.counts(tmp_path, ["train", "test"], 1) == {"train": 4, "test": 2}
