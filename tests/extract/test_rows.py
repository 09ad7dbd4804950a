from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.common import atomic
from stages.common.corpus import Corpus
from stages.common.errors import ContractError, UserError
from stages.extract import rows
from tests.builders import image_corpus

COLUMNS = ["id", "split", "image"]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """53 items over three shards of uneven row groups."""
    folder = image_corpus(tmp_path / "c", n=53, size=2)
    table = pq.read_table(folder / "part-00000.parquet")
    for number, (start, stop, group) in enumerate([(0, 20, 7), (20, 23, 1), (23, 53, 11)]):
        pq.write_table(table.slice(start, stop - start), folder / f"part-{number:05d}.parquet", row_group_size=group)
    card = atomic.read_json(folder / "corpus.json")
    atomic.write_json(folder / "corpus.json", card | {"shards": [f"part-{i:05d}.parquet" for i in range(3)]})
    atomic.seal(folder)
    return Corpus(folder)


def ids(batches: Sequence[tuple[np.ndarray, pa.Table]]) -> list[str]:
    return [i for _, table in batches for i in table["id"].to_pylist()]


def test_batches_have_one_size_whatever_the_row_groups(corpus: Corpus) -> None:
    found = list(rows.batches(corpus, COLUMNS, corpus.card.counts, 10))
    assert [len(row) for row, _ in found] == [table.num_rows for _, table in found] == [10] * 5 + [3]
    assert np.concatenate([row for row, _ in found]).tolist() == list(range(53))
    whole = corpus.table(COLUMNS)
    assert pa.concat_tables([table for _, table in found]).combine_chunks().equals(whole.combine_chunks())


@pytest.mark.parametrize("first", [0, 1, 9, 20, 28, 29])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_the_first_items_of_each_split_are_taken_in_order(corpus: Corpus, first: int, size: int) -> None:
    splits = corpus.table(["split"])["split"].to_pylist()
    left, chosen = {"train": 20, "valid": 9}, []
    for row, split in enumerate(splits):
        if left.get(split, 0):
            left[split] -= 1
            chosen.append(row)
    found = list(rows.batches(corpus, COLUMNS, {"valid": 9, "train": 20}, size, first))
    assert [int(r) for row, _ in found for r in row] == chosen[first:]
    assert ids(found) == [f"i{i:04d}" for i in chosen[first:]]


def test_counts_are_limited_by_split(corpus: Corpus) -> None:
    assert rows.count(corpus, ["test", "train"], {"train": 4}) == {"test": 10, "train": 4}
    assert rows.count(corpus, ["valid"], {"valid": 1000}) == {"valid": 10}
    with pytest.raises(UserError, match="unknown split 'vald'"):
        rows.count(corpus, ["vald"], {})


def test_row_groups_before_the_first_item_are_not_read(corpus: Corpus) -> None:
    """Media bytes of the first shard are overwritten: reading them would fail."""
    damage_media(corpus.files[0])
    assert ids(list(rows.batches(corpus, COLUMNS, corpus.card.counts, 5, first=21))) == [f"i{i:04d}" for i in range(21, 53)]
    with pytest.raises(ContractError, match="damaged"):
        list(rows.batches(corpus, COLUMNS, corpus.card.counts, 5))


def damage_media(path: Path) -> None:
    data = bytearray(path.read_bytes())
    metadata = pq.ParquetFile(path).metadata
    for group in range(metadata.num_row_groups):
        for i in range(metadata.num_columns):
            column = metadata.row_group(group).column(i)
            if column.path_in_schema.startswith("image"):
                start = column.dictionary_page_offset or column.data_page_offset
                data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)


def test_what_was_read_of_a_shard_is_not_held(tmp_path: Path) -> None:
    folder = image_corpus(tmp_path / "c", n=2000, size=64)
    shard = folder / "part-00000.parquet"
    pq.write_table(pq.read_table(shard), shard, row_group_size=200)
    atomic.seal(folder)
    corpus, before, held = Corpus(folder), pa.total_allocated_bytes(), 0
    for _, table in rows.batches(corpus, ["image"], corpus.card.counts, 200):
        held = pa.total_allocated_bytes() - before - table.nbytes
    assert held < shard.stat().st_size / 4  # once all was read


def test_a_card_that_promises_more_rows_than_there_are_is_an_error(corpus: Corpus) -> None:
    with pytest.raises(ContractError, match="counts more rows"):
        list(rows.batches(corpus, COLUMNS, {"train": 1000}, 5))


def test_nulls_are_an_error(corpus: Corpus) -> None:
    table = pq.read_table(corpus.files[1])
    holes = pa.array([None] * table.num_rows, pa.string())
    pq.write_table(table.set_column(0, pa.field("id", pa.string(), nullable=True), holes), corpus.files[1])
    with pytest.raises(ContractError, match="holds nulls") as caught:
        list(rows.batches(corpus, COLUMNS, corpus.card.counts, 5))
    assert caught.value.where == str(corpus.files[1])
