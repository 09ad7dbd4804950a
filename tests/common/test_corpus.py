"""The corpus contract: what is written reads back, and what breaks it is named."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common import atomic
from stages.common.corpus import KEYS, Card, Column, Corpus, CorpusWriter, schema
from stages.common.errors import ContractError, UserError
from stages.common.media import wav_bytes
from stages.common.schema import as_plain, build
from tests.builders import image_corpus, split_of, write_corpus

EVENTS = [{"time": 0.5, "code": "a", "value": 1.5}, {"time": 1.5, "code": "b", "value": None}]
KINDS: list[tuple[Column, Any, Any]] = [
    (Column("m", "media", "string"), "abc", {"dtype": "string", "_type": "Value"}),
    (Column("m", "media", "text"), "naïve text", {"dtype": "string", "_type": "Value"}),
    (Column("m", "media", "molecule"), "CCO", {"dtype": "string", "_type": "Value"}),
    (Column("m", "media", "image"), {"bytes": b"png", "path": "a.png"}, {"_type": "Image"}),
    (
        Column("m", "media", "pixels", shape=[2, 1, 1]),
        [0, 255],
        {"feature": {"dtype": "uint8", "_type": "Value"}, "length": 2, "_type": "Sequence"},
    ),
    (
        Column("m", "media", "waveform", rate=8000),
        {"bytes": wav_bytes(np.zeros(3, np.int16), 8000), "path": "a.wav"},
        {"sampling_rate": 8000, "_type": "Audio"},
    ),
    (
        Column("m", "media", "series", shape=[-1, 2], rate=100),
        [1.0, 2.0, 3.0, 4.0],
        {"feature": {"dtype": "float32", "_type": "Value"}, "length": -1, "_type": "Sequence"},
    ),
    (
        Column("m", "media", "series", shape=[3, 1]),
        [1.0, 2.0, 3.0],
        {"feature": {"dtype": "float32", "_type": "Value"}, "length": 3, "_type": "Sequence"},
    ),
    (
        Column("m", "media", "points", shape=[-1, 3]),
        [0.0, 0.5, 1.0],
        {"feature": {"dtype": "float32", "_type": "Value"}, "length": -1, "_type": "Sequence"},
    ),
    (
        Column("m", "media", "tokens"),
        [3, 1, 2],
        {"feature": {"dtype": "int32", "_type": "Value"}, "length": -1, "_type": "Sequence"},
    ),
    (
        Column("m", "media", "edges"),
        ["i1", "i2"],
        {"feature": {"dtype": "string", "_type": "Value"}, "length": -1, "_type": "Sequence"},
    ),
    (
        Column("m", "media", "events"),
        EVENTS,
        [
            {
                "time": {"dtype": "float64", "_type": "Value"},
                "code": {"dtype": "string", "_type": "Value"},
                "value": {"dtype": "float32", "_type": "Value"},
            }
        ],
    ),
    (Column("m", "label", "class", classes=["a", "b"]), 1, {"names": ["a", "b"], "_type": "ClassLabel"}),
    (Column("m", "label", "number", unit="s"), 0.25, {"dtype": "float64", "_type": "Value"}),
]
ids = [f"{c.kind}{c.shape or ''}" for c, _, _ in KINDS]


def rows(value: Any, n: int = 5) -> list[dict[str, Any]]:
    return [{"id": f"i{i}", "split": split_of(i), "group": f"g{i}", "m": value} for i in range(n)]


@pytest.mark.parametrize(("column", "value", "feature"), KINDS, ids=ids)
def test_every_kind_reads_back_as_it_was_written(tmp_path: Path, column: Column, value: Any, feature: Any) -> None:
    opened = Corpus(write_corpus(tmp_path / "c", [column], rows(value)))
    assert opened.table(["m"]).column("m").to_pylist() == [value] * 5
    assert opened.table(["id"]).column("id").to_pylist() == [f"i{i}" for i in range(5)]


@pytest.mark.parametrize(("column", "value", "feature"), KINDS, ids=ids)
def test_every_kind_is_described_as_hugging_face_does(tmp_path: Path, column: Column, value: Any, feature: Any) -> None:
    folder = write_corpus(tmp_path / "c", [column], rows(value))
    (shard,) = folder.glob("*.parquet")
    described = json.loads(pq.read_schema(shard).metadata[b"huggingface"])["info"]["features"]
    assert list(described) == ["id", "split", "group", "m"]
    assert described["m"] == feature


def test_labels_may_be_missing_and_keys_and_media_may_not() -> None:
    nullable = {f.name: f.nullable for f in schema([*KEYS, Column("y", "label", "class"), Column("x", "media", "text")])}
    assert nullable == {"id": False, "split": False, "group": False, "y": True, "x": False}


def test_rows_stream_by_split_in_shard_order(tmp_path: Path) -> None:
    opened = Corpus(image_corpus(tmp_path / "c", n=23))
    got = [i for batch in opened.batches(["id"], ["valid", "test"], rows=3) for i in batch.column("id").to_pylist()]
    assert got == [f"i{i:04d}" for i in range(23) if split_of(i) in ("valid", "test")]
    assert opened.count(["valid", "test"]) == len(got) and opened.count() == 23
    assert all(batch.num_rows <= 3 for batch in opened.batches(["id"], rows=3))
    assert opened.table(["digit", "id"], ["test"]).column_names == ["digit", "id"]


@pytest.mark.parametrize(
    ("columns", "splits", "what"),
    [(["digits"], None, "unknown column 'digits'"), (["digit"], ["tset"], "unknown split 'tset'")],
)
def test_an_unknown_column_or_split_is_named(tmp_path: Path, columns: list[str], splits: list[str] | None, what: str) -> None:
    with pytest.raises(UserError, match=what):
        Corpus(image_corpus(tmp_path / "c")).table(columns, splits)


def test_the_media_column_is_the_only_one_or_the_named_one(tmp_path: Path) -> None:
    card = Corpus(image_corpus(tmp_path / "c")).card
    assert card.media().name == card.media("image").name == "image"
    with pytest.raises(ContractError, match="is no media column"):
        card.media("digit")
    with pytest.raises(ContractError, match="'graph' is no media column: the corpus has image"):
        card.media("graph")
    two = build(
        Card, {**as_plain(card), "columns": [*as_plain(card)["columns"], as_plain(Column("b", "media", "text"))]}, "card"
    )
    with pytest.raises(ContractError, match="2 media columns: image, b"):
        two.media()


def rewrite(folder: Path, change: Any) -> Path:
    """Changes a corpus' one shard behind its card's back, with a manifest to match."""
    path = folder / "part-00000.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    atomic.seal(folder)
    return path


def test_a_missing_column_is_named_with_its_file_and_type(tmp_path: Path) -> None:
    path = rewrite(image_corpus(tmp_path / "c"), lambda t: t.drop_columns(["digit"]))
    with pytest.raises(ContractError) as caught:
        Corpus(tmp_path / "c")
    assert (caught.value.what, caught.value.where) == ("column 'digit' is missing", str(path))
    assert caught.value.do == "expected int64"


def test_a_retyped_column_is_named_with_both_types(tmp_path: Path) -> None:
    path = rewrite(image_corpus(tmp_path / "c"), lambda t: t.set_column(3, "digit", t["digit"].cast(pa.float64())))
    with pytest.raises(ContractError) as caught:
        Corpus(tmp_path / "c")
    assert (caught.value.what, caught.value.where) == ("column 'digit' is double, expected int64", str(path))


def holed(table: pa.Table) -> pa.Table:
    group = table["group"].to_pylist()
    group[7] = None
    return table.set_column(2, pa.field("group", pa.string()), pa.array(group))


def test_labels_that_are_null_are_unlabelled_rows(tmp_path: Path) -> None:
    given = rows("a")
    for row in given[::2]:
        row["y"] = None
    column = Column("y", "label", "class", classes=["a"])
    opened = Corpus(write_corpus(tmp_path / "c", [Column("m", "media", "text"), column], [{"y": 0, **r} for r in given]))
    assert opened.table(["y"]).column("y").to_pylist() == [None, 0, None, 0, None]


def test_a_truncated_shard_is_found_before_it_is_read(tmp_path: Path) -> None:
    path = image_corpus(tmp_path / "c") / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ContractError) as caught:
        Corpus(tmp_path / "c")
    assert caught.value.where == str(path)


def test_a_shard_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    folder = image_corpus(tmp_path / "c")
    (folder / "part-00000.parquet").write_bytes(b"PAR1 but no more")
    atomic.seal(folder)
    with pytest.raises(ContractError, match="no readable Parquet"):
        Corpus(folder)


def test_a_shard_whose_pages_are_damaged_is_named_when_read(tmp_path: Path) -> None:
    folder = image_corpus(tmp_path / "c", n=200)
    path = folder / "part-00000.parquet"
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
    path.write_bytes(data)
    atomic.seal(folder)
    with pytest.raises(ContractError) as caught:
        Corpus(folder).table(["id", "image"])
    assert caught.value.where == str(path)


def test_a_card_with_an_unknown_key_is_named(tmp_path: Path) -> None:
    folder = image_corpus(tmp_path / "c")
    card = json.loads((folder / "corpus.json").read_text())
    (folder / "corpus.json").write_text(json.dumps({**card, "license": "MIT"}))
    atomic.seal(folder)
    with pytest.raises(UserError) as caught:
        Corpus(folder)
    assert caught.value.do == "did you mean 'licence'?"


def noise(rng: np.random.Generator, size: int) -> dict[str, object]:
    return {"bytes": rng.bytes(size), "path": None}


def write_sizes(folder: Path, sizes: list[int], at_once: int, shard_bytes: int = 64 << 20) -> list[Path]:
    rng = np.random.default_rng(0)
    folder.mkdir()
    writer = CorpusWriter(folder, [*KEYS, Column("m", "media", "image")], shard_bytes)
    given = [{"id": str(i), "split": "train", "group": "g", "m": noise(rng, size)} for i, size in enumerate(sizes)]
    for start in range(0, len(given), at_once):
        writer.write(given[start : start + at_once])
    writer.close()
    return [folder / name for name in writer.shards]


def group_bytes(path: Path) -> list[int]:
    found = pq.ParquetFile(path).metadata
    return [found.row_group(i).total_byte_size for i in range(found.num_row_groups)]


def test_a_new_shard_begins_when_one_is_full(tmp_path: Path) -> None:
    shards = write_sizes(tmp_path / "c", [100_000] * 300, 20, shard_bytes=8 << 20)
    assert [p.name for p in shards] == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    ids = [i for p in shards for i in pq.read_table(p, columns=["id"])["id"].to_pylist()]
    assert ids == [str(i) for i in range(300)]


def test_a_writer_that_is_given_nothing_writes_no_shard(tmp_path: Path) -> None:
    assert write_sizes(tmp_path / "c", [], 1) == []


def test_record_batches_are_taken_as_they_are(tmp_path: Path) -> None:
    columns = [*KEYS, Column("m", "media", "text")]
    writer = CorpusWriter(tmp_path, columns)
    writer.write(pa.RecordBatch.from_pylist(rows("abc"), schema=schema(columns)))
    writer.close()
    assert pq.read_table(tmp_path / "part-00000.parquet")["m"].to_pylist() == ["abc"] * 5


_row = st.fixed_dictionaries(
    {
        "text": st.text(max_size=20),
        "tokens": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
        "series": st.lists(st.floats(width=32, allow_nan=False), max_size=6),
        "y": st.none() | st.integers(0, 3),
    }
)


@settings(max_examples=25)
@given(given_rows=st.lists(_row, min_size=1, max_size=12))
def test_any_rows_read_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, given_rows: list[dict[str, Any]]
) -> None:
    columns = [
        Column("text", "media", "text"),
        Column("tokens", "media", "tokens"),
        Column("series", "media", "series", shape=[-1, 1]),
        Column("y", "label", "class", classes=["a", "b", "c", "d"]),
    ]
    keyed = [{"id": f"i{i}", "split": split_of(i), "group": f"g{i}", **row} for i, row in enumerate(given_rows)]
    folder = write_corpus(tmp_path_factory.mktemp("c") / "c", columns, keyed)
    assert Corpus(folder).table(["id", "split", "group", "text", "tokens", "series", "y"]).to_pylist() == keyed


def test_a_corpus_is_plain_parquet_that_any_reader_opens(tmp_path: Path) -> None:
    import polars

    folder = image_corpus(tmp_path / "c", n=10)
    assert polars.read_parquet(folder / "*.parquet")["id"].to_list() == [f"i{i:04d}" for i in range(10)]


@pytest.mark.parametrize(
    ("sizes", "at_once"),
    [
        ([50_000] * 400, 1),
        ([50_000] * 400, 400),
        ([50_000] * 400, 85),
        ([1_000] * 3000 + [1_000_000] * 12 + [1_000] * 3000, 3000),
    ],
    ids=["one by one", "all at once", "a little too many at once", "small and large"],
)
def test_row_groups_are_of_1_to_8_megabytes_but_for_the_last(tmp_path: Path, sizes: list[int], at_once: int) -> None:
    *groups, last = [size for path in write_sizes(tmp_path / "c", sizes, at_once) for size in group_bytes(path)]
    assert len(groups) >= 2 and last < 8 << 20
    assert all(1 << 20 <= size <= 8 << 20 for size in groups)


def test_a_shard_is_not_overfilled_by_one_large_write(tmp_path: Path) -> None:
    shards = write_sizes(tmp_path / "c", [100_000] * 300, 300, shard_bytes=8 << 20)
    assert [p.stat().st_size >> 20 for p in shards] == [14, 14]


def test_nulls_where_none_are_allowed_are_named_on_opening(tmp_path: Path) -> None:
    path = rewrite(image_corpus(tmp_path / "c"), holed)
    with pytest.raises(ContractError) as caught:
        Corpus(tmp_path / "c")
    assert (caught.value.what, caught.value.where) == ("column 'group' holds nulls", str(path))


def test_a_shard_written_elsewhere_without_nulls_is_as_good(tmp_path: Path) -> None:
    rewrite(image_corpus(tmp_path / "c"), lambda t: t.set_column(2, pa.field("group", pa.string()), t["group"]))
    assert Corpus(tmp_path / "c").count() == 100


def test_media_without_bytes_are_named_when_read(tmp_path: Path) -> None:
    given = rows({"bytes": b"png", "path": None})
    given[3]["m"] = {"bytes": None, "path": "lost.png"}
    folder = write_corpus(tmp_path / "c", [Column("m", "media", "image")], given)
    with pytest.raises(ContractError) as caught:
        Corpus(folder).table(["m"])
    assert (caught.value.what, caught.value.where) == ("column 'm' holds nulls", str(folder / "part-00000.parquet"))


def test_row_groups_one_by_one_are_the_shards_and_are_checked_as_they_are_read(tmp_path: Path) -> None:
    given: list[dict[str, object]] = [
        {"id": f"{i}", "split": "train", "group": "g", "m": np.random.default_rng(i).bytes(200_000).hex()} for i in range(50)
    ]
    corpus = Corpus(write_corpus(tmp_path / "c", [Column("m", "media", "text")], given))
    found = [corpus.row_group(0, g, ["m", "id"]) for g in range(len(group_bytes(corpus.files[0])))]
    assert len(found) > 2 and found[0].schema.names == ["m", "id"]
    assert [text for batch in found for text in batch.column(0).to_pylist()] == [row["m"] for row in given]
    given = rows({"bytes": b"png", "path": None})
    given[3]["m"] = {"bytes": None, "path": "lost.png"}
    with pytest.raises(ContractError, match="column 'm' holds nulls"):
        Corpus(write_corpus(tmp_path / "d", [Column("m", "media", "image")], given)).row_group(0, 0, ["m"])


def test_a_series_with_a_hole_is_named_when_read(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "c", [Column("m", "media", "series", shape=[-1, 1])], rows([1.0, None]))
    with pytest.raises(ContractError, match="column 'm' holds nulls"):
        Corpus(folder).table(["m"])


@pytest.mark.parametrize(
    "row",
    [{"group": None}, {"m": 3}, {"m": None}],
    ids=["a key is missing", "another type", "media are missing"],
)
def test_rows_that_do_not_fit_the_columns_are_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    writer = CorpusWriter(tmp_path, [*KEYS, Column("m", "media", "text")])
    with pytest.raises(ContractError) as caught:
        writer.write([{**rows("abc")[0], **row}])
        writer.close()
    assert caught.value.what.startswith("the rows do not fit the columns") and caught.value.where == str(tmp_path)


WRITE = """
import sys
from pathlib import Path
import numpy as np
from stages.common import atomic
from stages.common.corpus import KEYS, Card, Column, CorpusWriter, write_card
folder, rows, columns = Path(sys.argv[1]), int(sys.argv[2]), [*KEYS, Column("m", "media", "image")]
folder.mkdir()
writer, rng = CorpusWriter(folder, columns, 1 << 30), np.random.default_rng(0)
for i in range(rows):
    writer.write([{"id": str(i), "split": "train", "group": "g", "m": {"bytes": rng.bytes(1 << 20), "path": None}}])
writer.close()
write_card(folder, Card("c", "t", "l", "simulated", {}, columns, {"train": rows}, {"train": 1}, writer.shards, "d"))
atomic.seal(folder)
"""
STREAM = """
import sys
from pathlib import Path
from stages.common.corpus import Corpus
from stages.common.records import peak_memory_mb
corpus = Corpus(Path(sys.argv[1]))
before = peak_memory_mb()
print(sum(batch.num_rows for batch in corpus.batches(["m"], rows=4)), peak_memory_mb() - before)
"""


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, python: Callable[..., subprocess.Popen[str]]) -> None:
    assert python(WRITE, tmp_path / "c", 128).wait(timeout=60) == 0
    out, shown = python(STREAM, tmp_path / "c").communicate(timeout=60)
    rows, growth = map(float, out.split())
    assert rows == 128 and growth < 64, shown
