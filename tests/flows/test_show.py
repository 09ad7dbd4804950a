"""`prelude show`: a node, its figures, what it read and who read it, and where MLflow shows it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.tracking import marker, recorded
from stages.common import atomic
from stages.common import plan as plans
from stages.common.workspace import Workspace
from tests.flows.conftest import Said

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]


def change(root: Path, node: str, **keys: Any) -> None:
    """Writes some keys of a node's record anew."""
    path = root / "data/records" / node.replace("@", "/") / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def metric(name: str, value: float | None, seed: int | None, slice: str = "all", n: int | None = None) -> dict[str, Any]:
    return {"name": name, "value": value, "seed": seed, "slice": slice, "n": n}


def test_show_names_what_a_node_read_and_who_read_it(ran: Path, capsys: Capture) -> None:
    record = Said(capsys, "show", "extract@trained", "--json").json
    assert (record["stage"], record["key"], record["state"]) == ("extract", "trained", "ran")
    shown = Said(capsys, "show", "probe").out
    assert shown.startswith("fit@probe  (cpu, ") and "data/features/trained" in shown and "evaluate@one" in shown
    assert re.search(r"accuracy +5 labels a class 0\.9000  n=40\n", shown) and "warning  a warning" in shown
    assert "state" not in shown


def test_figures_are_summed_up_over_seeds_by_name_and_label_share(ran: Path, capsys: Capture) -> None:
    rows = [metric("accuracy", v, s, share, 40) for share in ("5", "all") for s, v in enumerate((0.8, 0.9, 0.7))]
    change(ran, "fit@probe", metrics=[*rows, metric("loss", 0.5, None)])
    shown = Said(capsys, "show", "probe").out
    assert re.search(r"\n  accuracy +5 labels a class +0\.8000 ± 0\.1000  \(0\.8000 0\.9000 0\.7000\)  n=40\n", shown)
    assert re.search(r"\n  accuracy +all labels +0\.8000 ± 0\.1000 ", shown)
    assert re.search(r"\n  loss +all labels +0\.5000\n", shown)
    figure = Said(capsys, "show", "probe", "--json").json["figures"][0]
    assert figure["seeds"] == {"0": 0.8, "1": 0.9, "2": 0.7} and figure["mean"] == pytest.approx(0.8)


def test_show_says_where_a_figure_is_not_finite(ran: Path, capsys: Capture) -> None:
    change(
        ran, "fit@probe", metrics=[metric("accuracy", v, s) for s, v in ((0, None), (1, 0.6))], throughput={"rows_per_s": None}
    )
    shown = Said(capsys, "show", "probe").out
    assert "0.6000  (not finite 0.6000)" in shown and re.search(r"rows_per_s +not finite", shown)
    change(ran, "fit@probe", metrics=[metric("accuracy", None, 0)])
    assert re.search(r"accuracy +not finite\n", Said(capsys, "show", "probe").out)


def test_a_key_of_several_stages_is_the_first_ones_and_the_others_are_named(ran: Path, capsys: Capture) -> None:
    shown = Said(capsys, "show", "trained").out
    assert shown.startswith("pretrain@trained ") and shown.endswith("  also     extract@trained\n")
    assert Said(capsys, "show", "extract@trained").out.startswith("extract@trained ")


@pytest.mark.parametrize(
    ("node", "shown"),
    [
        ("fit", "'fit' is a stage, not a node\n  where: data/records\n  do: write one of: fit@control, fit@probe"),
        ("prob", "did you mean 'probe'?"),
        ("fit@trained", "unknown node 'fit@trained'"),
        ("report", "open data/report/index.html"),
    ],
)
def test_show_asks_which_node_is_meant(ran: Path, capsys: Capture, node: str, shown: str) -> None:
    said = Said(capsys, "show", node)
    assert said.code == 2 and said.out == "" and shown in said.err


def test_the_lineage_runs_from_the_corpus_to_the_system(ran: Path, capsys: Capture) -> None:
    shown = Said(capsys, "show", "extract@trained").out
    expected = """  lineage
    ingest     digits
    pretrain   trained
    extract    [trained]
    fit        control, probe
    evaluate   one
"""
    assert expected in shown and "stale" not in shown
    found = Said(capsys, "show", "evaluate@one", "--json").json["lineage"]
    assert {r["of"] for r in found["upstream"]} == {
        "fit@control",
        "fit@probe",
        "extract@trained",
        "pretrain@trained",
        "ingest@digits",
    }
    assert found["downstream"] == []


def test_what_is_no_more_what_was_read_is_marked_all_the_way_down(ran: Path, capsys: Capture) -> None:
    manifest = ran / "data/encoders/trained/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"digest": "f" * 64}))
    shown = Said(capsys, "show", "probe").out
    assert "    extract    trained*\n" in shown and "    fit        [probe]\n" in shown
    assert re.search(r"\* stale: extract@trained read data/encoders/trained \w{12}, there is f{12} now\n", shown)
    manifest.unlink()
    assert "nothing is there now" in Said(capsys, "show", "extract@trained").out
    assert "    extract    [trained]*\n" in Said(capsys, "show", "extract@trained").out


