"""The figures of a record: each metric over its seeds, and the one that stands for the node."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class BySeed:
    """Values of one figure by seed; None: not finite, or not there."""

    values: dict[Any, float | None] = field(default_factory=dict)

    @property
    def finite(self) -> list[float]:
        return [v for v in self.values.values() if v is not None]

    @property
    def mean(self) -> float | None:
        """Over the seeds whose value is finite."""
        return statistics.fmean(self.finite) if self.finite else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation; None for fewer than two values."""
        return statistics.stdev(self.finite) if len(self.finite) > 1 else None


@dataclass
class Figure(BySeed):
    """One metric at one label share (or of one subgroup, or split). n: items behind it. Seed None: of the whole node."""

    name: str
    slice: str
    n: int | None = None


def figures(record: Mapping[str, Any]) -> list[Figure]:
    """Grouped by name and label share, in the record's order."""
    found: dict[tuple[str, str], Figure] = {}
    for metric in record["metrics"]:
        figure = found.setdefault((metric["name"], metric["slice"]), Figure(metric["name"], metric["slice"], metric["n"]))
        figure.values[metric["seed"]] = metric["value"]
    return list(found.values())


def headline(record: Mapping[str, Any]) -> str:
    """What a node came to, in some words: the mean over its seeds, named; nothing for a node without a figure.

    ingest: its items. pretrain: the online kNN, else the loss. extract: the rows of a seed. fit: the plan's first metric (else
    the head's first figure) at the first label share. evaluate: the verdicts.
    """
    stage, all_of_it = record["stage"], figures(record)
    if stage == "ingest":
        return f"{sum(f.mean or 0 for f in all_of_it if f.name == 'items'):,.0f} items"
    if stage == "extract":
        rows = sum(record["details"].get("counts", {}).values())
        return f"{rows:,} rows" if rows else ""
    if stage == "evaluate":
        found = Counter(claim["verdict"] for claim in record["details"].get("claims", []))
        return ", ".join(f"{count} {verdict}" for verdict, count in sorted(found.items())) or "no claim"
    if stage == "pretrain":
        first = next((f for name in ("knn_accuracy", "loss") for f in all_of_it if f.name == name), None)
    else:
        wanted = (record["plan"].get("metrics") or [None])[0]
        first = next((f for f in all_of_it if wanted in (None, f.name)), None)
    return "" if first is None else f"{_short(first.name)} {number(first.mean)}{labels(stage, first.slice, ' at ')}"


def labels(stage: str, slice: str, before: str = "") -> str:
    """A slice in words: the label share of a task, else what the stage calls it; nothing for all."""
    if slice == "all":
        return ""
    if stage not in ("fit", "evaluate"):
        return f"{before}{slice}"
    return f"{before}{slice} labels{' a class' if slice.isdigit() else ''}"


def number(value: float | None) -> str:
    """A figure in three digits; what is 100 or more whole."""
    if value is None:
        return "not finite"
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:#.3g}" if abs(value) >= 1e-3 else f"{value:.3g}"


def _short(name: str) -> str:
    return {"knn_accuracy": "kNN", "rankme": "RankMe"}.get(name, name)
