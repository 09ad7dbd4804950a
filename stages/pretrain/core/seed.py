"""One seed from its first step to the exported encoder: epochs, the online monitor, snapshots, output."""

from __future__ import annotations

import contextlib
import math
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder, EncoderCard
from stages.encoders.core.projector import Projector
from stages.pretrain.core import data, distributed, health, snapshot, streaming
from stages.pretrain.core.items import Source
from stages.pretrain.core.monitor import Monitor
from stages.pretrain.core.observer import Observer
from stages.pretrain.core.task import Outcome, Task
from stages.pretrain.core.trainer import Trainer
from stages.pretrain.core.watched import monitored

deterministic: Any = torch.utils.deterministic  # a module whose settings mypy does not see


def train(seed: int, task: Task) -> Outcome:
    """Trains one seed, from its last snapshot if there is one, and writes seed=<s>/ (by rank 0).

    Raises UserError if the loss is not finite or the plan does not fit the data.
    """
    world, device = distributed.world(), distributed.device(task.device)
    snapshots = Path(task.work) / f"seed={seed}"
    with reproducible(seed, device):
        items: Source
        if task.node.stream is None:
            items = data.read(Path(task.media) / data.TRAIN).to(device)
        else:
            items = streaming.opened(task, device)
        trainer = Trainer(seed, task, items, world)
        monitor = _monitor(task, device) if world.leads else None
        kept = snapshot.latest(snapshots) if trainer.steps else None
        if kept is not None:
            trainer.restore(kept)
        distributed.barrier()  # nobody drops a snapshot that another rank still reads
        outcome = Outcome(seed, resumed_at=trainer.done)
        observer = Observer(task, trainer)
        try:
            _epochs(trainer, monitor, observer, snapshots)
            outcome.samples_per_second = observer.samples_per_second()
            with trainer.network.exported() as (net, projector):
                if monitor is not None:
                    outcome.metrics = _final(trainer, monitor, net, observer)
                    _export(Path(task.out) / f"seed={seed}", trainer, task, outcome, net, projector)
        finally:
            observer.close()
            items.close()
    return _account(outcome, trainer)


def _epochs(trainer: Trainer, monitor: Monitor | None, observer: Observer, snapshots: Path) -> None:
    while trainer.done < trainer.steps:
        trainer.step()
        observer.stepped()
        last = trainer.done == trainer.steps
        epoch, into = divmod(trainer.done, trainer.per_epoch)
        if not into:
            values = trainer.settle()
            if last or epoch % trainer.node.monitor.every == 0:
                with observer.aside_from_training(), trainer.network.exported() as (net, _):
                    measured = {} if monitor is None else monitor.measure(net)
                trainer.history.add(trainer.done, measured)
                observer.warn(_collapse(trainer))
                values |= measured
            observer.tell(values)
        if last or trainer.done % trainer.node.snapshot_every == 0:  # at the end too: a finished seed is not trained again
            state = trainer.state()
            if trainer.world.leads:
                with observer.aside_from_training():
                    snapshot.save(snapshots, trainer.done, state)


def _final(trainer: Trainer, monitor: Monitor, net: Encoder, observer: Observer) -> dict[str, float]:
    """The last of every measure and of the loss; measured now if nothing was trained."""
    if not trainer.steps:
        measured = monitor.measure(net)
        observer.tell(measured)
        return measured
    history = trainer.history
    return {"loss" if name == "total" else name: history.of(name)[-1][1] for name in history.names if name != "lr"}


def _collapse(trainer: Trainer) -> list[str]:
    warmed_up = math.ceil(trainer.node.optim.warmup * trainer.steps)
    return health.collapse(trainer.history, trainer.per_epoch, warmed_up)


def _monitor(task: Task, device: torch.device) -> Monitor:
    plan, folder = task.node.monitor, Path(task.media) / data.VALID
    if task.node.stream is None:
        items = data.read(Path(task.media) / data.TRAIN)
        bank = items.at(torch.from_numpy(monitored(items.labels.numpy(), plan)))
    else:
        bank = data.read(Path(task.media) / data.BANK)
    queries = data.read(folder).to(device) if folder.is_dir() else None
    return Monitor(plan, bank.to(device), queries)


def _export(folder: Path, trainer: Trainer, task: Task, outcome: Outcome, net: Encoder, projector: Projector | None) -> None:
    """Writes the encoder, its card, its history and its projector; the objective's other heads are left behind."""
    folder.mkdir(parents=True)
    node = task.node
    card = EncoderCard(
        frontend=node.frontend,
        backbone=node.backbone,
        column=task.column,
        corpus=node.corpus,
        corpus_digest=task.corpus_digest,
        split_digest=task.split_digest,
        objective=node.objective.name,
        seed=trainer.seed,
        steps=trainer.done,
        width=net.width,
        parent=node.parent if task.parent else None,
        parameters=sum(p.numel() for p in net.parameters()),
        projector=None if projector is None else projector.arguments,
        code=encoders.code_digest(node.frontend.name, node.backbone.name),
        metrics={name: value for name, value in sorted(outcome.metrics.items()) if math.isfinite(value)},
    )
    encoders.save(folder, net, card, projector)
    trainer.history.write(folder / encoders.HISTORY)
    outcome.parameters, outcome.shape = card.parameters, tuple(net.frontend.shape)


def _account(outcome: Outcome, trainer: Trainer) -> Outcome:
    outcome.seconds = {f"{name}_s": seconds for name, seconds in trainer.seconds.items()}
    outcome.peak_memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if trainer.device.type == "cuda":
        outcome.peak_memory_mb = torch.cuda.max_memory_allocated(trainer.device) / 2**20
    if trainer.steps:
        views, data_, network = (trainer.seconds[name] for name in ("views", "data", "network"))
        whole = max(views + data_ + network, 1e-9)
        outcome.warnings = _collapse(trainer) + health.starved(views / whole, data_ / whole)
    return outcome


@contextlib.contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's generators and, on the CPU, asks for deterministic kernels; puts all back at the end."""
    mode, fill = torch.get_deterministic_debug_mode(), deterministic.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        if device.type == "cpu":
            torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms would import the compiler: seconds
            deterministic.fill_uninitialized_memory = False  # costs time, changes nothing here
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(mode)
            deterministic.fill_uninitialized_memory = fill
