"""The linear probe over seeds and label shares: the same rows are solved once, others anew, with the same outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.common import tasks
from stages.fit.core import softmax
from stages.fit.core.head import Problem
from stages.fit.heads.linear_probe import LinearProbe
from tests.fit import workspace as w
from tests.fit.test_heads import problem


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each solve, in turn."""
    rows: list[int] = []
    solve = softmax.solve

    def counting(z: torch.Tensor, *args: object, **named: object) -> softmax.Fit:
        rows.append(len(z))
        return solve(z, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(softmax, "solve", counting)
    return rows


def test_seeds_of_one_encoder_share_the_solve_of_all_labels_but_not_of_few(tmp_path: Path, solved: list[int]) -> None:
    made = w.workspace(tmp_path, seeds=(0,))
    out = w.run(made, w.node(seeds=[0, 1, 2], labels=["all", "2"]))
    assert solved == [72, 6, 6, 6]
    result, first = tasks.read_result(out), tasks.read_predictions(out, 0, "all")
    for seed in (1, 2):
        again = tasks.read_predictions(out, seed, "all")
        assert again.score is not None and first.score is not None
        np.testing.assert_array_equal(again.score, first.score)
        few = [tasks.read_predictions(out, s, "2").score for s in (0, seed)]
        assert few[0] is not None and few[1] is not None and not np.array_equal(few[0], few[1])
    assert len(result.details["fits"]) == 6


def test_seeds_of_their_own_encoders_are_solved_each(tmp_path: Path, solved: list[int]) -> None:
    w.run(w.workspace(tmp_path), w.node(seeds=[0, 1], labels=["all"]))
    assert solved == [72, 72]


def test_whatever_a_fit_reads_makes_it_another(solved: list[int]) -> None:
    given, head = problem(), LinearProbe()
    one = head.fit(given)
    assert head.fit(given) is one and len(solved) == 1
    for split in ("train", "valid", "test"):
        rows = getattr(given, split)
        x = rows.x.clone()
        x[0, 0] += 1
        changed = [type(rows)(rows.ids, rows.index, x, rows.target)]
        if split != "test":  # whose labels are not read
            changed.append(type(rows)(rows.ids, rows.index, rows.x, rows.target.roll(1)))
        for other in changed:
            parts = {"train": given.train, "valid": given.valid, "test": given.test, split: other}
            assert head.fit(Problem(1, "all", **parts, classes=given.classes)) is not one
    assert len(solved) == 1 + 5
