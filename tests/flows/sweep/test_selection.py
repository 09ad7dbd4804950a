"""Figures read from records, the choice by a planted ranking, and what is printed and noted of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from flows.sweep import choices, figures, selection, table
from flows.sweep.figures import Figure, Figures, Measure
from flows.sweep.variants import Variant
from stages.common import atomic
from stages.common.errors import UserError
from stages.common.plan import Plan
from stages.common.schema import Part
from stages.common.workspace import Workspace
from tests.flows import workspace as build

KEY = "encoders.e0.objective.temperature"
RANKME = Measure(("tasks", "measures_e0"), "rankme", "all", False)
PROBE = ("tasks", "probe_e0")


def ranked(*rows: tuple[float | None, ...]) -> list[Figure]:
    return [Figure(values=dict(enumerate(values))) for values in rows]


def test_the_best_mean_is_chosen() -> None:
    found = selection.pick(RANKME, ranked((1.0, 5.0), (4.0, 4.0), (2.0, 3.0)))
    assert (found.index, found.ties, found.unfit) == (1, [], [])


def test_of_equals_the_first_is_taken_and_the_others_are_named() -> None:
    found = selection.pick(RANKME, ranked((1.0, 1.0), (2.0, 4.0), (3.0, 3.0)))
    assert (found.index, found.ties) == (1, [2])


def test_a_variant_with_a_seed_missing_or_not_finite_is_never_chosen() -> None:
    found = selection.pick(RANKME, ranked((9.0, None), (1.0, 1.0), (None, None), (2.0, 1.0)))
    assert (found.index, found.unfit) == (3, [0, 2])
    assert selection.pick(RANKME, ranked((9.0, None), (None, 1.0))).index is None
    assert selection.pick(RANKME, [Figure(values={})]).index is None


@pytest.mark.parametrize(("name", "index"), [("rmse", 1), ("rankme", 2), ("alpha_req", 0)])
def test_less_is_better_or_near_one_is_best_where_the_measure_says_so(name: str, index: int) -> None:
    measure = dataclasses.replace(RANKME, name=name)
    assert selection.pick(measure, ranked((1.1, 1.1), (0.5, 0.5), (1.6, 1.4))).index == index


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Plan, list[Variant]]:
    """Three temperatures: RankMe falls with them, the probe's accuracy is best at the last."""
    workspace, plan = Workspace(tmp_path_factory.mktemp("made")), build.make_plan()
    tasks, measures = {}, dataclasses.replace(plan.tasks["probe_e0"], head=Part("measures", {"names": ["rankme"]}), metrics=[])
    names = ["", "__b", "__c"]
    for tail in names:
        mark: dict[str, Any] = {"variant_of": "x", "varied": [KEY]} if tail else {}
        tasks[f"probe_e0{tail}"] = dataclasses.replace(plan.tasks["probe_e0"], **mark)
        tasks[f"measures_e0{tail}"] = dataclasses.replace(measures, label=None, labels=["all"], **mark)
    plan = dataclasses.replace(plan, tasks=tasks, features={"e0": plan.features["e0"]})
    build.node(workspace, "ingest", "digits", plan.corpora["digits"], workspace.corpus("digits"), {})
    build.pretrain(workspace, plan, "e0")
    inputs = {"encoder": workspace.encoder("e0"), "corpus": workspace.corpus("digits")}
    build.node(workspace, "extract", "e0", plan.features["e0"], workspace.features("e0"), inputs)
    for i, tail in enumerate(names):
        build.fit(workspace, plan, f"probe_e0{tail}", tasks[f"probe_e0{tail}"], 0.6 + 0.1 * i)
        record = build.started("fit", f"measures_e0{tail}", tasks[f"measures_e0{tail}"])
        for seed in (0, 1):
            record.metric("rankme", 30.0 - i + seed, seed=seed)
            if (i, seed) != (2, 1):
                record.metric("uniformity", float("nan") if i == 1 else -1.0, seed=seed)
        build.finish(workspace, record, workspace.task("quick", f"measures_e0{tail}"), {}, {"a.json": 1})
    variants = [
        Variant(f"e0{tail}", {KEY: t}, {("encoders", "e0"): "e0", PROBE: f"probe_e0{tail}", RANKME.node: f"measures_e0{tail}"})
        for t, tail in zip((0.1, 0.2, 0.5), names)
    ]
    return workspace, plan, variants


