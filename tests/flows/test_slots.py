from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flows import slots
from flows.dag import Node
from flows.slots import Need, Slots, need, of_machine
from stages.common.compute import ComputePlan, NeedPlan, RanksPlan, SlotsPlan
from stages.common.plan import Plan
from stages.common.workspace import Workspace


def _node(name: str) -> Node:
    return Node(name, "", (), (), ())


def test_a_node_that_does_not_fit_waits_and_one_larger_than_the_machine_runs_alone() -> None:
    free = Slots(4, memory_gb=8.0)
    first = free.take(Need(2, 2, memory_gb=6.0))
    assert first is not None
    assert free.take(Need(1, 1, memory_gb=4.0)) is None
    assert free.take(Need(3, 3)) is None
    free.give_back(first)
    huge = free.take(Need(64, 64, gpus=2, memory_gb=100.0))
    assert huge is not None and (huge.cores, huge.gpus, huge.memory_gb) == (4, (), 8.0)
    assert free.take(Need()) is None


def test_the_plan_says_what_there_is_and_workers_override_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(compute=ComputePlan(slots=SlotsPlan(cpu=6, gpu=2, memory_gb=10.0)))
    assert of_machine(plan) == Slots(6, [0, 1], 10.0)
    assert of_machine(plan, workers=3).cores == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    assert len(of_machine(Plan()).gpus) == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert of_machine(Plan()).gpus == []


def test_a_need_follows_the_stages_kind_its_threads_and_seeds(tmp_path: Path) -> None:
    from tests.flows.workspace import make_plan

    plan = make_plan(encoders=1, seeds=3)
    (key,) = plan.encoders
    plan.compute.needs.update(pretrain=NeedPlan(gpu=1, memory_gb=2.0, time_limit_s=60.0), fit=NeedPlan())
    workspace = Workspace(tmp_path)
    assert need(_node(f"pretrain@{key}"), plan, workspace) == Need(1, 3, 1, 2.0, 60.0)
    plan.compute.needs.update(ingest=NeedPlan())
    corpus = need(_node(f"ingest@{next(iter(plan.corpora))}"), plan, workspace)
    assert corpus.least == 1 and corpus.most >= 16  # its items are checked by as many processes as there are cores free
    assert need(_node("fit@unknown"), plan, workspace) == Need(1, 1, 0, 1.0, None)
    assert need(_node("make@a"), plan, workspace) == Need()


def test_ranks_take_the_slots_of_as_many_processes(tmp_path: Path) -> None:
    from tests.flows.workspace import make_plan

    plan = make_plan(encoders=1, seeds=3)
    (key,) = plan.encoders
    needs = {"pretrain": NeedPlan(gpu=1, memory_gb=2.0), "fit": NeedPlan(gpu=1)}
    plan = replace(plan, compute=ComputePlan(needs=needs, ranks=RanksPlan(count=4)))
    assert need(_node(f"pretrain@{key}"), plan, Workspace(tmp_path)) == Need(4, 4, 4, 8.0, None)
    assert need(_node("fit@unknown"), plan, Workspace(tmp_path)) == Need(1, 1, 1, 1.0, None)


def test_what_a_node_held_last_time_raises_its_need(tmp_path: Path) -> None:
    plan, workspace = Plan(compute=ComputePlan(needs={"fit": NeedPlan(memory_gb=1.0)})), Workspace(tmp_path)
    record = workspace.record("fit", "x") / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"peak_memory_mb": 4096.0}))
    assert need(_node("fit@x"), plan, workspace).memory_gb == pytest.approx(4.0 * slots._ROOM)
    record.write_text("damaged")
    assert need(_node("fit@x"), plan, workspace).memory_gb == 1.0
