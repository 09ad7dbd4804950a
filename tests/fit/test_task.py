"""The stage end to end: what it writes, what it refuses, and that it repeats to the byte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.common import atomic, tasks
from stages.common.errors import UserError
from stages.common.workspace import Workspace
from stages.fit.__main__ import main
from tests.builders import write_features
from tests.fit import workspace as w
from tests.oracles import metrics as oracle


def record(made: Workspace, key: str = "t") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made.record("fit", key) / "record.json").read_text())
    return found


def test_a_probe_writes_predictions_figures_and_a_record(tmp_path: Path) -> None:
    made = w.workspace(tmp_path)
    out = w.run(made, w.node(metrics=["accuracy", "macro_f1", "auroc"], labels=["all", "5"]))
    result = tasks.read_result(out)
    assert (result.task, result.system, result.features, result.encoder, result.head) == ("t", "q", "f", "e", "linear_probe")
    assert result.classes == w.CLASSES
    assert [(v.name, v.slice, v.seed) for v in result.metrics[:4]] == [
        ("accuracy", "all", 0),
        ("macro_f1", "all", 0),
        ("auroc", "all", 0),
        ("accuracy", "5", 0),
    ]
    assert all(v.n == 24 and v.value is not None and v.value > 0.6 for v in result.metrics)
    assert result.details["validation"] == "split valid"
    noted = [(m["name"], m["seed"], m["slice"], m["value"], m["n"]) for m in record(made)["metrics"]]
    assert noted == [(v.name, v.seed, v.slice, v.value, v.n) for v in result.metrics]


def test_figures_follow_from_the_written_predictions(tmp_path: Path) -> None:
    made = w.workspace(tmp_path)
    out = w.run(made, w.node(metrics=["accuracy", "macro_f1", "auroc"], labels=["5"]))
    result = tasks.read_result(out)
    for seed in (0, 1):
        p = tasks.read_predictions(out, seed, "5")
        assert list(p.ids) == [i for i, s in zip(w.ids(), w.split_of(), strict=True) if s == "test"]
        assert p.target.tolist() == [int(i[1:]) % 3 for i in p.ids]
        assert p.score is not None
        np.testing.assert_allclose(p.score.sum(1), 1, atol=1e-6)
        assert (p.score.argmax(1) == p.prediction).all()
        for name in ("accuracy", "macro_f1", "auroc"):
            expected = getattr(oracle, name)(p.target.tolist(), p.prediction.tolist(), p.score.tolist())
            assert result.values(name, "5")[seed] == pytest.approx(expected)


@pytest.mark.parametrize("head", ["linear_probe", "knn", "ridge", "measures", "feature_map"])
def test_a_second_run_is_the_same_to_the_byte(tmp_path: Path, head: str) -> None:
    part = {"name": head, "names": ["rankme", "uniformity"]} if head == "measures" else {"name": head}
    supervised = head in ("linear_probe", "knn")
    node = w.node(
        part,
        label="size" if head == "ridge" else "kind",
        metrics=["r2"] if head == "ridge" else ["accuracy"] if supervised else [],
        labels=["all", "10%", "5"] if supervised else ["all"],
    )
    made = w.workspace(tmp_path)
    first = atomic.manifest(w.run(made, node))
    assert {"metrics.json", "predictions.parquet"} <= set(first["files"])
    assert atomic.manifest(w.run(made, node)) == first


def test_an_encoder_of_one_seed_serves_every_seed_with_other_labels(tmp_path: Path) -> None:
    made = w.workspace(tmp_path, seeds=(7,))
    out = w.run(made, w.node(labels=["all", "2"]))
    full, few = ([tasks.read_predictions(out, seed, share).score for seed in (0, 1)] for share in ("all", "2"))
    assert (full[0] == full[1]).all()
    assert (few[0] != few[1]).any()


def test_features_of_each_seed_are_its_own(tmp_path: Path) -> None:
    made = w.workspace(tmp_path)
    out = w.run(made, w.node())
    assert (tasks.read_predictions(out, 0, "all").score != tasks.read_predictions(out, 1, "all").score).any()


def test_labels_are_joined_by_id_whatever_the_order_of_feature_rows(tmp_path: Path) -> None:
    made = w.workspace(tmp_path)
    order = np.random.default_rng(0).permutation(120)
    ids, splits = [w.ids()[i] for i in order], [w.split_of()[i] for i in order]
    write_features(made.features("g"), ids, splits, {s: w.embeddings(seed=s)[order] for s in (0, 1)})
    ordered, shuffled = (w.run(made, w.node(features=f, labels=["all", "5"]), f"t{f}") for f in ("f", "g"))
    for share in ("all", "5"):
        one, other = (tasks.read_predictions(out, 0, share) for out in (ordered, shuffled))
        theirs = dict(zip(other.ids, other.prediction, strict=True))
        assert [theirs[i] for i in one.ids] == one.prediction.tolist()


def test_unlabelled_items_are_neither_learnt_from_nor_judged(tmp_path: Path) -> None:
    kind = [None if i % 10 in (0, 4) else i % 3 for i in range(120)]
    made = w.workspace(tmp_path, kind=kind)
    out = w.run(made, w.node())
    assert tasks.read_result(out).details["fits"][0]["rows"] == {"train": 60, "valid": 24, "test": 12}
    assert all(kind[int(i[1:])] is not None for i in tasks.read_predictions(out, 0, "all").ids)


def test_few_shot_validation_uses_no_more_labels_than_the_share_says(tmp_path: Path) -> None:
    fits = tasks.read_result(w.run(w.workspace(tmp_path), w.node(labels=["all", "50%", "2"]))).details["fits"]
    assert [f["rows"] for f in fits[:3]] == [
        {"train": 72, "valid": 24, "test": 24},
        {"train": 36, "valid": 12, "test": 24},
        {"train": 6, "valid": 6, "test": 24},
    ]


def test_without_a_valid_split_a_fifth_of_train_is_held_out_by_group_and_said(tmp_path: Path) -> None:
    made = Workspace(tmp_path)
    splits = ("train", "train", "train", "train", "test")
    w.corpus(made.corpus("c"), splits=splits)
    write_features(made.features("f"), w.ids(), w.split_of(splits=splits), {0: w.embeddings()})
    result = tasks.read_result(w.run(made, w.node()))
    assert result.details["validation"] == "a fifth of train, held out by group"
    assert result.details["fits"][0]["rows"] == {"train": 80, "valid": 16, "test": 24}


def test_ridge_reads_a_number(tmp_path: Path) -> None:
    out = w.run(w.workspace(tmp_path), w.node("ridge", label="size", metrics=["r2", "mae"], labels=["all", "50%"]))
    assert min(tasks.read_result(out).values("r2").values()) > 0.95
    assert tasks.read_predictions(out, 0, "all").score is None


def test_strengths_that_did_not_converge_are_warned_of(tmp_path: Path) -> None:
    made = w.workspace(tmp_path)
    w.run(made, w.node({"name": "linear_probe", "steps": 1}))
    assert "did not converge" in record(made)["warnings"][0]


def test_a_map_has_a_place_and_a_label_for_each_test_item(tmp_path: Path) -> None:
    made = w.workspace(tmp_path, kind=[None if i == 4 else i % 3 for i in range(120)])
    out = w.run(made, w.node("feature_map", metrics=[]))
    table = pq.read_table(out / "map.parquet").to_pylist()
    assert [r["seed"] for r in table] == [0] * 24 + [1] * 24
    assert {(r["id"], r["label"]) for r in table} == {
        (i, None if i == "i0004" else w.CLASSES[int(i[1:]) % 3])
        for i, s in zip(w.ids(), w.split_of(), strict=True)
        if s == "test"
    }
    assert tasks.read_result(out).metrics == []


def broken(root: Path, **columns: Any) -> Workspace:
    return w.workspace(root, **columns)


def without_test(root: Path) -> Workspace:
    made = Workspace(root)
    w.corpus(made.corpus("c"))
    kept = [i for i, s in enumerate(w.split_of()) if s != "test"]
    ids, splits = [w.ids()[i] for i in kept], [w.split_of()[i] for i in kept]
    write_features(made.features("f"), ids, splits, {s: w.embeddings()[kept] for s in (0, 1)})
    return made


def other_corpus(root: Path, name: str) -> Workspace:
    made = Workspace(root)
    w.corpus(made.corpus("c"))
    write_features(made.features("f"), [f"x{i}" for i in range(120)], w.split_of(), {0: w.embeddings()}, corpus=name)
    return made


def split_anew(root: Path) -> Workspace:
    made = Workspace(root)
    w.corpus(made.corpus("c"))
    write_features(made.features("f"), w.ids(), list(reversed(w.split_of())), {0: w.embeddings()})
    return made


def not_finite(root: Path) -> Workspace:
    made = Workspace(root)
    w.corpus(made.corpus("c"))
    x = w.embeddings()
    x[5, 2] = np.nan
    write_features(made.features("f"), w.ids(), w.split_of(), {0: x})
    return made


TRAIN = [i for i, s in enumerate(w.split_of()) if s == "train"]
MISTAKES = {
    "a class head on a number": (broken, {"label": "size"}, "is fitted on a class, label 'size' is a number"),
    "a number head on a class": (broken, {"head": {"name": "ridge"}}, "choose linear_probe or knn"),
    "a metric of numbers on a class": (broken, {"metrics": ["r2"]}, "metric 'r2' judges a number"),
    "no metric": (broken, {"metrics": []}, "no metric to judge by"),
    "a metric without predictions": (broken, {"head": {"name": "feature_map"}}, "makes no predictions to judge"),
    "no label named": (broken, {"label": None}, "needs a label"),
    "a label the corpus lacks": (broken, {"label": "knid"}, "did you mean 'kind'"),
    "a column that is no label": (broken, {"label": "note"}, "'note' is no label, it is meta"),
    "a label that is all null": (lambda r: broken(r, kind=[None] * 120), {}, "null in every row"),
    "no labelled test item": (
        lambda r: broken(r, kind=[None if i % 5 == 4 else i % 3 for i in range(120)]),
        {},
        "split 'test' is empty",
    ),
    "no test split": (without_test, {}, "split 'test' is empty"),
    "one class only": (lambda r: broken(r, kind=[1] * 120), {}, "are of one class, 'b'"),
    "a class unseen in training": (
        lambda r: broken(r, kind=[2 if i == 4 else i % 2 for i in range(120)]),
        {},
        "split 'test' holds classes that no train item has: 'c'",
    ),
    "features of another corpus": (lambda r: other_corpus(r, "d"), {}, "of corpus 'd', the labels of 'c'"),
    "features of items the corpus lacks": (lambda r: other_corpus(r, "c"), {}, "120 of 120 feature rows are of items"),
    "features of an older split": (split_anew, {}, "of another split than their items"),
    "features that are not finite": (not_finite, {}, "not finite"),
    "a count of a number's labels": (
        broken,
        {"head": {"name": "ridge"}, "label": "size", "metrics": ["r2"], "labels": ["5"]},
        "counts labels per class",
    ),
    "a seed the encoder lacks": (broken, {"seeds": [0, 9]}, "unknown seed '9'"),
    "an argument the head lacks": (broken, {"head": {"name": "knn", "kk": [3]}}, "did you mean 'k'"),
    "a strength of zero": (broken, {"head": {"name": "linear_probe", "l2": [0.0]}}, "every l2 must be above 0"),
    "a support that is not comparable": (
        broken,
        {"head": {"name": "measures", "names": ["cka"]}, "metrics": []},
        "cka compares two features",
    ),
    "views where there are none": (
        broken,
        {"head": {"name": "measures", "names": ["lidar"]}, "metrics": []},
        "lidar needs as many copies of every item",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_one_clear_error_and_leaves_no_output(tmp_path: Path, mistake: str) -> None:
    make, changes, says = MISTAKES[mistake]
    made = make(tmp_path)
    with pytest.raises(UserError) as caught:
        w.run(made, w.node(**changes))
    assert says in str(caught.value)
    assert caught.value.where
    assert not made.task("q", "t").exists()


def test_a_user_s_mistake_on_the_command_line_exits_with_two(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    w.workspace(tmp_path)
    (tmp_path / "plan.json").write_text(json.dumps({"tasks": {"t": w.node(label="size")}}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stages.common.process.die_with_parent", lambda: None)
    assert main(["t", "--plan", "plan.json"]) == 2
    assert "error: fit t: head 'linear_probe' is fitted on a class" in capsys.readouterr().err


def test_the_stage_runs_from_a_json_plan_without_heavy_libraries(tmp_path: Path) -> None:
    w.workspace(tmp_path)
    (tmp_path / "plan.json").write_text(json.dumps({"tasks": {"t": w.node()}}))
    code = (
        "import sys; sys.argv = ['fit', 't', '--plan', 'plan.json']\n"
        "from stages.fit.__main__ import main\n"
        "code = main(['t', '--plan', 'plan.json'])\n"
        "heavy = {'mlflow', 'prefect', 'dvc', 'hydra', 'polars', 'sklearn', 'scipy', 'yaml', 'rich'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(root), "PATH": ""}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "data/tasks/q/t/manifest.json").is_file()
