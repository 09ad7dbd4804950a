"""Training steps of an objective and of a peer's model: what both sides of a comparison by steps share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.core.case import Run
from benchmarks.core.values import trainable


def ours(column: Any, frontend: Any, backbone: Any, objective: Any, x: Any, times: int) -> Run:
    """A step of an objective on x: draws, forward, loss, backward, AdamW."""
    import torch

    from stages.common import process, registry
    from stages.common.plan import OptimPlan
    from stages.encoders.core import encoder as encoders
    from stages.pretrain.core import optimisers
    from stages.pretrain.core.objective import Batch
    from stages.views.core.base import Key

    process.set_threads(1)
    torch.manual_seed(0)
    net = encoders.new(frontend, backbone, column, Path()).train()
    made: Any = registry.make("objective", objective, net).train()
    plan, index, done = OptimPlan(lr=1e-3), torch.arange(len(x)), 0
    optimiser = optimisers.AdamW(plan, made.optimised(net))

    def step() -> Any:
        nonlocal done
        loss = made(net, Batch([x], Key(0, done, index), index))["total"]
        loss.backward()
        optimiser.step(plan.lr)
        optimiser.clear()
        done += 1
        made.after_step(net, done, done)
        return loss

    return repeated(step, times, trainable(net, made))


def theirs(model: Any, loss_of: Callable[[], Any], times: int) -> Run:
    """A step of a peer's model; the allocator is set as ours has it, so that the models are compared and no more."""
    import torch

    from stages.common import process

    process.set_threads(1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step() -> Any:
        loss = loss_of()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss

    return repeated(step, times, trainable(model))


def repeated(step: Callable[[], Any], times: int, weights: int) -> Run:
    """The step so many times; tells the loss of the very first."""
    first: list[float] = []

    def run() -> dict[str, float]:
        for _ in range(times):
            loss = step()
            if not first:
                first.append(float(loss.detach()))
        return {"loss": first[0], "weights": weights}

    return run
