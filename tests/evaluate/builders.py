"""Tasks on disk for the tests of evaluate, through the contract's writer, and stand-in metrics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.common import atomic, registry, tasks
from stages.common.plan import TaskPlan
from stages.common.schema import Part
from stages.evaluate.judged import Judged


def accuracy(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None) -> float:
    return float((target == prediction).mean())


def rmse(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None) -> float:
    return float(np.sqrt(((target - prediction) ** 2).mean()))


def balanced(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None) -> float:
    return float(np.mean([(prediction[target == c] == c).mean() for c in np.unique(target)]))


def log_loss(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None) -> float:
    if score is None:
        raise ValueError("needs scores")
    return float(-np.log(score[np.arange(len(target)), target.astype(int)] + 1e-9).mean())


METRICS: dict[str, Callable[..., float]] = {"accuracy": accuracy, "rmse": rmse, "balanced": balanced, "log_loss": log_loss}
LOWER = {"rmse", "log_loss"}


def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the metrics above the registered ones."""
    from stages.evaluate import direction, system

    names, find = registry.names, registry.find
    monkeypatch.setattr(registry, "names", lambda kind: sorted(METRICS) if kind == "metric" else names(kind))
    monkeypatch.setattr(registry, "find", lambda k, n, where="": METRICS[n] if k == "metric" else find(k, n, where))
    for module in (direction, system):
        monkeypatch.setattr(module, "higher_is_better", lambda name: name not in LOWER)


def predictions(
    right: np.ndarray, seed: int = 0, slice: str = "all", classes: int = 4, ids: list[str] | None = None
) -> tasks.Predictions:
    """Class predictions (N,) that are right where `right` (N,) says; target i is i modulo the classes."""
    target = np.arange(len(right)) % classes
    guess = np.where(right, target, (target + 1) % classes)
    score = np.full((len(right), classes), 0.1)
    score[np.arange(len(right)), guess] = 1 - 0.1 * (classes - 1)
    names = np.array(ids or [f"i{i:05d}" for i in range(len(right))])
    return tasks.Predictions(seed, slice, names, target.astype(float), guess.astype(float), score)


def task_plan(system: str = "demo", **settings: object) -> TaskPlan:
    given = {"corpus": "c", "features": "f", "support": "features/f", "head": Part("probe"), **settings}
    return TaskPlan(system=system, **given)  # type: ignore[arg-type]


def write_task(
    folder: Path,
    found: list[tasks.Predictions],
    metrics: tuple[str, ...] = ("accuracy",),
    values: list[tasks.Value] | None = None,
    head: str = "probe",
    encoder: str = "e",
    classes: list[str] | None = None,
) -> Path:
    """A sealed task folder <root>/<system>/<task>; `values` adds figures that have no predictions behind them."""
    folder.mkdir(parents=True)
    rows = [
        tasks.Value(m, METRICS[m](p.target, p.prediction, p.score), p.seed, p.slice, len(p.ids)) for p in found for m in metrics
    ]
    result = tasks.TaskResult(folder.name, folder.parent.name, "f", encoder, head, rows + (values or []), classes or [])
    tasks.write(folder, result, found)
    atomic.seal(folder)
    return folder


def judged(
    root: Path,
    key: str,
    rates: list[float],
    *,
    n: int = 200,
    metrics: tuple[str, ...] = ("accuracy",),
    seeds: list[int] | None = None,
) -> Judged:
    """A task of one seed per rate, with exactly that share of its n items right (the same items first)."""
    seeds = seeds or list(range(len(rates)))
    found = [predictions(np.arange(n) < round(rate * n), seed) for rate, seed in zip(rates, seeds, strict=True)]
    return Judged(key, task_plan(), write_task(root / "demo" / key, found, metrics))


def measured(root: Path, key: str, values: list[float | None], metric: str = "rankme") -> Judged:
    """A task of figures without predictions."""
    figures = [tasks.Value(metric, v, seed) for seed, v in enumerate(values)]
    return Judged(key, task_plan(), write_task(root / "demo" / key, [], (), figures, "measures"))
