"""The task contract: predictions and figures read back, by seed and label share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common import atomic, tasks
from stages.common.errors import ContractError
from stages.common.tasks import Predictions, TaskResult, Value

VALUES = [Value("accuracy", 0.5, 0, "5", 40), Value("accuracy", 0.7, 1, "5", 40), Value("accuracy", 0.9, 0, "all", 40)]


def result(metrics: list[Value] = VALUES) -> TaskResult:
    return TaskResult("probe", "toy", "a", "a", "plain", metrics, classes=["x", "y"], details={"lr": 0.1})


def classes(seed: int, slice: str = "all", n: int = 4) -> Predictions:
    rng = np.random.default_rng(seed)
    score = rng.dirichlet([1, 1, 1], n).astype(np.float32)
    ids = np.array([f"i{i}" for i in range(n)], object)
    return Predictions(seed, slice, ids, rng.integers(0, 3, n), score.argmax(1), score)


def write(folder: Path, *predictions: Predictions, metrics: list[Value] = VALUES) -> Path:
    folder.mkdir()
    tasks.write(folder, result(metrics), list(predictions))
    atomic.seal(folder)
    return folder


def test_figures_read_back_as_they_were_written(tmp_path: Path) -> None:
    found = tasks.read_result(write(tmp_path / "t"))
    assert found == result()
    assert found.values("accuracy", "5") == {0: 0.5, 1: 0.7} and found.values("accuracy") == {0: 0.9}
    assert found.values("none") == {}


def test_a_figure_that_there_is_none_of_is_left_out(tmp_path: Path) -> None:
    found = tasks.read_result(write(tmp_path / "t", metrics=[Value("auc", None, 0), Value("auc", 0.5, 1)]))
    assert found.values("auc") == {1: 0.5}


def test_predictions_of_a_seed_and_label_share_read_back(tmp_path: Path) -> None:
    one, two, three = classes(0, "5"), classes(1, "5"), classes(0, "all", n=7)
    found = tasks.read_predictions(write(tmp_path / "t", one, two, three), 0, "all")
    assert (found.seed, found.slice, found.ids.tolist()) == (0, "all", three.ids.tolist())
    assert np.array_equal(found.target, three.target) and np.array_equal(found.prediction, three.prediction)
    assert found.score is not None and three.score is not None and np.array_equal(found.score, three.score)
    assert found.index is not None and found.index.tolist() == [0] * 7


def test_numbers_have_no_scores_and_frames_have_an_index(tmp_path: Path) -> None:
    given_ = Predictions(
        3, "all", np.array(["a", "a"], object), np.array([0.5, np.nan]), np.array([0.25, 2.0]), None, np.array([0, 1])
    )
    found = tasks.read_predictions(write(tmp_path / "t", given_), 3, "all")
    assert found.score is None and found.index is not None and found.index.tolist() == [0, 1]
    assert np.array_equal(found.target, given_.target, equal_nan=True) and found.prediction.tolist() == [0.25, 2.0]


@settings(max_examples=20)
@given(n=st.integers(1, 6), c=st.integers(1, 4), seeds=st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True))
def test_any_scores_read_back(tmp_path_factory: pytest.TempPathFactory, n: int, c: int, seeds: list[int]) -> None:
    rng = np.random.default_rng(n * c)
    ids = np.array([f"i{i}" for i in range(n)], object)
    given_ = [Predictions(s, "all", ids, np.zeros(n), np.zeros(n), rng.random((n, c)).astype(np.float32)) for s in seeds]
    folder = write(tmp_path_factory.mktemp("t") / "t", *given_)
    for one in given_:
        score = tasks.read_predictions(folder, one.seed, "all").score
        assert score is not None and one.score is not None and np.array_equal(score, one.score)


def test_damaged_predictions_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t", classes(0)) / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ContractError) as caught:
        tasks.read_predictions(tmp_path / "t", 0, "all")
    assert caught.value.where == str(path)


def test_a_column_too_many_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t", classes(0)) / "predictions.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("more", pa.nulls(table.num_rows)), path)
    with pytest.raises(ContractError, match="unexpected columns"):
        tasks.read_predictions(tmp_path / "t", 0, "all")


def test_figures_without_a_manifest_are_no_result(tmp_path: Path) -> None:
    (write(tmp_path / "t") / "manifest.json").unlink()
    with pytest.raises(ContractError):
        tasks.read_result(tmp_path / "t")


def test_the_same_predictions_make_the_same_bytes(tmp_path: Path) -> None:
    digests = [atomic.manifest(write(tmp_path / name, classes(0), classes(1)))["digest"] for name in ("a", "b")]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(("seed", "slice"), [(3, "all"), (0, "10%")])
def test_predictions_that_there_are_none_of_are_an_error(tmp_path: Path, seed: int, slice: str) -> None:
    folder = write(tmp_path / "t", classes(0, "all"), classes(1, "5"))
    with pytest.raises(ContractError) as caught:
        tasks.read_predictions(folder, seed, slice)
    assert caught.value.what == f"no predictions of seed {seed} at label share {slice!r}"
    assert caught.value.where == str(folder / "predictions.parquet")


def test_a_column_of_another_type_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t", classes(0)) / "predictions.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(5, "prediction", table["prediction"].cast(pa.string())), path)
    with pytest.raises(ContractError, match="unexpected columns"):
        tasks.read_predictions(tmp_path / "t", 0, "all")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_not_finite_is_none(tmp_path: Path, value: float) -> None:
    found = tasks.read_result(write(tmp_path / "t", metrics=[Value("auc", value, 0), Value("auc", 0.5, 1)]))
    assert [v.value for v in found.metrics] == [None, 0.5]
