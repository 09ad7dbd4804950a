"""Which items of a corpus are extracted, streamed row group by row group in batches of a fixed composition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.common.corpus import Corpus
from stages.common.errors import ContractError, UserError, unknown
from stages.common.parquet import opened, readable


def count(corpus: Corpus, splits: Sequence[str], limit: Mapping[str, int]) -> dict[str, int]:
    """Items to extract per split: at most `limit` of each. Raises UserError for a split that is not there."""
    for split in (*splits, *limit):
        if split not in corpus.card.counts:
            raise unknown("split", split, corpus.card.counts, where=corpus.folder)
    for split, most in limit.items():
        if most < 0 or split not in splits:
            raise UserError(
                f"limit {split}: {most} limits nothing", where="limit", do="give splits that are extracted 0 or more"
            )
    return {s: min(corpus.card.counts[s], limit.get(s, corpus.card.counts[s])) for s in splits}


def batches(
    corpus: Corpus, columns: Sequence[str], counts: Mapping[str, int], size: int, first: int = 0
) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """Yields (row (n,) int64, columns of n items) for batch after batch of `size` items, the last one shorter.

    The items are the first counts[s] of each split s, in corpus order; row is an item's number among all of the corpus.
    first: items left out at the start; row groups that hold nothing else are not read. Memory: a row group and a batch.
    """
    held: list[pa.Table] = []
    rows: list[np.ndarray] = []
    have = 0
    for row, table in _groups(corpus, columns, counts, first):
        held.append(table)
        rows.append(row)
        have += len(row)
        if have < size:
            continue
        whole, numbers = pa.concat_tables(held), np.concatenate(rows)
        for at in range(0, have - size + 1, size):
            yield numbers[at : at + size], whole.slice(at, size)
        done = have - have % size
        held, rows, have = [whole.slice(done)], [numbers[done:]], have - done
    if have:
        yield np.concatenate(rows), pa.concat_tables(held)


def _groups(
    corpus: Corpus, columns: Sequence[str], counts: Mapping[str, int], first: int
) -> Iterator[tuple[np.ndarray, pa.Table]]:
    left = dict(counts)
    row = item = 0
    for path in corpus.files:
        with readable("the shard is damaged", where=path, do="run the ingest again"):
            file = opened(path)
            for group in range(file.num_row_groups):
                splits = file.read_row_group(group, columns=["split"], use_threads=False)["split"]
                chosen = _choose(splits, left)
                kept = chosen[max(0, first - item) :]
                if len(kept):
                    # other threads would free what they worked with late: nine times a row group of pixels
                    table = file.read_row_group(group, columns=list(columns), use_threads=False).select(columns)
                    table = table if len(kept) == table.num_rows else table.take(pa.array(kept))
                    if any(column.null_count for column in table.columns):
                        raise ContractError("a row holds nulls", where=path, do="run the ingest again")
                    yield row + kept, table
                item += len(chosen)
                row += len(splits)
        if not any(left.values()):
            return
    raise ContractError(
        f"the card counts more rows than the shards hold: {left}", where=corpus.folder, do="run the ingest again"
    )


def _choose(splits: pa.ChunkedArray, left: dict[str, int]) -> np.ndarray:
    """Positions of the rows to take, in order; `left`, what is still wanted of each split, goes down."""
    taken = []
    for split in left:
        found = np.flatnonzero(pc.equal(splits, split).to_numpy())[: left[split]]
        left[split] -= len(found)
        taken.append(found)
    return np.sort(np.concatenate(taken))
