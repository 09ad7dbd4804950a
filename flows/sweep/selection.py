"""Choosing a variant by the mean of a measure over seeds, and saying what a probe, which sees labels, would have chosen."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from flows.sweep.figures import Figure, Figures, Measure
from stages.common.plan import Plan
from stages.evaluate.direction import higher_is_better

BEST_NEAR = {"alpha_req": 1.0}  # a spectrum that decays as 1/n: Agrawal et al. 2022


@dataclass(frozen=True)
class Pick:
    """What a measure chooses. ties: others with the very same mean; unfit: those without a finite value of every seed."""

    measure: Measure
    index: int | None  # among the variants
    ties: list[int]
    unfit: list[int]


@dataclass(frozen=True)
class Choice:
    """The pick by a measure, the probe's own pick, and how far behind it the probe finds the first.

    gap: {seed: the probe's figure of its own pick less that of the measure's, the other way round where less is better}.
    """

    by: Pick
    oracle: Pick | None
    gap: dict[int, float]

    @property
    def behind(self) -> float | None:
        return statistics.fmean(self.gap.values()) if self.gap else None

    @property
    def spread(self) -> float | None:
        return statistics.stdev(self.gap.values()) if len(self.gap) > 1 else None


def pick(measure: Measure, figures: Sequence[Figure]) -> Pick:
    """The variant with the best mean; of equals the first. A variant with a seed missing or not finite cannot be chosen."""
    fit = [i for i, figure in enumerate(figures) if figure.whole]
    unfit = [i for i in range(len(figures)) if i not in fit]
    if not fit:
        return Pick(measure, None, [], unfit)
    worth = {i: _worth(measure.name, figures[i]) for i in fit}
    first, *ties = [i for i in fit if worth[i] == max(worth.values())]
    return Pick(measure, first, ties, unfit)


def choose(found: Figures, plan: Plan, by: Measure) -> Choice:
    """Chooses by a measure, without a look at any other; then asks the probe."""
    mine = pick(by, [row[by] for row in found.table])
    measure = found.oracle(plan)
    if measure is None:
        return Choice(mine, None, {})
    theirs = pick(measure, [row[measure] for row in found.table])
    if mine.index is None or theirs.index is None:
        return Choice(mine, theirs, {})
    best, got = (found.table[i][measure].values for i in (theirs.index, mine.index))
    sign = -1.0 if higher_is_better(measure.name) is False else 1.0
    gap = {s: sign * (b - g) for s, b in best.items() if b is not None and (g := got.get(s)) is not None}
    return Choice(mine, theirs, gap)


def _worth(name: str, figure: Figure) -> float:
    """The mean, turned so that more is better."""
    mean = figure.mean
    assert mean is not None
    if name in BEST_NEAR:
        return -abs(mean - BEST_NEAR[name])
    return -mean if higher_is_better(name) is False else mean
