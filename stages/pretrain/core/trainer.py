"""Encoder, objective and optimiser of one seed, and the steps they take.

Everything that a step needs follows from (seed, step): the epoch's order, the views, the rate. So the state to resume from is
the weights, the optimiser, torch's generator and the number of steps done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.common import registry
from stages.common.errors import UserError
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder, EncoderCard
from stages.encoders.core.inputs import Input
from stages.pretrain.core import distributed, health, optimisers
from stages.pretrain.core.distributed import World
from stages.pretrain.core.history import History
from stages.pretrain.core.items import Drawn, Items, Schedule, Source
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.replicas import Replicas
from stages.pretrain.core.task import Task
from stages.views.core import random
from stages.views.core.base import Key, Views

_MOST_PENDING = 512  # steps whose losses wait on the device
_PARTNER = 0x70616972  # names the draw of an item's partner, and the partner's views
_TIMED_EVERY = 50  # steps between timings, where taking one makes the device wait


class Trainer:
    """batch_size items make one batch of the loss; an optimiser step averages the gradients of `accumulate` such batches.

    An epoch takes the items in an order that (seed, epoch) fixes; the last ones, which fill no whole step, are left out.
    Raises UserError where the items fill no step, the ranks cannot share a batch, or the parent does not fit.
    """

    def __init__(self, seed: int, task: Task, items: Source, world: World) -> None:
        node, device = task.node, items.device
        self.seed, self.node, self.items, self.world, self.device = seed, node, items, world, device
        self.where = f"encoders.{task.key}, seed {seed}"
        self.encoder = start(seed, task).to(device)
        self.objective: Objective = registry.make(
            "objective", node.objective, self.encoder, where=f"encoders.{task.key}.objective"
        )
        self.objective.to(device)
        self.views: Views = registry.make("views", node.views, self.encoder.frontend, where=f"encoders.{task.key}.views")
        self.per_step = node.batch_size * node.accumulate
        self.per_epoch = self._steps_per_epoch(f"encoders.{task.key}.batch_size") if self.objective.trains else 0
        self.steps, self.done = self.per_epoch * node.epochs, 0
        self.sharded = task.sharding == "fsdp" and world.size > 1
        self.history = History()
        self.seconds = {"data": 0.0, "views": 0.0, "network": 0.0}
        self._pending: list[tuple[int, dict[str, Tensor]]] = []
        self._drawn: Iterator[Drawn] | None = None
        if self.steps:
            self._equip(teacher(seed, task))
        else:
            self.network = Replicas(self.encoder, self.objective)

    def _equip(self, frozen: Encoder | None) -> None:
        self.objective.prepare(self.encoder, self.items, None if frozen is None else frozen.to(self.device))
        self.objective.to(self.device)
        if self.node.channels_last and not self.sharded:  # a shard is rows of contiguous weights
            self.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = self._network()
        self.optimiser = optimisers.KINDS[self.node.optim.name](self.node.optim, self.network.parameters.items())
        if self.node.compile:
            self.encoder.compile()

    def step(self) -> None:
        """One optimiser step. Its losses stay on the device until `settle`, so that the device need not wait."""
        if self._drawn is None:
            self._drawn = self.items.batches(self._schedule())
        means: dict[str, Tensor] = {}
        for micro in range(self.node.accumulate):
            asked = self._clock()
            drawn = next(self._drawn)
            begun = self._clock()
            batch = self.batch(drawn.epoch, drawn.index, drawn.items)
            viewed = self._clock()
            for name, value in self.backward(batch, last=micro == self.node.accumulate - 1).items():
                means[name] = means.get(name, 0) + value / self.node.accumulate
            self._time(asked, begun, viewed, self._clock())
        self.update()
        self.done += 1
        self.objective.after_step(self.encoder, self.done, self.steps)
        self._pending.append((self.done, self._of_all_ranks(means)))
        if len(self._pending) >= _MOST_PENDING:
            self.settle()

    def _schedule(self) -> Schedule:
        """The batches from here to the last step."""
        each = self.node.accumulate
        per_epoch, first, last = (n * each for n in (self.per_epoch, self.done, self.steps))
        return Schedule(self.seed, self.node.batch_size, per_epoch, first, last, self.world.share)

    def batch(self, epoch: int, index: Tensor, items: Items | None = None) -> Batch:
        """The views of the items at `index` (B,); with `pairs:` those of a partner of each after them."""
        items = self.items.at(index) if items is None else items
        key = Key(self.seed, epoch, items.rows)
        views = self.views(items.data, items.lengths, key)
        other: dict[str, Tensor] = {}
        if self.items.partners is not None:
            drawn = random.uniform(random.stream(self.seed, epoch, items.rows, _PARTNER), 1)[:, 0]
            partners = self.items.at(self.items.partners.draw(index, drawn))
            views = views + self.views(partners.data, partners.lengths, Key(self.seed, epoch, items.rows ^ _PARTNER))
            other = partners.side
        if self.node.channels_last:
            views = [_channels_last(v) for v in views]
        return Batch(views, key, index, items.side, other)

    def backward(self, batch: Batch, last: bool = True) -> dict[str, Tensor]:
        """Adds the batch's share to the gradients. last: of the step. Returns the terms of its loss, detached."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.node.precision == "bfloat16"):
            terms = self.network.terms(batch)
        self.network.backward(terms["total"] / self.node.accumulate, last)
        return {name: value.detach() for name, value in terms.items()}

    def update(self) -> None:
        """Takes the optimiser's step with the gradients of all ranks."""
        self.network.average()
        if self.node.optim.clip_norm is not None:
            self.network.clip(self.node.optim.clip_norm)
        self.optimiser.step(optimisers.rate(self.node.optim, self.done, self.steps))
        self.optimiser.clear()

    def settle(self) -> dict[str, float]:
        """Reads the waiting losses in one go, checks them and notes them in the history. Returns the last step's.

        Raises UserError naming the first step whose loss is not finite.
        """
        if not self._pending:
            return {}
        names = list(self._pending[0][1])
        rows = torch.stack([torch.stack([terms[n].float() for n in names]) for _, terms in self._pending]).tolist()
        for (step, _), row in zip(self._pending, rows, strict=True):
            values = dict(zip(names, row, strict=True))
            health.check_finite(step, values, self.where)
            values["lr"] = optimisers.rate(self.node.optim, step - 1, self.steps)
            self.history.add(step, values)
        self._pending = []
        return values

    def state(self) -> dict[str, Any]:
        """All that another process needs to go on from here to the same bits: on rank 0; all ranks must ask for it.

        One process may go on from the state of several and the other way round: with the generator of rank 0.
        """
        self.settle()
        state: dict[str, Any] = {
            "done": self.done,
            "encoder": self.network.state(self.encoder),
            "objective": self.network.state(self.objective),
            "optimiser": self.optimiser.state(),
            "generator": torch.get_rng_state(),
            "device_generator": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "history": self.history.state(),
        }
        if self.world.size > 1:
            state["generators"] = distributed.every(state["generator"])
        return state

    def restore(self, state: dict[str, Any]) -> None:
        self.done, self._drawn = state["done"], None
        self.network.load(self.encoder, state["encoder"])
        self.network.load(self.objective, state["objective"])
        self.optimiser.load(state["optimiser"])
        generators = state.get("generators", ())
        alike = len(generators) == self.world.size
        torch.set_rng_state(generators[self.world.rank].clone() if alike else state["generator"])  # torch takes no view
        if state["device_generator"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["device_generator"], self.device)
        self.history.load(state["history"])

    def _network(self) -> Replicas:
        if not self.sharded:
            return Replicas(self.encoder, self.objective)
        from stages.pretrain.core.shards import Shards

        if self.node.compile:
            raise UserError("a sharded encoder is not compiled", where=self.where, do="set compile: false, or sharding: none")
        return Shards(self.encoder, self.objective)

    def _of_all_ranks(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """The means over the ranks: a loss that couples no items is that of a rank's share."""
        if self.world.size == 1:
            return terms
        means = distributed.mean(torch.stack([value.float() for value in terms.values()]))
        return dict(zip(terms, means.unbind(), strict=True))

    def _steps_per_epoch(self, where: str) -> int:
        if self.node.batch_size % self.world.size:
            raise UserError(
                f"a batch of {self.node.batch_size} does not divide among {self.world.size} processes",
                where=where,
                do="choose a multiple of the number of processes",
            )
        steps = len(self.items) // self.per_step
        if not steps:
            raise UserError(
                f"a step takes {self.per_step} items (batch_size x accumulate), the splits have {len(self.items)}",
                where=where,
                do=f"lower it to {max(1, len(self.items) // self.node.accumulate)} or less, or train on more splits",
            )
        return steps

    def _clock(self) -> float:
        """Now; on a device that runs behind: after it has caught up, and at some steps only (nan at the others)."""
        if self.device.type == "cuda":
            if self.done % _TIMED_EVERY:
                return float("nan")
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _time(self, asked: float, begun: float, viewed: float, ended: float) -> None:
        if asked == asked:
            self.seconds["data"] += begun - asked
            self.seconds["views"] += viewed - begun
            self.seconds["network"] += ended - viewed


def _channels_last(x: Input) -> Input:
    return x.contiguous(memory_format=torch.channels_last) if isinstance(x, Tensor) and x.dim() == 4 else x


def start(seed: int, task: Task) -> Encoder:
    """A new encoder standardised for the corpus; or the parent's of the same seed as it is, where the parent is the start."""
    node, where = task.node, f"encoders.{task.key}"
    if task.parent is None or node.use == "teacher":
        net = encoders.new(node.frontend, node.backbone, task.column, Path(task.assets))
        net.mean.copy_(torch.tensor(task.mean))
        net.std.copy_(torch.tensor(task.std))
        return net
    net, card = parent(seed, task, Path(task.parent))
    if (card.frontend, card.backbone) != (node.frontend, node.backbone):
        raise UserError(
            "the encoder and its parent differ in front end or backbone",
            where=where,
            do=f"write frontend {card.frontend} and backbone {card.backbone}, as the parent has them",
        )
    return net.train()


def teacher(seed: int, task: Task) -> Encoder | None:
    """The parent of a node of `use: teacher`, frozen and in eval mode; it takes what its own front end makes of the media."""
    if task.parent is None or task.node.use != "teacher":
        return None
    return parent(seed, task, Path(task.parent))[0].requires_grad_(False)


def parent(seed: int, task: Task, folder: Path) -> tuple[Encoder, EncoderCard]:
    """The parent's encoder of the same seed, or its only one. Raises UserError where there is none of the seed.

    It takes the node's media; a teacher may take other media, where `side:` hands the objective its column.
    """
    found, where = encoders.seeds(folder), f"encoders.{task.key}"
    if seed not in found and len(found) != 1:
        raise UserError(f"the parent has no seed {seed}", where=f"{where}.seeds", do=f"choose among its seeds {found}")
    net, card = encoders.load(folder / f"seed={seed if seed in found else found[0]}")
    if task.node.use != "teacher" or card.column.name not in task.node.side:
        encoders.fits(card, task.column, f"{where}.parent")
    return net, card
