"""Which items the monitor looks at, and their labels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from stages.common.corpus import Corpus
from stages.common.errors import UserError
from stages.common.plan import MonitorPlan
from stages.views.core import random

_CHOICE = 0x6B4E4E  # names the draw of the monitor's rows, the same for every seed
_ROWS = 65_536  # items looked at at once


def monitored(labels: np.ndarray, monitor: MonitorPlan) -> np.ndarray:
    """Which of N items with labels (N,) the monitor looks at: at most `rows`, labelled ones where it has a label, in order."""
    return _chosen([labels], monitor)


def watched(corpus: Corpus, monitor: MonitorPlan, splits: list[str]) -> np.ndarray:
    """The same of the splits' items, whose labels are read a few at a time. Raises UserError."""
    if monitor.label is None:
        count = corpus.count(splits)
        return _chosen((np.full(min(_ROWS, count - at), -1) for at in range(0, count, _ROWS)), monitor)
    check_label(corpus, monitor)
    batches = corpus.batches([monitor.label], splits, rows=_ROWS)
    return _chosen((b.column(0).fill_null(-1).to_numpy(zero_copy_only=False) for b in batches), monitor)


def _chosen(blocks: Iterable[np.ndarray], monitor: MonitorPlan) -> np.ndarray:
    """Candidates are numbered as they come; those of the least random keys are kept, so what blocks there are is no matter."""
    state, candidates, items = random.stream(_CHOICE, 0), 0, 0
    keys, chosen = np.empty(0, np.int64), np.empty(0, np.int64)
    for labels in blocks:
        here = np.flatnonzero(labels >= 0) if monitor.label else np.arange(len(labels))
        new = random.words(state, torch.arange(candidates, candidates + len(here))).numpy()
        keys, chosen = np.concatenate([keys, new]), np.concatenate([chosen, items + here])
        least = np.argsort(keys, kind="stable")[: monitor.rows]
        keys, chosen = keys[least], chosen[least]
        candidates, items = candidates + len(here), items + len(labels)
    return np.sort(chosen)


def labels_of(corpus: Corpus, monitor: MonitorPlan, splits: list[str]) -> np.ndarray:
    """Class indices (N,) of the monitor's label in the splits' rows, -1 where there is none. Raises UserError."""
    if monitor.label is None:
        return np.full(corpus.count(splits), -1, np.int64)
    check_label(corpus, monitor)
    found: np.ndarray = corpus.table([monitor.label], splits)[monitor.label].fill_null(-1).to_numpy()
    return found


def check_label(corpus: Corpus, monitor: MonitorPlan) -> None:
    """Raises UserError where the monitor's label is no class."""
    column = None if monitor.label is None else corpus.card.column(monitor.label)
    if column is not None and (column.role != "label" or column.kind != "class"):
        raise UserError(
            f"the monitor's kNN takes a class label; {monitor.label!r} is a {column.role} column of kind {column.kind}",
            where="monitor.label",
            do="name a class label, or null",
        )
