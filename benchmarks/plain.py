"""The quickstart's mathematics as one plain script: loops over objectives and seeds, everything in memory, one process.

What a user would write without Prelude, and what orchestration is measured against. Network, views, losses, solver and measures
are the project's own, so that both sides compute the same; there is no DAG, file, record, monitor, interval or report here.
`python -m benchmarks.plain` prints the probes' accuracies at 5 labels per class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from stages.common import plan as plans
from stages.common import registry
from stages.common.corpus import Column
from stages.common.plan import EncoderPlan, Plan
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder
from stages.fit.core import shares
from stages.fit.core.head import Problem, Rows
from stages.pretrain.core import optimisers
from stages.pretrain.core.objective import Batch
from stages.views.core.base import Key

COLUMN = Column("image", "media", "pixels", shape=[8, 8, 1])


def pretrain(node: EncoderPlan, seed: int, images: Tensor) -> Encoder:
    """The encoder of one node and seed, trained on uint8 (N, 8, 8, 1)."""
    torch.manual_seed(seed)
    net = encoders.new(node.frontend, node.backbone, COLUMN, Path())
    x: Any = net.frontend(images)
    net.mean.copy_(x.mean((0, 2, 3)))
    net.std.copy_(x.std((0, 2, 3)))
    objective: Any = registry.make("objective", node.objective, net)
    if not node.epochs or not objective.trains:
        return net.eval()
    views: Any = registry.make("views", node.views, net.frontend)
    weights = [p for _, p in objective.optimised(net)]
    optimiser = torch.optim.AdamW(weights, lr=node.optim.lr, betas=node.optim.betas, weight_decay=node.optim.weight_decay)
    per_epoch = len(images) // node.batch_size
    for step in range(node.epochs * per_epoch):
        epoch, at = divmod(step, per_epoch)
        if not at:
            order = torch.randperm(len(images))
        index = order[at * node.batch_size : (at + 1) * node.batch_size]
        terms = objective(net, Batch(views(images[index], None, Key(seed, epoch, index)), Key(seed, epoch, index), index))
        for group in optimiser.param_groups:
            group["lr"] = optimisers.rate(node.optim, step, node.epochs * per_epoch)
        optimiser.zero_grad()
        terms["total"].backward()
        optimiser.step()
        objective.after_step(net, step + 1, node.epochs * per_epoch)
    return net.eval()


@torch.no_grad()
def features(net: Encoder, images: Tensor) -> Tensor:
    """h (N, D) of uint8 (N, 8, 8, 1)."""
    return torch.cat([net(net.frontend(part)) for part in images.split(512)])


def run(plan: Plan) -> dict[str, list[float]]:
    """Every encoder, its features and every task of the plan; returns {probe: accuracies at 5 labels per class}."""
    pixels, digits = load_digits(return_X_y=True)
    images = torch.from_numpy(np.rint(pixels * (255 / 16)).astype(np.uint8)).view(-1, 8, 8, 1)
    labels, ids = torch.from_numpy(digits), np.array([f"digits-{i:04d}" for i in range(len(digits))])
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0)).numpy()
    train, valid, test = np.split(order, [int(0.7 * len(order)), int(0.8 * len(order))])
    found: dict[str, list[float]] = {}
    for name, node in plan.encoders.items():
        for seed in node.seeds:
            h = features(pretrain(node, seed, images[train]), images)
            for key, task in plan.tasks.items():
                seeds = task.seeds if len(node.seeds) == 1 else [seed]  # raw pixels serve all seeds of a task
                for task_seed in set(seeds) & set(task.seeds) if task.features == name else ():
                    head: Any = registry.make("head", task.head)
                    for share in task.labels:
                        problem = _problem(task_seed, share, (train, valid, test), ids, h, labels)
                        outcome = head.fit(problem)
                        if share == "5" and key.startswith("probe"):
                            found.setdefault(key, []).append(float((outcome.prediction == problem.test.labels).double().mean()))
    return found


def _problem(seed: int, share: str, splits: tuple[np.ndarray, ...], ids: np.ndarray, h: Tensor, labels: Tensor) -> Problem:
    train, valid, test = splits
    cut = [i[shares.take(share, shares.keys(ids[i].tolist()), seed, labels[i].numpy())] for i in (train, valid)]
    parts = [Rows(ids[i], np.zeros(len(i), int), h[i], labels[i]) for i in (*cut, test)]
    return Problem(seed, share, parts[0], parts[1], parts[2], classes=[str(c) for c in range(10)])


def main() -> None:
    for name, values in run(plans.load(Path("params.yaml"))).items():
        print(f"{name:24} {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}")


if __name__ == "__main__":
    main()
