"""What being watched costs a training step, and for how much of it the network has nothing to work on.

on: live events, the progress line, and the thread that follows them into MLflow (SQLite) every two seconds, in a process of its
own as `prelude run` has it. off: the same steps, unwatched. Wall time, for the follower may take time from the trainer's cores.
"""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

from benchmarks import pictures
from benchmarks.core.case import Case, Line, Options, Run, Way, at_most
from benchmarks.simclr import trainer_of


def cases(options: Options) -> list[Case]:
    batch, steps = (16, 1) if options.quick else (256, 24)
    given = {"batch": batch, "steps": steps}
    prepare = {"items": 8 * batch, "mirror": options.mirror}
    ways = {
        "on": Way("watched", watched, {**given, "follow": not options.quick}, items=steps),
        "off": Way("the same, unwatched", unwatched, given, items=steps),
    }
    what = f"SimCLR, ResNet-18 width 16, batch {batch}, 1 thread"
    lines = (
        Line(
            f"step with events, progress and MLflow, {what}",
            "on",
            ("off",),
            "cost",
            at_most(1.01),
            why="rounds differ by several times the aim's hundredth",
        ),
        Line(
            f"share of a step in which the network waits for views, {what}",
            "off",
            ("off",),
            "cost",
            at_most(0.05),
            "views_s",
            "step_s",
            why="on a CPU nothing runs ahead: views are made by the threads that train, so their whole time counts as waiting",
        ),
    )
    return [Case("step", ways, lines, pictures.prepare, prepare)]


def unwatched(folder: Path, batch: int, steps: int) -> Run:
    trainer, _ = trainer_of(folder, batch, 1)

    def run() -> dict[str, float]:
        before = dict(trainer.seconds)
        for _ in range(steps):
            trainer.step()
        trainer.settle()
        views, network = (trainer.seconds[name] - before[name] for name in ("views", "network"))
        return {"views_s": views, "step_s": views + network}

    return run


def watched(folder: Path, batch: int, steps: int, follow: bool) -> Run:
    """follow: an MLflow synchroniser reads along in another process; it polls on while others run, as little as it costs."""
    from dataclasses import replace

    from stages.common.workspace import Workspace
    from stages.pretrain.core.observer import Observer

    trainer, task = trainer_of(folder, batch, 1)
    space = Workspace(folder / "watched")
    task = replace(task, live=str(space.live("pretrain", "bench")), digest="d" * 64)
    observer = Observer(task, trainer)
    follower: Any = None
    if follow:
        context: Any = multiprocessing.get_context("spawn")
        ready = context.Event()
        follower = context.Process(target=_follow, args=(space.root, ready), daemon=True)
        follower.start()
        if not ready.wait(120):
            raise RuntimeError("the follower did not open MLflow in two minutes")

    def run() -> None:
        for _ in range(steps):
            trainer.step()
            observer.stepped()
        if follower is not None and not follower.is_alive():
            raise RuntimeError("the follower has ended")

    return run


def _follow(root: Path, ready: Any) -> None:
    """The runner's part: reads live events into MLflow until its owner ends."""
    from flows.tracking.live import Tail
    from stages.common import process
    from stages.common.plan import Plan, TrackingPlan
    from stages.common.workspace import Workspace

    process.die_with_parent()
    plan = Plan(tracking=TrackingPlan(uri=f"sqlite:///{root / 'mlflow.db'}"))
    tail = Tail(Workspace(root), plan)
    tail.look()  # the store is made before anything is timed
    ready.set()
    with tail:
        while True:
            time.sleep(60)
