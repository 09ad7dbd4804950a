"""The features contract: embeddings stream back into one array, by seed, split and layer."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.common import atomic, features
from stages.common.errors import ContractError, UserError
from stages.common.features import FeaturesInfo, read
from stages.common.schema import as_plain
from tests.builders import SPLITS, split_of, write_features


def embeddings(n: int = 20, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def some(folder: Path, seeds: tuple[int, ...] = (0, 1, 2), n: int = 20) -> Path:
    names = [f"i{i:04d}" for i in range(n)]
    return write_features(folder, names, [split_of(i) for i in range(n)], {s: embeddings(n, seed=s) for s in seeds})


def layered(folder: Path, dtype: str = "float32", n: int = 10, layers: tuple[int, ...] = (3, -1), parts: int = 2) -> Path:
    """Two patches per item and several layers, in several parts: embedding = item + 100 * patch + 1000 * layer."""
    splits = [split_of(i) for i in range(n)]
    for p in range(parts):
        items = np.arange(n)[p::parts]
        path = folder / "seed=0" / f"part-{p:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        with features.writer(path, 2, dtype) as out:
            for layer in layers:
                row, index = np.repeat(items, 2), np.tile(np.arange(2), len(items))
                x = np.stack([row + 100 * index, np.full(len(row), layer)], 1).astype(dtype)
                ids, names = pa.array([f"i{i}" for i in row]), pa.array([splits[i] for i in row])
                out.write_batch(features.batch(ids, names, row, index, layer, x))
    counts = {s: 2 * splits.count(s) for s in SPLITS}
    atomic.write_json(folder / features.INFO, as_plain(FeaturesInfo("patch", list(layers), 2, dtype, [0], counts, "e", "c")))
    atomic.seal(folder)
    return folder


def test_a_seeds_embeddings_read_back_with_their_ids_splits_and_rows(tmp_path: Path) -> None:
    found = read(some(tmp_path / "f"), 1)
    assert np.array_equal(found.x, embeddings(seed=1)) and found.x.dtype == np.float32
    assert found.ids.tolist() == [f"i{i:04d}" for i in range(20)] and len(found) == 20
    assert found.splits.tolist() == [split_of(i) for i in range(20)]
    assert found.row.tolist() == list(range(20)) and found.index.tolist() == [0] * 20


def test_chosen_splits_are_read_in_order(tmp_path: Path) -> None:
    keep = [i for i in range(20) if split_of(i) != "train"]
    found = read(some(tmp_path / "f"), 0, splits=["test", "valid"])
    assert found.row.tolist() == keep and np.array_equal(found.x, embeddings(seed=0)[keep])


def test_the_last_layer_is_read_unless_another_is_named(tmp_path: Path) -> None:
    folder = layered(tmp_path / "f")
    assert set(read(folder, 0).x[:, 1]) == {-1.0}
    found = read(folder, 0, layer=3, splits=["test"])
    assert set(found.x[:, 1]) == {3.0}
    assert found.row.tolist() == [4, 4, 9, 9] and found.index.tolist() == [0, 1, 0, 1]
    assert found.x[:, 0].tolist() == [4, 104, 9, 109]


def test_half_precision_is_read_as_single(tmp_path: Path) -> None:
    found = read(layered(tmp_path / "f", "float16"), 0)
    assert found.x.dtype == np.float32
    assert np.array_equal(found.x, read(layered(tmp_path / "g", "float32"), 0).x)


def test_an_encoder_with_one_seed_serves_every_seed(tmp_path: Path) -> None:
    folder = some(tmp_path / "f", seeds=(5,))
    assert np.array_equal(read(folder, 2).x, read(folder, 5).x)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({"seed": 7}, "unknown seed '7'"),
        ({"seed": 0, "layer": 4}, "unknown layer '4'"),
        ({"seed": 0, "splits": ["tset"]}, "unknown split 'tset'"),
    ],
)
def test_a_seed_layer_or_split_that_there_is_none_of_is_named(tmp_path: Path, words: dict[str, object], what: str) -> None:
    with pytest.raises(UserError) as caught:
        read(some(tmp_path / "f"), **words)  # type: ignore[arg-type]
    assert (caught.value.what, caught.value.where) == (what, str(tmp_path / "f"))


def test_the_file_is_compressed_as_the_contract_says(tmp_path: Path) -> None:
    path = some(tmp_path / "f") / "seed=0" / "part-00000.parquet"
    columns = [pq.ParquetFile(path).metadata.row_group(0).column(i) for i in range(6)]
    assert {c.compression for c in columns} == {"ZSTD"}
    by_name = {c.path_in_schema: c.encodings for c in columns}
    assert "BYTE_STREAM_SPLIT" in by_name["embedding.list.element"]
    assert "RLE_DICTIONARY" in by_name["id"] and "RLE_DICTIONARY" in by_name["split"]


def damage(folder: Path, change: Callable[[Path], object]) -> ContractError:
    change(folder / "seed=0" / "part-00000.parquet")
    atomic.seal(folder)
    with pytest.raises(ContractError) as caught:
        read(folder, 0)
    return caught.value


def zero_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 3] = bytes(len(data) // 3 - 4)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "change",
    [lambda p: p.write_bytes(b""), lambda p: p.write_bytes(p.read_bytes()[:-9]), zero_pages],
    ids=["empty", "truncated", "zeroed pages"],
)
def test_damaged_parquet_is_named(tmp_path: Path, change: Callable[[Path], object]) -> None:
    error = damage(some(tmp_path / "f", n=500), change)
    assert error.where is not None and error.where.startswith(str(tmp_path / "f"))


def test_another_width_or_type_than_stated_is_named(tmp_path: Path) -> None:
    def widen(path: Path) -> None:
        table = pq.read_table(path)
        pq.write_table(table.set_column(5, "embedding", table["embedding"].cast(pa.list_(pa.float64(), 3))), path)

    assert damage(some(tmp_path / "f"), widen).what.startswith("unexpected columns")


def test_fewer_rows_than_stated_are_named(tmp_path: Path) -> None:
    def drop(path: Path) -> None:
        table = pq.read_table(path)
        with features.writer(path, 3, "float32") as out:
            out.write_table(table.slice(0, 15))

    assert damage(some(tmp_path / "f"), drop).what == "15 rows found, 20 expected"


def test_a_file_that_the_manifest_does_not_have_is_found_before_reading(tmp_path: Path) -> None:
    (some(tmp_path / "f") / "seed=1" / "part-00000.parquet").write_bytes(b"")
    with pytest.raises(ContractError):
        read(tmp_path / "f", 0)


BIG = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from stages.common import atomic, features
from stages.common.schema import as_plain

folder, rows, width, group = Path(sys.argv[1]), int(sys.argv[2]), 256, 8192
(folder / "seed=0").mkdir(parents=True)
x = np.random.default_rng(0).normal(size=(group, width)).astype(np.float32)
with features.writer(folder / "seed=0" / "part-00000.parquet", width, "float32") as out:
    for start in range(0, rows, group):
        ids = pa.array([f"i{i:07d}" for i in range(start, start + group)])
        splits = pa.array(["test" if start % (8 * group) == 0 else "train"] * group)
        index = np.zeros(group, np.int32)
        out.write_batch(features.batch(ids, splits, np.arange(start, start + group), index, -1, x))
test = rows // 8
counts = {"train": rows - test, "test": test}
info = features.FeaturesInfo("clip", [-1], width, "float32", [0], counts, "e", "c")
atomic.write_json(folder / "features.json", as_plain(info))
atomic.seal(folder)
"""
READ = """
import sys
from pathlib import Path
from stages.common import features
from stages.common.records import peak_memory_mb
folder = Path(sys.argv[1])
features.pq.ParquetFile(folder / "seed=0" / "part-00000.parquet").read_row_group(0)
before = peak_memory_mb()
found = features.read(folder, 0, splits=sys.argv[2].split(","))
print(peak_memory_mb() - before, found.x.nbytes / 2**20)
"""


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, python: Callable[..., subprocess.Popen[str]]) -> None:
    assert python(BIG, tmp_path / "f", 131_072).wait(timeout=120) == 0  # 128 MiB of embeddings, in groups of 8
    out, shown = python(READ, tmp_path / "f", "test").communicate(timeout=120)
    growth, result = map(float, out.split())
    assert result == 16 and growth < 160, shown
