"""Heads of positions: a linear map of frozen features, and the whole encoder tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from stages.common import atomic, tasks
from stages.common.column import Column
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.common.workspace import Workspace
from stages.encoders.core import encoder as encoders
from tests.builders import write_corpus, write_features
from tests.fit import workspace as w
from tests.oracles import metrics as oracle

N = 120
SERIES = Column("trace", "media", "series", shape=[8, 1])
METRICS = ["position_error", "position_error_95"]


def media() -> tuple[np.ndarray, np.ndarray]:
    """Series (N, 8) whose halves lie at the heights (x, y) of a point of the plane (N, 2), and the points."""
    rng = np.random.default_rng(0)
    at = rng.uniform(0, 10, (N, 2))
    return np.repeat(at, 4, axis=1) + 0.1 * rng.normal(size=(N, 8)), at


def workspace(root: Path, **changes: Any) -> Workspace:
    """A corpus of series with x, y, features that are the series, and an encoder of two seeds."""
    made, (traces, at) = Workspace(root), media()
    rows: list[dict[str, object]] = [
        {"id": i, "split": s, "group": i, "x": p[0], "y": p[1], "trace": t.astype(np.float32)}
        | {k: v[n] for k, v in changes.items()}
        for n, (i, s, p, t) in enumerate(zip(w.ids(N), w.split_of(N), at.tolist(), traces))
    ]
    columns = [Column("x", "label", "number", unit="m"), Column("y", "label", "number", unit="m"), SERIES]
    write_corpus(made.corpus("c"), columns, rows)
    write_features(made.features("f"), w.ids(N), w.split_of(N), dict.fromkeys((0, 1), traces))
    for seed in (0, 1):
        torch.manual_seed(seed)
        backbone = Part("series_transformer", {"patch": 4, "dim": 8, "depth": 1, "heads": 2, "pool": "mean"})
        net, folder = encoders.new(Part("series"), backbone, SERIES, root), made.encoder("e") / f"seed={seed}"
        net.mean.fill_(5)
        net.std.fill_(3)
        folder.mkdir(parents=True)
        card = encoders.EncoderCard(Part("series"), backbone, SERIES, "c", "-", "-", "none", seed, 0, 8)
        encoders.save(folder, net, card)
    atomic.seal(made.encoder("e"))
    return made


def node(head: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return w.node(head, label="x", metrics=METRICS, **changes)


TUNED = {"name": "finetune_position", "epochs": 30, "batch_size": 8, "lr": 0.01, "head_lr": 0.01}


def test_a_point_is_found_by_ridge_with_the_strength_that_is_best_on_valid(tmp_path: Path) -> None:
    made, (traces, at) = workspace(tmp_path), media()
    out = w.run(made, node({"name": "position", "l2": [1.0, 0.01, 10.0]}))
    result = tasks.read_result(out)
    split = np.array(w.split_of(N))
    x, y = traces[split == "train"], at[split == "train"]
    mean, std = x.mean(0), x.std(0)
    errors, guesses = {}, {}
    for l2 in (1.0, 0.01, 10.0):
        z = (x - mean) / std
        weights = np.linalg.solve(z.T @ z / len(z) + l2 * np.eye(8), z.T @ (y - y.mean(0)) / len(z))
        guess = {s: (traces[split == s] - mean) / std @ weights + y.mean(0) for s in ("valid", "test")}
        errors[l2] = np.linalg.norm(guess["valid"] - at[split == "valid"], axis=1).mean()
        guesses[l2] = guess["test"]
    fit = result.details["fits"][0]
    assert fit["l2"] == min(errors, key=errors.__getitem__)
    assert fit["valid_error"] == pytest.approx(list(errors.values()), rel=1e-4)
    p = tasks.read_predictions(out, 0, "all")
    assert p.score is not None
    np.testing.assert_allclose(p.score, np.concatenate([guesses[fit["l2"]], at[split == "test"]], 1), atol=1e-4)
    np.testing.assert_allclose(p.target, at[split == "test", 0])
    for name in METRICS:
        expected = getattr(oracle, name)(None, None, p.score.tolist())
        assert result.values(name)[0] == pytest.approx(expected, rel=1e-5)
    assert result.values("position_error")[0] < 0.3


def test_tuning_the_encoder_finds_the_points_from_few_labels_and_repeats_to_the_bit(tmp_path: Path) -> None:
    made = workspace(tmp_path)
    task = node(TUNED, support="encoders/e", labels=["50%"])
    result = tasks.read_result(w.run(made, task))
    untuned = tasks.read_result(
        w.run(made, node(TUNED | {"epochs": 1, "lr": 0.0, "head_lr": 0.0}, support="encoders/e"), "still")
    )
    for seed in (0, 1):
        tuned, mean = result.values("position_error", "50%")[seed], untuned.values("position_error")[seed]
        assert tuned < mean / 2 and 3 < mean < 5  # points of a 10 m square lie 3.8 m from its middle
    assert result.details["fits"][0]["rows"] == {"train": 36, "valid": 12, "test": 24}
    again = w.run(made, task, "again")
    assert pq.read_table(again / "predictions.parquet").equals(pq.read_table(made.task("q", "t") / "predictions.parquet"))


def test_the_saved_encoder_is_not_changed_by_tuning_a_copy(tmp_path: Path) -> None:
    made = workspace(tmp_path)
    file = made.encoder("e") / "seed=0" / encoders.WEIGHTS
    before = file.read_bytes()
    w.run(made, node(TUNED | {"epochs": 1}, support="encoders/e", seeds=[0]))
    assert file.read_bytes() == before


def test_only_the_coordinates_of_rows_that_teach_reach_the_fit(tmp_path: Path) -> None:
    """Other numbers at test points change the figures, not the predictions."""
    moved = [y + (50 if s == "test" else 0) for y, s in zip(media()[1][:, 1].tolist(), w.split_of(N))]
    plain, other = (
        w.run(m, node({"name": "position"})) for m in (workspace(tmp_path / "a"), workspace(tmp_path / "b", y=moved))
    )
    a, b = (tasks.read_predictions(out, 0, "all").score for out in (plain, other))
    assert a is not None and b is not None
    np.testing.assert_array_equal(a[:, :2], b[:, :2])
    assert tasks.read_result(other).values("position_error")[0] > 40


def test_a_column_that_is_not_the_label_first_or_lacks_a_number_is_refused(tmp_path: Path) -> None:
    made = workspace(tmp_path / "a")
    for columns, says in (
        (["y", "x"], "label is not 'y'"),
        (["x", "x"], "each coordinate once"),
        (["x", "trace"], "is no number"),
    ):
        with pytest.raises(UserError, match=says):
            w.run(made, node({"name": "position", "columns": columns}))
    lacking = [None if n == 0 else 1.0 for n in range(N)]
    with pytest.raises(UserError, match="'y' is no number in every labelled row"):
        w.run(workspace(tmp_path / "b", y=lacking), node({"name": "position"}))


def test_tuning_without_an_encoder_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs the encoder itself"):
        w.run(workspace(tmp_path), node(TUNED))


@pytest.mark.parametrize("wrong", [{"name": "position", "l2": [0.0]}, TUNED | {"epochs": 0}, TUNED | {"layer_decay": 0.0}])
def test_arguments_out_of_range_are_the_users_mistake(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        w.run(workspace(tmp_path), node(wrong, support="encoders/e"))