def test_two_nodes_of_equal_content_are_two_in_the_lineage(ran: Path, capsys: Capture) -> None:
    digests = {atomic.manifest(ran / "data" / path)["digest"] for path in ("encoders/trained", "features/trained")}
    assert len(digests) == 1
    record = Said(capsys, "show", "extract@trained", "--json").json
    assert record["reads"] == ["ingest@digits", "pretrain@trained"]
    assert record["read_by"] == ["fit@control", "fit@probe"]
    shown = Said(capsys, "show", "extract@trained").out
    assert "reads    ingest@digits, pretrain@trained\n" in shown and "read by  fit@control, fit@probe\n" in shown


def test_a_node_that_read_an_earlier_output_is_no_reader_of_this_one(ran: Path, capsys: Capture) -> None:
    path = ran / "data/records/extract/trained/record.json"
    record = json.loads(path.read_text())
    record["outputs"][0]["digest"] = "0" * 64
    path.write_text(json.dumps(record))
    assert Said(capsys, "show", "extract@trained", "--json").json["read_by"] == []
    assert Said(capsys, "show", "probe", "--json").json["reads"] == []


def test_a_node_that_is_planned_says_what_it_would_read(ran: Path, capsys: Capture) -> None:
    assert Said(capsys, "plan", "one", "two").code == 0
    said = Said(capsys, "show", "other")
    assert said.code == 0
    assert said.out == (
        "pretrain@other  (planned; it has not run)\n"
        "  would read ingest@digits  (it ran)\n"
        "  run it   prelude run pretrain@other\n"
    )
    record = Said(capsys, "show", "evaluate@two", "--json").json
    assert (record["state"], record["reads"], record["plan"]["title"]) == ("planned", [], "Two")


def test_before_the_first_run_all_nodes_are_planned(root: Path, capsys: Capture) -> None:
    assert Said(capsys, "plan", "one").code == 0
    assert "would read extract@trained  (it has not run either)\n" in Said(capsys, "show", "probe").out
    assert "did you mean 'probe'?" in Said(capsys, "show", "prob").err


def test_a_node_whose_plan_has_changed_or_left_it_says_so(ran: Path, capsys: Capture) -> None:
    assert Said(capsys, "plan", "one", "-s", "encoders.trained.epochs=9").code == 0
    assert "state    its plan has changed since\n" in Said(capsys, "show", "pretrain@trained").out
    assert "state" not in Said(capsys, "show", "probe").out
    record = (ran / "data/records/fit/probe/record.json").read_text()
    assert Said(capsys, "plan", "two").code == 0
    (ran / "data/records/fit/probe").mkdir(parents=True, exist_ok=True)  # a plan moves away what left it
    (ran / "data/records/fit/probe/record.json").write_text(record)
    assert "state    it is in the plan no more\n" in Said(capsys, "show", "probe").out
    (ran / "params.yaml").unlink()
    assert Said(capsys, "show", "ingest@digits").code == 0


def remember(root: Path, *nodes: str) -> None:
    """MLflow's database, as far as the marker knows: one run a node and seed."""
    workspace, tracking = Workspace(root), plans.load(root / "params.yaml").tracking
    (root / "m.db").touch()
    found = [r for r in recorded.read_all(workspace)[0] if r.node in nodes]
    runs = {(r.identity, s): f"{r.key}-{s}" for r in found for s in r.seeds}
    marker.remember(workspace, tracking, "http://127.0.0.1:5000/#/experiments/7/runs", found, runs)


def test_mlflows_runs_are_named_by_seed_with_a_page(ran: Path, capsys: Capture) -> None:
    remember(ran, "pretrain/trained", "extract/trained")
    shown = Said(capsys, "show", "pretrain@trained").out
    for seed in (0, 1, 2):
        assert f"  MLflow   seed {seed} run trained-{seed}\n" in shown
    assert "  page     http://127.0.0.1:5000/#/experiments/7/runs/trained-0\n" in shown
    assert "  MLflow   run trained-None\n" in Said(capsys, "show", "extract@trained").out
    known = Said(capsys, "show", "extract@trained", "--json").json["mlflow"]
    assert known["runs"] == {"": "trained-None"}
    assert known["pages"] == {"": "http://127.0.0.1:5000/#/experiments/7/runs/trained-None"}


def test_show_says_where_mlflow_does_not_show_this_record(ran: Path, capsys: Capture) -> None:
    missing = "  MLflow   not shown in MLflow yet; `prelude run` shows it there\n"
    assert missing in Said(capsys, "show", "probe").out
    remember(ran, "fit/probe")
    assert "probe-0" in Said(capsys, "show", "probe").out
    assert missing in Said(capsys, "show", "control").out
    change(ran, "fit@probe", digest="0" * 64)
    assert "  MLflow   MLflow shows an earlier result of this node; " in Said(capsys, "show", "probe").out
    remember(ran, "fit/probe")
    (ran / "other").touch()
    (ran / "other").replace(ran / "m.db")  # the database was made anew: what is noted is of another one
    assert missing in Said(capsys, "show", "probe").out
    remember(ran, "fit/probe")
    (ran / ".prelude/runs.json").write_text("{")
    assert missing in Said(capsys, "show", "probe").out


def test_show_imports_neither_mlflow_nor_torch(ran: Path) -> None:
    code = "import sys; from flows import cli; cli.main(['show', 'probe']); "
    code += "sys.stderr.write(str({'mlflow', 'torch', 'dvc', 'prefect', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ran, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.stdout.startswith("fit@probe ") and done.stderr == "set()"
