"""Variants as groups on the page: sweeps as tables of values against figures, variants folded under their base."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stages.common.workspace import Workspace
from stages.report import page, show
from stages.report.collect import Found, Node, collect, folders
from stages.report.lineage import Lineage
from stages.report.sweeps import Sweep, sweeps
from tests.report.test_page import Reader, read
from tests.report.workspace import KEY, the_plan, with_sweep, write, write_report

LR = "encoders.a.optim.lr"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return write(tmp_path_factory.mktemp("swept"), with_sweep(the_plan()))


@pytest.fixture(scope="module")
def swept_page(swept: Workspace) -> Path:
    return write_report(swept)


def of(found: Found) -> list[Sweep]:
    return sweeps(found, Lineage(found.nodes))


def test_a_sweeps_points_stand_in_order_with_their_figures(swept: Workspace) -> None:
    (sweep,) = of(collect(folders(swept)))
    assert (sweep.title, sweep.keys) == ("simclr", {KEY: "temperature"})
    assert [(row.values, row.base) for row in sweep.rows] == [
        (["0.05"], False),
        (["0.1"], False),
        (["0.5"], True),
        (["1.0"], False),
    ]
    assert [(c.task, c.metric, c.slice, c.free) for c in sweep.columns] == [
        ("measures_simclr", "rankme", "all", True),
        ("probe_simclr", "accuracy", "5", False),
    ]
    assert sweep.best == [0, 2]  # RankMe is best where the probe is not
    base = sweep.rows[2].figures
    assert all(f is not None and f["seeds"] == 3 for f in base) and 35 < base[0]["mean"] < 45  # type: ignore[index]


def test_the_page_shows_the_sweep_and_folds_variants_under_their_base(swept_page: Path) -> None:
    html = read(swept_page)
    text = " ".join(Reader(html).text.split())
    assert "Sweeps Variants of one base" in text and "4 points of encoders.simclr.objective.temperature" in text
    assert "3 0.5 base 39.8 ± 1.2 0.857 ± 0.036" in text
    key = "pretrain/simclr__temperature_0_05"
    row = re.search(rf'<tr id="node-{key}"\s+data-row="{key}" data-of="pretrain/simclr"\s*>', html)
    assert row
    order = [html.index(f'<tr id="node-pretrain/{key}"') for key in ("simclr", "simclr__temperature_1_0", "student")]
    assert order == sorted(order)
    assert html.count("data-of=") == 3 * 4 + 3 * 6 + 3 and "3 variants" in html


def test_a_page_without_variants_says_nothing_of_them(page_folder: Path) -> None:
    html = read(page_folder)
    assert 'id="sweeps"' not in html and "#sweeps" not in html and "data-of=" not in html


def node(stage: str, key: str, reads: str = "", **plan: Any) -> Node:
    inputs = [{"path": reads, "digest": "d"}] if reads else []
    return Node(stage, key, {"plan": plan, "inputs": inputs, "outputs": [{"path": f"{stage}/{key}", "digest": "d"}]})


def encoder(key: str, lr: float | None, **mark: Any) -> Node:
    return node("pretrain", key, optim={} if lr is None else {"lr": lr}, **mark)


def task(key: str, reads: str, **mark: Any) -> Node:
    return node("fit", key, f"pretrain/{reads}", **({"metrics": ["rmse"], "head": {"name": "ridge"}, "label": "y"} | mark))


def result(**means: float | None) -> dict[str, Any]:
    plain = {"metric": "rmse", "slice": "all", "std": None, "items": 0, "low": None, "high": None}
    rows = [plain | {"task": t, "mean": m, "seeds": {"0": m}} for t, m in means.items()]
    return {"rows": rows, "metrics": {"rmse": {"higher_is_better": False}}, "tasks": {}}


def found(default: float | None = 0.1, **means: float | None) -> Found:
    mark = {"varied": [LR]}
    nodes = [encoder("a", default), encoder("a__lr_1", 1.0, variant_of="a", **mark)]
    nodes += [task("t", "a"), task("t__lr_1", "a__lr_1", variant_of="t", **mark), task("other", "a")]
    return Found({"s": result(other=0.5, **(means or {"t": 3.0, "t__lr_1": 2.0}))}, {"s": {}}, nodes)


def test_less_is_better_where_the_metric_says_so_and_tasks_without_variants_are_left_out() -> None:
    (sweep,) = of(found())
    assert sweep.best == [1] and [c.task for c in sweep.columns] == ["t"]


def test_a_default_that_no_record_holds_and_a_figure_that_is_missing_are_said_so() -> None:
    (sweep,) = of(found(None, t=3.0, t__lr_1=None))
    assert [(row.values, row.figures[0] is None) for row in sweep.rows] == [(["1.0"], True), (["default"], False)]
    assert sweep.best == [None]
    html = page.render(found(None, t=3.0, t__lr_1=None))
    assert "1 1.0 – 2 default base 3.000" in " ".join(Reader(html).text.split())


def test_keys_varied_together_are_one_sweep_and_others_another() -> None:
    more = ["encoders.a.optim.lr", "tasks.t.head.l2"]
    nodes = [*found().nodes, task("t__both", "a__lr_1", variant_of="t", varied=more, head={"name": "ridge", "l2": 2})]
    nodes += [task("u", "a"), task("u__l2", "a", variant_of="u", varied=["tasks.u.head.l2"], head={"name": "ridge", "l2": 2})]
    every = Found({"s": result(t=3.0, t__lr_1=2.0, t__both=1.0, u=1.0, u__l2=2.0)}, {"s": {}}, nodes)
    assert [list(s.keys) for s in of(every)] == [more, ["tasks.u.head.l2"]]
    assert [[row.values for row in s.rows] for s in of(every)] == [
        [["0.1", "default"], ["1.0", "2"], ["1.0", "default"]],
        [["2"], ["default"]],
    ]


def test_a_variant_whose_base_is_not_there_stands_for_itself() -> None:
    alone = [task("t__lr_1", "a__lr_1", variant_of="t", varied=[LR])]
    html = page.render(Found({"s": result(t__lr_1=2.0)}, {"s": {}}, alone))
    assert "data-of=" not in html and '<tr id="node-fit/t__lr_1"' in html and html.count("<td>t__lr_1") == 2


def test_the_ends_of_a_long_name_are_what_tells_variants_apart() -> None:
    assert show.middle("simclr__temperature_0_05", 12) == "simc…re_0_05" and show.middle("short", 12) == "short"
