"""`prelude systems`: claims and verdicts, from this workspace or from docs, and what is committed to docs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from flows import compose, scoreboard
from stages.common import atomic
from tests.flows.conftest import RESULT, Said

Capture = pytest.CaptureFixture[str]


def test_systems_are_listed_with_their_claims_before_anything_ran(root: Path, capsys: Capture) -> None:
    one, two = Said(capsys, "systems", "--json").json
    assert {k: one[k] for k in ("id", "seed", "title", "provenance", "from")} == {
        "id": "one",
        "seed": None,
        "title": "One",
        "provenance": "simulated",
        "from": "not run",
    }
    assert [(c["id"], c["verdict"], c["values"], c["seeds"]) for c in one["claims"]] == [
        ("better", "not run", {}, 0),
        ("open", "not run", {}, 0),
    ]
    assert (two["id"], two["provenance"], two["claims"]) == ("two", "real", [])


def test_systems_show_the_verdicts_of_this_workspace(ran: Path, capsys: Capture) -> None:
    one = Said(capsys, "systems", "--json").json[0]
    assert one["from"] == "this workspace"
    expected = {"says": "trained beats [all] random", "correlation": None, **RESULT["claims"][0]}  # type: ignore[dict-item, index]
    assert one["claims"][0] == expected
    shown = Said(capsys, "systems").out
    assert "holds" in shown and "probe 0.910 ± 0.020" in shown and "control 0.500" in shown and "simulated" in shown


def test_the_scoreboard_of_a_run_is_that_of_its_systems_and_says_what_is_left_out(ran: Path, capsys: Capture) -> None:
    scoreboard.print_scoreboard(ran, ["one"])
    out = capsys.readouterr().out
    assert "trained beats [all] random" in out and "no claim" not in out
    assert "1 other system is not in the plan: `prelude systems` shows all" in out
    scoreboard.print_scoreboard(ran)
    out = capsys.readouterr().out
    assert "no claim" in out and "not in the plan" not in out


def test_a_committed_result_is_shown_where_nothing_ran(ran: Path, capsys: Capture) -> None:
    assert Said(capsys, "systems", "--commit", "one").out == "written: docs/systems/one.json\n"
    written = json.loads((ran / "docs/systems/one.json").read_text())
    assert written["claims"] == RESULT["claims"]
    assert set(written["run"]) == {"plan", "code", "machine"} and os.uname().nodename not in json.dumps(written["run"])
    (ran / "data/reports/one").rename(ran / "gone")
    one = Said(capsys, "systems", "--json").json[0]
    assert (one["from"], one["claims"][0]["verdict"]) == ("docs", "holds")


def test_the_names_of_very_many_classes_are_not_committed(ran: Path, capsys: Capture) -> None:
    folder = ran / "data/reports/one"
    named = {"few": [str(i) for i in range(100)], "many": [str(i) for i in range(101)]}
    tasks = {name: {"head": "retrieval", "classes": classes} for name, classes in named.items()}
    atomic.write_json(folder / "result.json", {**RESULT, "tasks": tasks})
    (folder / "manifest.json").unlink()
    atomic.seal(folder)
    assert Said(capsys, "systems", "--commit", "one").code == 0
    written = json.loads((ran / "docs/systems/one.json").read_text())["tasks"]
    assert {name: len(task["classes"]) for name, task in written.items()} == {"few": 100, "many": 0}


def test_the_scoreboard_leaves_brackets_in_a_claim_alone(ran: Path, capsys: Capture) -> None:
    assert "trained beats [all] random" in Said(capsys, "systems").out


def test_figures_come_in_the_order_of_the_claim_though_json_sorts_them(ran: Path, capsys: Capture) -> None:
    assert list(Said(capsys, "systems", "--json").json[0]["claims"][0]["values"]) == ["probe", "control"]
    assert "probe 0.910 ± 0.020 > control 0.500" in Said(capsys, "systems").out


def test_a_system_without_claims_is_listed_too(root: Path, capsys: Capture) -> None:
    assert "│ two    │ real" in Said(capsys, "systems").out


def test_a_result_of_another_plan_than_the_systems_own_is_not_committed(ran: Path, capsys: Capture) -> None:
    compose.write(ran, ["one"], ["encoders.trained.epochs=1"])
    said = Said(capsys, "systems", "--commit", "one")
    assert said.code == 2 and "encoders.trained: epochs: 1 / 3" in said.err
    assert not (ran / "docs/systems/one.json").exists()


def test_a_damaged_result_is_not_committed(ran: Path, capsys: Capture) -> None:
    (ran / "data/reports/one/result.json").write_text("{}")
    assert Said(capsys, "systems", "--commit", "one").code == 2


def test_an_unknown_system_is_not_committed(ran: Path, capsys: Capture) -> None:
    said = Said(capsys, "systems", "--commit", "oen")
    assert said.code == 2 and "did you mean 'one'?" in said.err


def test_a_system_with_a_grid_is_committed_with_the_nodes_it_spreads_into(ran: Path, capsys: Capture) -> None:
    path = ran / "params/system/one.yaml"
    path.write_text(path.read_text() + "\ngrids: {g: {encoders.trained.epochs: [5, 7]}}\n")
    compose.write(ran, ["one"])
    assert Said(capsys, "systems", "--commit", "one").out == "written: docs/systems/one.json\n"
    data = compose.make(ran, ["one"])[0]
    assert len(data["encoders"]) == 4
    written = json.loads((ran / "docs/systems/one.json").read_text())
    assert written["run"]["plan"] == scoreboard.plan_digest(data)


def test_a_size_without_a_system_to_plan_is_the_users_mistake(root: Path, capsys: Capture) -> None:
    said = Said(capsys, "run", "--scale", "smoke")
    assert said.code == 2 and "--scale is of the systems to plan" in said.err
