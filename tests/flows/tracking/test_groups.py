"""Seeds and variants as groups in a real database: parameters to compare by, tags to group by, the choice; exactly once."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from flows.sweep import choices
from flows.tracking import recorded, view
from flows.tracking.groups import SELECTED, Groups
from flows.tracking.sync import replay
from stages.common import atomic
from stages.common.plan import Plan
from stages.common.schema import Part
from stages.common.workspace import Workspace
from tests.flows import tracking_db
from tests.flows import workspace as build

KEY, SHOWN = "encoders.e0.objective.temperature", "sweep.objective.temperature"
TAIL = "__temperature_0_1"


def base() -> Plan:
    plan = build.make_plan()
    encoders = {
        n: dataclasses.replace(e, objective=Part(e.objective.name, {"temperature": 0.5})) for n, e in plan.encoders.items()
    }
    return dataclasses.replace(plan, encoders=encoders)


def with_variant(plan: Plan, tail: str = TAIL, temperature: float = 0.1) -> Plan:
    mark: dict[str, Any] = {"varied": [KEY]}
    encoder = dataclasses.replace(
        plan.encoders["e0"], objective=Part("simclr", {"temperature": temperature}), variant_of="e0", **mark
    )
    features = dataclasses.replace(plan.features["e0"], encoder=f"e0{tail}", variant_of="e0", **mark)
    links = {"features": f"e0{tail}", "support": f"features/e0{tail}"}
    task = dataclasses.replace(plan.tasks["probe_e0"], **links, variant_of="probe_e0", **mark)
    return dataclasses.replace(
        plan,
        encoders=plan.encoders | {f"e0{tail}": encoder},
        features=plan.features | {f"e0{tail}": features},
        tasks=plan.tasks | {f"probe_e0{tail}": task},
    )


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Plan]:
    """The base was shown before it was swept."""
    workspace, plan = Workspace(tmp_path_factory.mktemp("swept")), base()
    build.populate(workspace, plan)
    assert replay(workspace, plan).problems == []
    before = tracking_db.by_name(workspace, plan)["fit/probe_e0 seed 0"]
    assert SHOWN not in before.data.params and before.data.tags[view.GROUP] == "fit/probe_e0"
    whole = with_variant(plan)
    build.populate(workspace, whole)
    assert replay(workspace, whole).problems == []
    return workspace, whole


def dump(workspace: Workspace) -> list[str]:
    with sqlite3.connect(workspace.root / "mlflow.db") as database:
        return list(database.iterdump())


def identities(workspace: Workspace, *keys: str) -> list[str]:
    return [r.identity for r in recorded.read_all(workspace)[0] if r.key in keys]


def choose(workspace: Workspace, *keys: str, name: str = "temperature") -> None:
    file = choices.path(workspace, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(file, {"name": name, "by": {"measure": "rankme"}, "records": identities(workspace, *keys)})


def marked(workspace: Workspace, plan: Plan) -> dict[str, str]:
    return {name: r.data.tags[SELECTED] for name, r in tracking_db.by_name(workspace, plan).items() if SELECTED in r.data.tags}


def content(workspace: Workspace, plan: Plan) -> dict[str, Any]:
    """Everything but clocks, which the fixture's second writing of the base's records changed."""

    def of(run: Any) -> tuple[Any, ...]:
        metrics = {k: v for k, v in run.data.metrics.items() if not k.startswith("system/")}
        return run.data.params, metrics, run.data.tags.get(SELECTED), run.data.tags[view.GROUP]

    return {name: of(run) for name, run in tracking_db.by_name(workspace, plan).items()}


def test_swept_values_and_figures_are_in_the_same_runs_of_variants_and_of_their_base(swept: tuple[Workspace, Plan]) -> None:
    found = tracking_db.by_name(*swept)
    for stage, key in (("pretrain", "e0"), ("fit", "probe_e0")):
        for seed in (0, 1):
            assert found[f"{stage}/{key} seed {seed}"].data.params[SHOWN] == "0.5"
            assert found[f"{stage}/{key}{TAIL} seed {seed}"].data.params[SHOWN] == "0.1"
    for key in ("probe_e0", f"probe_e0{TAIL}"):
        assert [found[f"fit/{key} seed {s}"].data.metrics["encoder/knn"] for s in (0, 1)] == [0.5, 0.51]
        assert "accuracy/10pct" in found[f"fit/{key} seed 0"].data.metrics
    others = [r for name, r in found.items() if "random" in name or name.startswith(("ingest", "extract", "evaluate"))]
    assert others and all(SHOWN not in r.data.params and "encoder/knn" not in r.data.metrics for r in others)


def test_every_run_has_its_group_and_variants_name_their_base(swept: tuple[Workspace, Plan]) -> None:
    found = tracking_db.by_name(*swept)
    groups: dict[str, set[str]] = {}
    for name, run in found.items():
        groups.setdefault(run.data.tags[view.GROUP], set()).add(name.split(" ")[0])
        assert ("prelude.variant_of" in run.data.tags) == (TAIL in name)
        assert not {"variant_of", "varied"} & run.data.params.keys()
    assert groups["fit/probe_e0"] == {"fit/probe_e0", f"fit/probe_e0{TAIL}"}
    assert groups["pretrain/random"] == {"pretrain/random"} and groups["ingest/digits"] == {"ingest/digits"}


def test_a_further_synchronisation_writes_nothing(swept: tuple[Workspace, Plan]) -> None:
    before = dump(swept[0])
    assert replay(*swept).logged == [] and dump(swept[0]) == before


def test_a_choice_marks_its_runs_and_moves_with_the_choice(swept: tuple[Workspace, Plan]) -> None:
    workspace, plan = swept
    choose(workspace, f"e0{TAIL}", f"probe_e0{TAIL}")
    assert replay(workspace, plan).problems == []
    chosen = {f"{s}/{k}{TAIL} seed {i}" for s, k in (("pretrain", "e0"), ("fit", "probe_e0")) for i in (0, 1)}
    assert set(marked(workspace, plan)) == {*chosen, f"extract/e0{TAIL}"}
    assert set(marked(workspace, plan).values()) == {"temperature: rankme"}
    before = dump(workspace)
    assert replay(workspace, plan).logged == [] and dump(workspace) == before
    choose(workspace, "probe_e0")
    choose(workspace, "probe_e0", name="again")
    replay(workspace, plan)
    assert marked(workspace, plan) == {f"fit/probe_e0 seed {i}": "again: rankme, temperature: rankme" for i in (0, 1)}
    (choices.path(workspace, "again")).write_text("{")
    replay(workspace, plan)
    assert set(marked(workspace, plan).values()) == {"temperature: rankme"}


def test_an_emptied_database_is_filled_with_all_of_it_and_a_deleted_run_stays_deleted(swept: tuple[Workspace, Plan]) -> None:
    workspace, plan = swept
    choose(workspace, "probe_e0")
    replay(workspace, plan)
    before = content(*swept)
    with sqlite3.connect(workspace.root / "mlflow.db") as database:
        for table in ("latest_metrics", "metrics", "params", "tags", "input_tags", "inputs", "datasets", "runs"):
            database.execute(f"delete from {table}")
    assert replay(workspace, plan).problems == []
    assert content(*swept) == before
    client, gone = tracking_db.client(*swept), tracking_db.by_name(*swept)["fit/probe_e0 seed 0"].info.run_id
    choose(workspace, f"e0{TAIL}")
    replay(workspace, plan)
    client.delete_run(gone)
    choose(workspace, "probe_e0")  # a mark for the deleted run, which takes none
    done = replay(workspace, plan)
    assert (done.problems, done.logged) == ([], []) and client.get_run(gone).info.lifecycle_stage == "deleted"


def record(stage: str, key: str, plan: dict[str, Any], reads: str = "", makes: str = "") -> recorded.Recorded:
    inputs = [{"name": "i", "path": reads, "digest": "d"}] if reads else []
    data = {"stage": stage, "key": key, "plan": plan, "digest": f"{stage}/{key}", "inputs": inputs, "metrics": []}
    return recorded.Recorded(Path(), data | {"outputs": [{"path": makes, "digest": makes}]})


def test_a_key_of_another_section_or_of_two_encoders_is_shown_whole() -> None:
    lr = ["encoders.a.optim.lr", "encoders.b.optim.lr"]
    a = record("pretrain", "a__x", {"optim": {"lr": 1.0}, "variant_of": "a", "varied": lr[:1]}, makes="a")
    b = record("pretrain", "b__x", {"optim": {"lr": 2.0}, "variant_of": "b", "varied": lr}, "a", "b")
    head = {"head": {"l2": [1, 2]}, "variant_of": "t", "varied": [*lr, "tasks.t.head.l2"]}
    groups = Groups([a, b, t := record("fit", "t__x", head, "b", "t")])
    assert groups.params(a) == {"sweep.optim.lr": "1.0"}
    assert groups.params(b) == {f"sweep.{lr[0]}": "1.0", f"sweep.{lr[1]}": "2.0"}
    assert groups.params(t) == groups.params(b) | {"sweep.tasks.t.head.l2": "[1, 2]"}


def test_a_part_is_named_and_a_default_that_no_record_holds_is_left_out() -> None:
    key = "encoders.a.objective"
    one = record("pretrain", "a__x", {"objective": {"name": "vicreg"}, "variant_of": "a", "varied": [key, f"{key}.hidden"]})
    assert Groups([one]).params(one) == {"sweep.objective": "vicreg"}
