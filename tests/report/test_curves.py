"""Curves thinned without losing their ends; tables for dvc metrics and plots."""

from __future__ import annotations

import csv
import io

import pytest

from stages.report import curves
from stages.report.collect import Found, Node


def test_thinning_averages_neighbours_and_keeps_the_last_step() -> None:
    steps, values = list(range(1, 1001)), [float(i) for i in range(1, 1001)]
    at, mean = curves.thin(steps, values, 100)
    assert (len(at), at[0], at[-1]) == (100, 10, 1000)
    assert mean[0] == 5.5 and mean[-1] == 995.5
    assert curves.thin([1, 2, 3], [7.0, 8.0, 9.0], 100) == ([1, 2, 3], [7.0, 8.0, 9.0])
    at, mean = curves.thin(steps[:7], values[:7], 3)
    assert (at, mean) == ([3, 6, 7], [2.0, 5.0, 7.0])


def test_a_learning_curve_has_every_seed_and_their_mean_where_all_have_a_step() -> None:
    found = curves.learning({0: ([1, 2, 3], [1.0, 2.0, 3.0]), 1: ([1, 2], [3.0, 6.0])})
    assert found["mean"] == [[1, 2.0, 1.0, 3.0], [2, 4.0, 2.0, 6.0]]
    assert found["seeds"]["0"] == [[1, 1.0], [2, 2.0], [3, 3.0]]


def test_what_a_reader_looks_for_comes_first() -> None:
    logged = {name: {0: ([1], [1.0])} for name in ("lr", "total", "alignment", "rankme", "knn_accuracy")}
    node = Node("pretrain", "simclr", {}, logged)
    assert curves.names([node]) == ["knn_accuracy", "rankme", "total", "alignment", "lr"]
    assert [curves.headline(n) for n in ("knn_accuracy", "lr")] == [True, False]


def test_the_tables_hold_every_point_and_say_what_is_simulated() -> None:
    point = {"slice": "5", "mean": 0.5, "std": None, "low": 0.4, "high": 0.6}
    systems = {"demo": {"curves": [{"task": "probe", "metric": "accuracy", "points": [point, {**point, "slice": "all"}]}]}}
    rows = list(csv.DictReader(io.StringIO(curves.label_share_csv(systems, {("demo", "probe"): True}))))
    assert [(r["labels"], r["order"], r["mean"], r["std"], r["provenance"]) for r in rows] == [
        ("5", "0", "0.5", "", "simulated"),
        ("all", "1", "0.5", "", "simulated"),
    ]
    node = Node("pretrain", 'sim,"clr', {}, {"loss": {2: ([5, 10], [1.25, 0.5])}})
    rows = list(csv.DictReader(io.StringIO(curves.learning_csv([node]))))
    assert [r["value"] for r in rows] == ["1.25", "0.5"]
    assert (rows[1]["encoder"], rows[1]["seed"], rows[1]["step"], rows[1]["name"]) == ('sim,"clr', "2", "10", "loss")


def test_metrics_are_nested_by_system_task_label_share_and_metric_and_leave_out_what_is_undefined() -> None:
    row = {"task": "probe", "slice": "5", "metric": "accuracy", "mean": 0.75}
    found = Found({"demo": {"rows": [row, {**row, "metric": "auroc", "mean": None}]}, "empty": {}}, {}, [])
    assert curves.metrics_of(found) == {"demo": {"probe": {"5": {"accuracy": pytest.approx(0.75)}}}}
