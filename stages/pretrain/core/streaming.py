"""A node with `stream:`: what is looked up in its corpus before the first step, and the stream that each seed opens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from stages.common import registry, validation
from stages.common.corpus import Column, Corpus
from stages.common.errors import UserError
from stages.common.plan import EncoderPlan
from stages.encoders.core.encoder import Frontend
from stages.pretrain.core import data
from stages.pretrain.core.memory import check_fits
from stages.pretrain.core.row_groups import Reader, RowGroups
from stages.pretrain.core.stream import Stream
from stages.pretrain.core.task import Task
from stages.pretrain.core.watched import check_label, watched

_GROUPS = "groups.npy"
_WINDOWS = 3  # in memory at most: one that a batch still needs, the next one, and what is read ahead


def prepare(
    corpus: Corpus,
    column: Column,
    frontend: Frontend,
    node: EncoderPlan,
    folder: Path,
    where: str,
    seeds: int = 1,
    threads: int = 1,
) -> Stream:
    """Finds the row groups of the node's splits, and decodes what the monitor looks at; writes both into `folder`.

    seeds: so many stream side by side. Raises UserError for what does not stream, a split that is missing or empty, or windows
    too large for the memory.
    """
    assert node.stream is not None
    validation.streamed(node, where)
    if threads < 1:
        raise UserError(f"decode_threads must be 1 or more, got {threads}", where="compute")
    data.check_splits(corpus, node)
    check_label(corpus, node.monitor)
    groups = RowGroups.of(corpus, node.splits)
    window = min(node.stream.window, len(groups))
    check_fits(
        seeds * _WINDOWS * window * int(groups.stored.max()),
        "cpu",
        corpus.folder,
        f"{_WINDOWS} windows of {window} row groups for each of {seeds} seeds",
        "lower `stream.window`, or `compute.jobs`",
    )
    (folder / data.TRAIN).mkdir(parents=True)
    groups.save(folder / data.TRAIN / _GROUPS)
    data.save_sides(corpus, frontend, node, folder)

    def stream(splits: Sequence[str], found: RowGroups) -> Stream:
        return Stream(Reader(corpus, found, splits, column, node.monitor.label), frontend.contract, window, threads)

    items = stream(node.splits, groups)
    data.save(items.at(torch.from_numpy(watched(corpus, node.monitor, node.splits))), folder / data.BANK)
    if corpus.card.counts.get(data.VALID) and data.VALID not in node.splits:
        valid = [data.VALID]
        chosen = torch.from_numpy(watched(corpus, node.monitor, valid))
        if len(chosen):
            data.save(stream(valid, RowGroups.of(corpus, valid)).at(chosen), folder / data.VALID)
    return items


def opened(task: Task, device: torch.device) -> Stream:
    """The stream of a seed's or a rank's process, of the row groups that were found."""
    node, corpus = task.node, Corpus(Path(task.corpus))
    assert node.stream is not None
    frontend: Frontend = registry.make(
        "frontend", node.frontend, task.column, Path(task.assets), where=f"encoders.{task.key}.frontend"
    )
    folder = Path(task.media) / data.TRAIN
    reader = Reader(corpus, RowGroups.load(folder / _GROUPS), node.splits, task.column, node.monitor.label)
    return Stream(reader, frontend.contract, node.stream.window, task.decode_threads, device, data.sides(folder))