@pytest.fixture
def found(made: tuple[Workspace, Plan, list[Variant]]) -> Figures:
    return figures.read_all(*made)


def test_rankme_chooses_without_labels_and_the_probe_says_what_that_cost(found: Figures, made: Any) -> None:
    choice = selection.choose(found, made[1], found.named("rankme"))
    assert (choice.by.index, choice.by.measure) == (0, RANKME) and choice.oracle is not None
    assert (choice.oracle.index, choice.oracle.measure.title) == (2, "accuracy at 10%")
    assert choice.behind == pytest.approx(0.2) and choice.spread == pytest.approx(0.0, abs=1e-9)
    assert table.words(found, choice) == [
        "* chosen by rankme (measures_e0; no label seen): e0, 30.5 ± 0.7",
        "+ accuracy at 10% (probe_e0; which sees labels) would have chosen e0__c, 0.705 ± 0.007",
        "  there the chosen one reaches 0.505 ± 0.007, 0.200 ± 0.000 behind over 2 seeds",
    ]


def test_a_choice_by_a_metric_says_that_it_sees_labels(found: Figures, made: Any) -> None:
    choice = selection.choose(found, made[1], found.named("accuracy"))
    assert choice.by.measure == Measure(PROBE, "accuracy", "10%", True) and choice.by.index == 2
    first, second = table.words(found, choice)
    assert "which sees labels" in first and "would have chosen the same: e0__c" in second


def test_figures_that_are_not_finite_or_missing_are_shown_and_not_eligible(found: Figures, made: Any) -> None:
    choice = selection.choose(found, made[1], found.named("uniformity"))
    assert (choice.by.index, choice.by.unfit) == (0, [1, 2])
    assert [table.cell(row[choice.by.measure]) for row in found.table] == ["-1.000 ± 0.000", "none", "-1.000 (1 of 2 seeds)"]
    assert table.words(found, choice)[1] == "  not eligible, a seed is missing or not finite: e0__b, e0__c"


def test_a_measure_that_there_is_none_of_names_the_nearest(found: Figures) -> None:
    with pytest.raises(UserError, match="did you mean 'rankme'"):
        found.named("rankmi")


def test_a_stage_that_failed_or_a_record_of_another_plan_gives_no_figure(made: tuple[Workspace, Plan, list[Variant]]) -> None:
    workspace, plan, variants = made
    failed = figures.read_all(workspace, plan, variants, {"fit@measures_e0"})
    assert [row[RANKME].whole for row in failed.table] == [False, True, True]
    assert selection.choose(failed, plan, failed.named("rankme")).by.index == 1
    other = {**plan.tasks, "measures_e0": dataclasses.replace(plan.tasks["measures_e0"], threads=2)}
    stale = figures.read_all(workspace, dataclasses.replace(plan, tasks=other), variants)
    assert [row[RANKME].whole for row in stale.table] == [False, True, True]


def test_the_table_is_plain_columns_where_nobody_looks_on(
    found: Figures, made: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    choice = selection.choose(found, made[1], found.named("rankme"))
    table.show(found, choice, found.oracle(made[1]))
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].split() == ["variant", "temperature", "rankme", "uniformity", "accuracy", "at", "10%", "(labels)"]
    assert lines[1].split() == ["*", "e0", "0.1", "30.5", "±", "0.7", "-1.000", "±", "0.000", "0.505", "±", "0.007"]
    assert lines[3].startswith("+  e0__c") and "│" not in out and "\x1b" not in out


def test_a_choice_is_noted_with_its_records_and_a_repetition_changes_nothing(found: Figures, made: Any, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    choice = selection.choose(found, made[1], found.named("rankme"))
    assert choices.write(workspace, "sweep", ["axis"], ["quick"], found, choice)
    assert not choices.write(workspace, "sweep", ["axis"], ["quick"], found, choice)
    noted = json.loads(choices.path(workspace, "sweep").read_text())
    assert (noted["chosen"], noted["values"], noted["oracle"]["chosen"]) == ("e0", {KEY: 0.1}, "e0__c")
    assert set(choices.selected(workspace)) == {r.identity for r in found.records[0].values()} and len(noted["records"]) == 3
    other = selection.choose(found, made[1], found.named("accuracy"))
    assert choices.write(workspace, "sweep", ["axis"], ["quick"], found, other)
    atomic.write_text(choices.path(workspace, "broken"), "{")
    assert set(choices.selected(workspace).values()) == {"sweep: accuracy at 10%"}
