"""Labels of a corpus, joined to feature rows by id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.common.corpus import Corpus
from stages.common.errors import ContractError, UserError
from stages.common.features import Features


@dataclass(frozen=True)
class Labels:
    """The items of a corpus, in its order: ids (N,), split (N,), group (N,), and the label's value (N,).

    value: class indices int64 (-1: not labelled), numbers float64 (nan: not labelled), texts, or arrays (T, width) of class
    indices by row, the last two as objects (None: not labelled); None where the task names no label.
    """

    ids: pa.Array
    split: pa.Array
    group: pa.Array
    kind: str | None
    value: np.ndarray | None
    classes: list[str]

    @property
    def known(self) -> np.ndarray:
        """(N,) bool: which items are labelled (all of them, where the task names no label)."""
        if self.value is None:
            return np.ones(len(self.ids), bool)
        if self.value.dtype == object:
            return np.array([v is not None for v in self.value], bool)
        return self.value >= 0 if self.kind == "class" else ~np.isnan(self.value)


def read(folder: Path, name: str | None) -> Labels:
    """Reads ids, splits, groups and the label `name`. Raises UserError where the column is no label or holds none."""
    corpus = Corpus(folder)
    if name is None:
        table = corpus.table(["id", "split", "group"])
        return Labels(_one(table["id"]), _one(table["split"]), _one(table["group"]), None, None, [])
    column = corpus.card.column(name)
    if column.role != "label":
        labels = [c.name for c in corpus.card.columns if c.role == "label"]
        do = f"choose one of: {', '.join(labels)}" if labels else "declare one under `labels:` of the corpus"
        raise UserError(f"column {name!r} is no label, it is {column.role}", where=folder, do=do)
    table = corpus.table(["id", "split", "group", name])
    array = _one(table[name])
    if array.null_count == len(array):
        raise UserError(f"label {name!r} is null in every row", where=folder, do="choose another label, or mend the reader")
    ids, split, group = _one(table["id"]), _one(table["split"]), _one(table["group"])
    if column.kind == "class":
        value = np.nan_to_num(_numbers(array), nan=-1).astype(np.int64)
        classes = column.classes or [str(c) for c in range(int(value.max()) + 1)]
        if value.min() < -1 or value.max() >= len(classes):
            raise ContractError(
                f"label {name!r} holds {int(value.max())}, the card names {len(classes)} classes",
                where=folder,
                do="run the ingest again",
            )
        return Labels(ids, split, group, "class", value, classes)
    if column.kind == "number":
        number = _numbers(array)
        if np.isinf(number).any():
            raise ContractError(f"label {name!r} holds infinite numbers", where=folder, do="mend the source, or null them")
        return Labels(ids, split, group, "number", number, [])
    objects = np.empty(len(array), object)
    if column.kind == "text":
        objects[:] = array.to_pylist()
        return Labels(ids, split, group, "text", objects, [])
    if column.kind != "steps":
        raise UserError(f"label {name!r} is {column.kind}; no head is fitted on that", where=folder, do="choose another label")
    width = (column.shape or [-1, 1])[-1]
    objects[:] = [None if v is None else np.array(v, np.int64).reshape(-1, width) for v in array.to_pylist()]
    return Labels(ids, split, group, "steps", objects, column.classes or [])


def join(labels: Labels, features: Features, where: Path) -> np.ndarray:
    """Position (N,) in the corpus of each feature row. Raises UserError for features of another corpus, or of other splits."""
    found = pc.index_in(pa.array(features.ids, pa.string()), value_set=labels.ids)
    if found.null_count:
        first = features.ids[int(np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False))[0])]
        raise UserError(
            f"{found.null_count} of {len(found)} feature rows are of items that the corpus does not have, such as {first!r}",
            where=where,
            do="name the corpus that the features were extracted from, or extract again",
        )
    position = found.to_numpy().astype(np.int64)
    moved = labels.split.to_numpy(zero_copy_only=False)[position] != features.splits
    if moved.any():
        raise ContractError(
            f"{int(moved.sum())} feature rows are of another split than their items in the corpus",
            where=where,
            do="the corpus was split anew: extract again",
        )
    return position


def _numbers(array: pa.Array) -> np.ndarray:
    """float64 (N,), nan for null."""
    return array.to_numpy(zero_copy_only=False).astype(np.float64)


def _one(column: pa.ChunkedArray) -> pa.Array:
    chunks = column.combine_chunks()
    return chunks if isinstance(chunks, pa.Array) else chunks.chunk(0)
