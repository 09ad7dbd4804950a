"""The stage as a whole: what it writes, that it repeats to the byte, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.common import atomic, stage
from stages.common.errors import ContractError, UserError
from stages.common.plan import Plan
from stages.common.schema import build
from stages.common.tasks import Value
from stages.common.workspace import Workspace
from stages.evaluate import __main__ as main
from stages.evaluate.direction import _constant, _stated, higher_is_better, orientation
from stages.evaluate.judged import Judged, share_order
from tests.evaluate.builders import predictions, stand_ins, task_plan, write_task

SHARES = {"5": 0.5, "10%": 0.7, "all": 0.9}


@pytest.fixture(autouse=True)
def _metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(monkeypatch)


def the_plan(tasks: list[str], **system: Any) -> Plan:
    task = {"system": "demo", "corpus": "c", "features": "f", "support": "features/f", "head": {"name": "probe"}}
    about = {"title": "Demo", "provenance": "simulated", "paper": "A 2020", **system}
    return build(Plan, {"tasks": dict.fromkeys(tasks, task), "systems": {"demo": about}}, "plan")


def write_probe(root: Path, key: str, gain: float, n: int = 200) -> None:
    rng = np.random.default_rng(len(key))
    found = [predictions(rng.random(n) < rate + gain, seed, share) for share, rate in SHARES.items() for seed in range(3)]
    write_task(Workspace(root).task("demo", key), found, ("accuracy", "balanced"), [Value("rankme", 12.5, 0)])


def write_map(root: Path, key: str = "map", n: int = 1500) -> None:
    folder = Workspace(root).task("demo", key)
    write_task(folder, [], (), [Value("trust", 0.9, 0)], "feature_map", classes=["cat", "dog"])
    rng = np.random.default_rng(0)
    seeds, ids = np.repeat([0, 1], n), [f"i{i:05d}" for i in range(n)] * 2
    columns = {"seed": seeds, "id": ids, "x": rng.normal(size=2 * n), "y": rng.normal(size=2 * n), "label": [0, 1] * n}
    pq.write_table(pa.table(columns), folder / "map.parquet")
    atomic.seal(folder)


def run(root: Path, plan: Plan) -> Path:
    return stage.execute("evaluate", "demo", plan, Workspace(root), main.work, main.inputs, main.target)


def test_a_system_becomes_metrics_rows_curves_claims_and_maps(tmp_path: Path) -> None:
    write_probe(tmp_path, "simclr", 0.08)
    write_probe(tmp_path, "random", -0.2)
    write_map(tmp_path)
    claim = {"says": "training helps", "metric": "accuracy", "slice": "5", "order": ["simclr", "random"]}
    out = run(tmp_path, the_plan(["simclr", "random", "map"], claims={"helps": claim}))

    means = json.loads((out / "metrics.json").read_text())
    assert set(means) == {"simclr", "random", "map"} and set(means["simclr"]) == {"5", "10%", "all"}
    result = json.loads((out / "result.json").read_text())
    assert (result["title"], result["provenance"], result["paper"]) == ("Demo", "simulated", "A 2020")
    row = next(r for r in result["rows"] if (r["task"], r["metric"], r["slice"]) == ("simclr", "accuracy", "10%"))
    values = list(row["seeds"].values())
    assert row["mean"] == pytest.approx(np.mean(values)) == means["simclr"]["10%"]["accuracy"]
    assert row["std"] == pytest.approx(np.std(values, ddof=1)) and (row["items"], row["draws"]) == (200, 1000)
    assert row["low"] < row["mean"] < row["high"]
    measure = next(r for r in result["rows"] if r["metric"] == "rankme")
    assert (measure["low"], measure["std"], measure["items"]) == (None, None, 0)
    curve = next(c for c in result["curves"] if (c["task"], c["metric"]) == ("simclr", "accuracy"))
    assert [p["slice"] for p in curve["points"]] == ["5", "10%", "all"]
    assert {c["metric"] for c in result["curves"]} == {"accuracy", "balanced"}
    assert [(c["id"], c["verdict"]) for c in result["claims"]] == [("helps", "holds")]
    record = json.loads((Workspace(tmp_path).record("evaluate", "demo") / "record.json").read_text())
    assert record["details"]["claims"] == [{"id": "helps", "says": "training helps", "verdict": "holds"}]


def test_a_map_is_thinned_to_the_same_thousand_ids_of_every_seed_and_its_classes_are_named(tmp_path: Path) -> None:
    write_map(tmp_path)
    table = pq.read_table(run(tmp_path, the_plan(["map"])) / "map.parquet")
    ids = {seed: table.filter(pa.compute.equal(table["seed"], seed))["id"].to_pylist() for seed in (0, 1)}
    assert ids[0] == ids[1] and len(ids[0]) == 1000
    assert set(table["label"].to_pylist()) == {"cat", "dog"} and set(table["task"].to_pylist()) == {"map"}


def test_running_again_gives_the_same_bytes(tmp_path: Path) -> None:
    write_probe(tmp_path, "simclr", 0.0)
    write_map(tmp_path)
    plan = the_plan(["simclr", "map"])
    first = atomic.manifest(run(tmp_path, plan))["digest"]
    assert atomic.manifest(run(tmp_path, plan))["digest"] == first


def test_a_planned_task_without_a_result_is_named(tmp_path: Path) -> None:
    write_probe(tmp_path, "simclr", 0.0)
    with pytest.raises(ContractError, match=r"without a result: probe_b[\s\S]*dvc repro"):
        run(tmp_path, the_plan(["simclr", "probe_b"]))
    with pytest.raises(UserError, match="no task of the plan"):
        run(tmp_path, the_plan([]))


def test_a_result_of_another_task_is_refused(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "other" / "probe", [predictions(np.ones(4, bool))])
    with pytest.raises(ContractError, match="is of task other/probe, not demo/probe"):
        Judged("probe", task_plan(), folder)


def test_predictions_that_do_not_give_the_recorded_figure_are_refused(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "demo" / "probe", [predictions(np.arange(50) < 40)])
    about = json.loads((folder / "metrics.json").read_text())
    about["metrics"][0]["value"] = 0.95
    (folder / "metrics.json").write_text(json.dumps(about))
    atomic.seal(folder)
    with pytest.raises(ContractError, match=r"accuracy is 0.95 .* predictions give 0.8"):
        Judged("probe", task_plan(), folder).replicates("accuracy", "all", [0])


def test_label_shares_run_from_few_labels_to_all() -> None:
    assert sorted(["all", "10%", "5", "1%", "20", "odd"], key=share_order) == ["5", "20", "1%", "10%", "all", "odd"]


def test_the_direction_is_read_without_running_the_file(tmp_path: Path) -> None:
    part = tmp_path / "part.py"
    part.write_text("import nowhere\nHIGHER_IS_BETTER: bool = False\n")
    assert _constant(part) is False
    part.write_text("import nowhere\nHIGHER_IS_BETTER = False\n")
    assert _constant(part) is False
    part.write_text('LABEL, HIGHER_IS_BETTER = "class", True\n')
    assert _constant(part) is True
    for neither in ('TAKES, HIGHER_IS_BETTER = "pair", None\n', "x, y = divmod(7, 2)\n"):
        part.write_text(neither)
        assert _constant(part) is None
    part.write_text('HIGHER_IS_BETTER = {"error": False}\n')
    assert _constant(part) is None and _stated(part) == {"error": False}
    assert higher_is_better("no_such_part") is None and orientation("no_such_part") == 1


def test_twenty_tasks_of_nine_cells_are_evaluated_in_seconds(tmp_path: Path) -> None:
    keys = [f"probe_{i:02d}" for i in range(20)]
    for key in keys:
        write_probe(tmp_path, key, 0.0, 1000)
    started = time.process_time()
    run(tmp_path, the_plan(keys))
    assert time.process_time() - started < 30  # about 8 s alone on one core; half of it for the metric that is no mean


def test_the_command_refuses_an_unknown_system_and_never_imports_torch(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"systems": {"simclr": {"title": "SimCLR"}}}))
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "stages.evaluate", "simcl", "--plan", str(tmp_path / "plan.json")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean 'simclr'" in done.stderr
    code = "import sys, stages.evaluate.system, stages.report.page; print(sorted(set(sys.modules) & {'torch', 'scipy'}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
