"""Problems: one seed's features, joined to labels, split, and cut to a label share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from stages.common import features
from stages.common.errors import ContractError, UserError
from stages.common.features import Features
from stages.common.plan import TaskPlan
from stages.fit.core import shares
from stages.fit.core.head import SPLITS, Problem, Rows
from stages.fit.core.labels import Labels, join
from stages.fit.core.material import Material


@dataclass(frozen=True)
class Pools:
    """Positions in the corpus of the labelled items that features cover, by split."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


class Problems:
    """The problems of a task, one seed's features in memory at a time."""

    def __init__(
        self, node: TaskPlan, folder: Path, labels: Labels, device: torch.device, corpus: Path, encoder: Path | None
    ) -> None:
        self.node, self.folder, self.labels, self.device = node, folder, labels, device
        self.corpus, self.encoder = corpus, encoder
        self.info = features.info(folder)
        self.validation = "split valid"  # or a part of train
        if self.info.corpus != node.corpus:
            raise UserError(
                f"the features are of corpus {self.info.corpus!r}, the labels of {node.corpus!r}",
                where=folder,
                do="name the corpus that the features were extracted from",
            )

    def labelled(self) -> Iterator[Problem]:
        """Each seed at each label share, for a head that is fitted on labels."""
        for seed, read, position in self._seeds():
            material = Material(self.corpus, self.encoder, seed, self.device)
            pools = self.pools(position)
            for share in self.node.labels:
                train, valid = self.share(pools, share, seed)
                self._check(train, valid, pools.test, share)
                rows = [self._rows(read, position, items) for items in (train, valid, pools.test)]
                yield Problem(seed, share, rows[0], rows[1], rows[2], self.labels.classes, material=material)

    def whole(self, support: Callable[[int, str], Rows] | None) -> Iterator[Problem]:
        """Each seed with all rows of each split, for a head that needs no labels."""
        for seed, read, position in self._seeds():
            material = Material(self.corpus, self.encoder, seed, self.device)
            rows = [_of(read, self._target(position, read.index), read.splits == split, self.device) for split in SPLITS]
            beside = functools.partial(support, seed) if support else None
            yield Problem(seed, "all", rows[0], rows[1], rows[2], self.labels.classes, beside, material)

    def pools(self, position: np.ndarray) -> Pools:
        """The labelled items that features at `position` (N,) cover; train is parted where there is no valid split."""
        covered = np.zeros(len(self.labels.ids), bool)
        covered[position] = True
        covered &= self.labels.known
        split = self.labels.split.to_numpy(zero_copy_only=False)
        train, valid, test = (np.flatnonzero(covered & (split == s)) for s in SPLITS)
        for name, items in (("train", train), ("test", test)):
            if not len(items):
                raise UserError(
                    f"split {name!r} is empty: no feature row of a labelled item",
                    where=f"{self.folder}: label {self.node.label!r}",
                    do=f"extract split {name!r}, or label its items",
                )
        if len(valid):
            return Pools(train, valid, test)
        self.validation = "a fifth of train, held out by group"
        out = shares.held_out(self._keys(train), self.labels.group.to_numpy(zero_copy_only=False)[train])
        if out.all():
            raise UserError("there are too few train items to hold some out for validation", where=self.folder)
        return Pools(train[~out], train[out], test)

    def share(self, pools: Pools, share: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Train and valid items at a label share: valid is cut by the same rule, so a small share means few labels in all."""
        cut = []
        for items in (pools.train, pools.valid):
            classes = self.labels.value[items] if self.labels.kind == "class" and self.labels.value is not None else None
            cut.append(items[shares.take(share, self._keys(items), seed, classes)] if share != "all" else items)
        return cut[0], cut[1]

    def _seeds(self) -> Iterator[tuple[int, Features, np.ndarray]]:
        read, position, last = None, None, None
        for seed in self.node.seeds:
            kept = self.info.seeds[0] if len(self.info.seeds) == 1 else seed  # one seed serves all: it is read once
            if read is None or position is None or kept != last:
                read = features.read(self.folder, seed, layer=self.node.layer)
                if not np.isfinite(read.x).all():
                    raise ContractError(
                        f"the features of seed {kept} hold values that are not finite",
                        where=self.folder,
                        do="see whether its pretraining diverged",
                    )
                read = self._cut(read)
                position, last = join(self.labels, read, self.folder), kept
            yield seed, read, position

    def _cut(self, read: Features) -> Features:
        """The features with the dimensions alone that the task names. Raises UserError where they have not got these."""
        if self.node.dimensions is None:
            return read
        first, end = self.node.dimensions
        if not 0 <= first < end <= read.x.shape[1]:
            raise UserError(
                f"there are no dimensions {first} to {end} among {read.x.shape[1]}",
                where=self.folder,
                do="write `dimensions: [first, end]`, counted from 0, the end left out",
            )
        return replace(read, x=read.x[:, first:end])

    def _rows(self, read: Features, position: np.ndarray, items: np.ndarray) -> Rows:
        chosen = np.zeros(len(self.labels.ids), bool)
        chosen[items] = True
        return _of(read, self._target(position, read.index), chosen[position], self.device)

    def _target(self, position: np.ndarray, index: np.ndarray) -> np.ndarray | None:
        """The label (N,) of each feature row; (N, width) of a label of steps, -1 beyond an item's last step."""
        if self.labels.value is None or self.labels.kind != "steps":
            return None if self.labels.value is None else self.labels.value[position]
        known = [v for v in self.labels.value if v is not None]
        target = np.full((len(position), known[0].shape[1]), -1, np.int64)
        for row, (item, step) in enumerate(zip(position, index, strict=True)):
            steps = self.labels.value[item]
            if steps is not None and step < len(steps):
                target[row] = steps[step]
        return target

    def _keys(self, items: np.ndarray) -> np.ndarray:
        return shares.keys(self.labels.ids.take(items).to_pylist())

    def _check(self, train: np.ndarray, valid: np.ndarray, test: np.ndarray, share: str) -> None:
        """Raises UserError unless train rows hold two classes, and every class that valid and test rows hold."""
        if self.labels.kind != "class" or self.labels.value is None:
            return
        where = f"{self.folder}: label {self.node.label!r} at label share {share!r}"
        seen = np.unique(self.labels.value[train])
        if len(seen) < 2:
            only = self.labels.classes[int(seen[0])]
            raise UserError(f"all {len(train)} train items are of one class, {only!r}", where=where, do="choose another label")
        for name, items in (("valid", valid), ("test", test)):
            unseen = np.setdiff1d(self.labels.value[items], seen)
            if len(unseen):
                missing = ", ".join(repr(self.labels.classes[int(c)]) for c in unseen[:5])
                raise UserError(
                    f"split {name!r} holds classes that no train item has: {missing}",
                    where=where,
                    do="split the corpus stratified by this label",
                )


def supported(node: TaskPlan, folder: Path, device: torch.device) -> Callable[[int, str], Rows] | None:
    """(seed, split) -> rows of the second features, without labels; None where the task names no second features.

    What it gives raises UserError where that split was not extracted.
    """
    if node.support == f"features/{node.features}" or not node.support.startswith("features/"):
        return None

    def rows(seed: int, split: str) -> Rows:
        read = features.read(folder, seed, splits=[split])
        return _of(read, None, np.ones(len(read), bool), device)

    return rows


def _of(read: Features, target: np.ndarray | None, chosen: np.ndarray, device: torch.device) -> Rows:
    x = torch.from_numpy(read.x if chosen.all() else read.x[chosen]).to(device)
    if target is not None and target.dtype == object:
        return Rows(read.ids[chosen], read.index[chosen], x, text=target[chosen])
    kept = None if target is None else torch.from_numpy(target[chosen]).to(device)
    return Rows(read.ids[chosen], read.index[chosen], x, kept)
