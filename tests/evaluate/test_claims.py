"""Verdicts: closed forms, coverage, symmetry, margins, and every case that must stay open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.common.claim import ChoicePlan, ClaimPlan, CorrelationPlan
from stages.common.errors import UserError
from stages.evaluate import claims
from stages.evaluate.judged import Judged
from tests.evaluate.builders import judged, measured, predictions, stand_ins, task_plan, write_task


@pytest.fixture(autouse=True)
def _metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(monkeypatch)


def order(*names: str, margin: float = 0.0, metric: str = "accuracy") -> ClaimPlan:
    return ClaimPlan("a says", metric, order=list(names), margin=margin)


def ranking(x: int, above: float = 0.0, y_metric: str = "accuracy") -> CorrelationPlan:
    return CorrelationPlan([f"m{i}" for i in range(x)], "rankme", [f"p{i}" for i in range(x)], y_metric, above=above)


def test_the_interval_of_three_seeds_is_students() -> None:
    found = claims.student(np.array([0.01, 0.02, 0.03]), 0.0)
    reach = 4.302652729911275 * 0.01 / 3**0.5  # t(0.975, 2) from tables
    assert (found.estimate, found.low, found.high) == pytest.approx((0.02, 0.02 - reach, 0.02 + reach), rel=1e-9)
    assert found.verdict == "open"
    assert claims.student(np.array([0.019, 0.02, 0.021]), 0.0).verdict == "holds"


def test_the_interval_over_seeds_covers_the_true_difference_about_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    for n in (3, 5):
        found = [claims.student(rng.normal(0.3, 0.1, n), 0.0) for _ in range(2000)]
        assert 0.935 <= np.mean([f.low <= 0.3 <= f.high for f in found if f.low is not None and f.high is not None]) <= 0.965


def test_no_difference_is_called_one_about_5_times_in_100() -> None:
    rng = np.random.default_rng(2)
    called = [claims.student(rng.normal(0, 1, 3), 0.0).verdict for _ in range(2000)]
    assert called.count("open") / 2000 == pytest.approx(0.95, abs=0.015)
    assert called.count("holds") / 2000 == pytest.approx(0.025, abs=0.012)


def test_a_pair_is_judged_by_the_differences_of_its_seeds(tmp_path: Path) -> None:
    # Seeds vary by 20 points together, the difference by 1: only pairing sees it.
    a, b = judged(tmp_path, "a", [0.60, 0.70, 0.805]), judged(tmp_path, "b", [0.55, 0.655, 0.75])
    found = claims.compare(a, b, "accuracy", "all", 0.0)
    assert (found.by, found.n, found.verdict) == ("seeds", 3, "holds")
    assert found.estimate == pytest.approx((0.05 + 0.045 + 0.055) / 3)


def test_seeds_are_paired_by_number_not_by_place(tmp_path: Path) -> None:
    a = judged(tmp_path, "a", [0.60, 0.70, 0.80], seeds=[3, 1, 2])
    b = judged(tmp_path, "b", [0.69, 0.785, 0.595], seeds=[1, 2, 3])
    found = claims.compare(a, b, "accuracy", "all", 0.0)
    assert found.estimate == pytest.approx((0.005 + 0.01 + 0.015) / 3)


def test_swapping_a_pair_mirrors_its_interval_and_verdict(tmp_path: Path) -> None:
    a, b = judged(tmp_path, "a", [0.60, 0.70, 0.81]), judged(tmp_path, "b", [0.55, 0.65, 0.75])
    c, d = judged(tmp_path, "c", [0.70]), judged(tmp_path, "d", [0.50])
    for first, second in ((a, b), (c, d)):
        one = claims.compare(first, second, "accuracy", "all", 0.0)
        other = claims.compare(second, first, "accuracy", "all", 0.0)
        assert (one.verdict, other.verdict) == ("holds", "contradicted")
        assert (other.low, other.high) == pytest.approx((-(one.high or 0), -(one.low or 0)))


def test_a_margin_is_part_of_the_claim(tmp_path: Path) -> None:
    a, b = judged(tmp_path, "a", [0.60, 0.70, 0.80]), judged(tmp_path, "b", [0.495, 0.60, 0.705])
    verdicts = [claims.compare(a, b, "accuracy", "all", m).verdict for m in (0.0, 0.08, 0.1, 0.12)]
    assert verdicts == ["holds", "holds", "open", "contradicted"]


def test_where_less_is_better_the_difference_is_turned(tmp_path: Path) -> None:
    a, b = (
        judged(tmp_path, "a", [0.9, 0.91, 0.93], metrics=("rmse",)),
        judged(tmp_path, "b", [0.6, 0.62, 0.6], metrics=("rmse",)),
    )
    found = claims.compare(a, b, "rmse", "all", 0.0)
    assert found.verdict == "holds" and (found.estimate or 0) > 0
    c, d = judged(tmp_path, "c", [0.9], metrics=("rmse",)), judged(tmp_path, "d", [0.6], metrics=("rmse",))
    alone = claims.compare(c, d, "rmse", "all", 0.0)
    assert (alone.by, alone.verdict) == ("items", "holds") and (alone.estimate or 0) > 0


def test_seeds_without_spread_are_judged_over_test_items(tmp_path: Path) -> None:
    a, b = judged(tmp_path, "a", [0.72] * 3), judged(tmp_path, "b", [0.70] * 3)
    found = claims.compare(a, b, "accuracy", "all", 0.0)
    assert (found.by, found.n, found.note) == ("items", 200, "no spread over seeds")
    assert found.verdict == "holds"  # 4 of 200 items more, never one less
    same = claims.compare(a, judged(tmp_path, "same", [0.72] * 3), "accuracy", "all", 0.0)
    assert (same.low, same.high, same.verdict) == (0, 0, "open")


def test_without_spread_or_predictions_equal_seeds_decide_exactly(tmp_path: Path) -> None:
    a, b = measured(tmp_path, "a", [0.9] * 3), measured(tmp_path, "b", [0.8] * 3)
    verdicts = [claims.compare(a, b, "rankme", "all", m).verdict for m in (0.05, 0.1, 0.15)]
    assert verdicts == ["holds", "open", "contradicted"]


def test_few_seeds_are_judged_over_the_same_drawn_items(tmp_path: Path) -> None:
    a, b = judged(tmp_path, "a", [0.80, 0.81]), judged(tmp_path, "b", [0.70, 0.69])
    found = claims.compare(a, b, "accuracy", "all", 0.0)
    assert (found.by, found.n, found.note, found.verdict) == ("items", 200, "2 seed(s)", "holds")
    assert found.estimate == pytest.approx(0.11)
    # The share d of items that only `a` gets right, drawn alike: sd of d is sqrt(d (1 - d) / n).
    single = claims.compare(judged(tmp_path, "c", [0.9], n=400), judged(tmp_path, "d", [0.8], n=400), "accuracy", "all", 0.0)
    assert ((single.high or 0) - (single.low or 0)) / 3.92 == pytest.approx((0.1 * 0.9 / 400) ** 0.5, rel=0.1)


def test_few_seeds_on_other_items_or_without_items_stay_open(tmp_path: Path) -> None:
    a, b = judged(tmp_path, "a", [0.9]), judged(tmp_path, "b", [0.2], n=190)
    found = claims.compare(a, b, "accuracy", "all", 0.0)
    assert (found.by, found.verdict) == ("nothing", "open") and "same test items" in found.note
    bare = claims.compare(
        measured(tmp_path, "e", [0.9], "accuracy"), measured(tmp_path, "f", [0.8], "accuracy"), "accuracy", "all", 0
    )
    assert (bare.by, bare.verdict) == ("nothing", "open")
    lone = claims.compare(measured(tmp_path, "c", [30.0]), measured(tmp_path, "d", [3.0]), "rankme", "all", 0.0)
    assert (lone.verdict, lone.estimate) == ("open", 27.0)


def test_a_seed_that_failed_leaves_the_pair_open(tmp_path: Path) -> None:
    a, b = measured(tmp_path, "a", [3.0, 3.1, 3.2, None]), measured(tmp_path, "b", [1.0, 1.1, 1.3, 1.0])
    found = claims.compare(a, b, "rankme", "all", 0.0)
    assert (found.verdict, found.note) == ("open", "rankme is not finite for seed 3")


def test_a_claim_holds_if_every_pair_does_and_falls_with_any(tmp_path: Path) -> None:
    best, good = judged(tmp_path, "best", [0.9, 0.91, 0.905]), judged(tmp_path, "good", [0.7, 0.715, 0.7])
    poor, wide = judged(tmp_path, "poor", [0.4, 0.405, 0.42]), judged(tmp_path, "wide", [0.1, 0.9, 0.5])
    all_of = {t.key: t for t in (best, good, poor, wide)}
    assert claims.judge("x", order("best", "good", "poor"), all_of).verdict == "holds"
    assert claims.judge("x", order("best", "wide"), all_of).verdict == "open"
    found = claims.judge("x", order("poor", "best", "wide"), all_of)
    assert found.verdict == "contradicted" and [p.difference.verdict for p in found.pairs] == ["contradicted", "open"]
    assert found.seeds == 3 and found.values["poor"]["accuracy"]["seeds"] == {"0": 0.4, "1": 0.405, "2": 0.42}
    assert [claims.combined(v) for v in (["holds", "open"], ["open", "contradicted"])] == ["open", "contradicted"]


def test_what_is_missing_is_named_with_what_there_is(tmp_path: Path) -> None:
    a, b = judged(tmp_path, "a", [0.9]), judged(tmp_path, "b", [0.8], seeds=[7])
    both = {"a": a, "b": b}
    with pytest.raises(UserError, match=r"no metric 'auroc' at label share 'all'[\s\S]*accuracy at 'all'"):
        claims.judge("x", order("a", "b", metric="auroc"), both)
    with pytest.raises(UserError, match=r"'accuracy' at label share '10%'"):
        claims.judge("x", ClaimPlan("s", "accuracy", "10%", ["a", "b"]), both)
    with pytest.raises(UserError, match=r"no seed in common: \[0\] and \[7\]"):
        claims.judge("x", order("a", "b"), both)
    with pytest.raises(UserError, match=r"names task 'c'[\s\S]*a, b"):
        claims.judge("x", order("a", "c"), both)


def test_spearman_is_the_textbooks_for_ranks_and_ties() -> None:
    assert claims.spearman([1, 2, 3, 4], [10, 20, 30, 25]) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert claims.spearman([1, 2, 3], [3, 2, 1]) == -1
    assert claims.spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(3**0.5 / 2)
    assert np.isnan(claims.spearman([1, 1, 1], [1, 2, 3]))


def test_a_correlation_is_judged_over_seeds_across_tasks(tmp_path: Path) -> None:
    tasks: dict[str, Judged] = {}
    for i in range(4):
        tasks[f"m{i}"] = measured(tmp_path, f"m{i}", [10.0 * i + s for s in range(3)])
        tasks[f"p{i}"] = measured(tmp_path, f"p{i}", [0.1 * i, 0.1 * i, 0.1 * (i ^ 1)], "accuracy")
    found = claims.judge("x", ClaimPlan("s", correlation=ranking(4)), tasks)
    rho = np.array([1.0, 1.0, 1 - 6 * 4 / 60])
    reach = 4.302652729911275 * rho.std(ddof=1) / 3**0.5
    assert found.correlation and found.correlation.estimate == pytest.approx(rho.mean())
    assert found.correlation.low == pytest.approx(rho.mean() - reach) and found.correlation.high == 1
    assert (found.verdict, found.correlation.by, found.seeds) == ("holds", "seeds", 3)
    assert found.values["m3"]["rankme"]["mean"] == 31
    assert claims.judge("x", ClaimPlan("s", correlation=ranking(4, above=0.9)), tasks).verdict == "open"


def test_a_correlation_with_an_error_rate_is_turned_to_good_goes_with_good() -> None:
    x = np.arange(4.0)[:, None] + np.zeros((4, 3))
    assert claims.correlate(ranking(4, y_metric="rmse"), x, -x).verdict == "holds"
    assert claims.correlate(ranking(4, y_metric="rmse"), x, x).verdict == "contradicted"


def test_a_correlation_over_few_seeds_draws_encoders_or_stays_open() -> None:
    line = np.arange(8.0)[:, None]
    many = claims.correlate(ranking(8), line, line)
    assert (many.by, many.n, many.verdict) == ("tasks", 8, "holds")
    few = claims.correlate(ranking(4), line[:4], line[:4])
    assert (few.by, few.verdict, few.estimate) == ("nothing", "open", 1.0) and "too few" in few.note
    assert claims.correlate(ranking(2), line[:2] * [1, 1, 1], line[:2] * [1, 1, 1]).verdict == "open"
    assert claims.correlate(ranking(8), line * [1, 1, 1], line * [0, 0, 0]).note == "all encoders have the same figure"
    assert claims.correlate(ranking(8), line * [1, 1, np.nan], line * [1, 1, 1]).note == "a figure is not finite"


def test_a_pair_at_one_label_share_does_not_look_at_another(tmp_path: Path) -> None:
    def task(key: str, rate: float) -> Judged:
        found = [predictions(np.arange(100) < 100 * r, 0, slice) for slice, r in (("5", rate), ("all", 1 - rate))]
        return Judged(key, task_plan(), write_task(tmp_path / "demo" / key, found))

    a, b = task("a", 0.9), task("b", 0.5)
    assert claims.compare(a, b, "accuracy", "5", 0.0).verdict == "holds"
    assert claims.compare(a, b, "accuracy", "all", 0.0).verdict == "contradicted"


def chosen(tmp_path: Path, margin: float = 0.0, **settings: object) -> claims.ClaimResult:
    """Three tasks right on 60, 70 and 80 of 100 items, with a RankMe that likes the second best and a loss the first."""
    found = {
        **{f"p{i}": judged(tmp_path, f"p{i}", [rate, rate + 0.01, rate], n=100) for i, rate in enumerate((0.6, 0.7, 0.8))},
        **{f"m{i}": measured(tmp_path, f"m{i}", [v, v, v]) for i, v in enumerate((1.0, 3.0, 2.0))},
        **{f"l{i}": measured(tmp_path, f"l{i}", [v, v, v], "loss") for i, v in enumerate((0.1, 0.2, 0.3))},
    }
    plan = ChoicePlan(among=["p0", "p1", "p2"], by=["m0", "m1", "m2"], by_metric="rankme", **settings)  # type: ignore[arg-type]
    return claims.judge("c", ClaimPlan("says", metric="accuracy", margin=margin, choice=plan), found)


def test_a_choice_is_set_against_the_best_by_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(monkeypatch)
    result = chosen(tmp_path, margin=-0.02)
    (pair,) = result.pairs
    assert (pair.better, pair.worse) == ("chosen by rankme", "best by its labels")
    assert pair.difference.estimate == pytest.approx(-0.1) and result.verdict == "contradicted"
    assert result.values["chosen by rankme"]["accuracy"]["mean"] == pytest.approx(0.7 + 0.01 / 3)


def test_a_choice_is_set_against_another_choice_that_wants_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(monkeypatch)
    monkeypatch.setattr("stages.evaluate.claims.orientation", lambda name: -1.0 if name == "loss" else 1.0)
    result = chosen(tmp_path, against="other", other=["l0", "l1", "l2"], other_metric="loss")
    assert result.pairs[0].worse == "chosen by loss" and result.pairs[0].difference.estimate == pytest.approx(0.1)
    assert result.verdict == "holds"


def test_a_figure_that_is_not_finite_is_never_chosen() -> None:
    figures = np.array([[0.1, 0.2], [0.5, 0.6]])
    assert claims.choose("rankme", np.array([[1.0, 1.0], [np.nan, 2.0]]), figures).tolist() == [0.1, 0.6]
