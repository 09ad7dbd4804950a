"""Pair regression: rotations found where they can be, figures against loops."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from stages.common import tasks
from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.workspace import Workspace
from stages.fit.heads.pair_regression import PairRegression, Views, r2
from tests.builders import split_of, write_corpus, write_features
from tests.fit import workspace as w
from tests.oracles import sie as slow

N, OBJECTS = 400, 4
HEAD: dict[str, Any] = {"name": "pair_regression", "hidden": 48, "epochs": 60, "batch_size": 32, "partners": 3, "lr": 3e-3}


def poses(n: int = N) -> np.ndarray:
    angles = np.random.default_rng(0).uniform(-45, 45, (n, 3))
    return np.roll(Rotation.from_euler("xyz", angles, degrees=True).as_quat(), 1, axis=1).astype(np.float32)


def made(root: Path, x: np.ndarray, pose: np.ndarray | None = None, group: Any = lambda i: i % OBJECTS) -> Workspace:
    place = Workspace(root)
    columns = [
        Column("object", "label", "class", classes=[f"o{i}" for i in range(N)]),
        Column("pose", "meta", "series", shape=[4, 1]),
        Column("image", "media", "pixels", shape=[4, 4, 3]),
    ]
    pose = poses() if pose is None else pose
    rows: list[dict[str, object]] = [
        {
            "id": f"i{i:04d}",
            "split": split_of(i),
            "group": f"i{i}",
            "object": group(i),
            "pose": pose[i],
            "image": np.full(48, i % 250, np.uint8),
        }
        for i in range(N)
    ]
    write_corpus(place.corpus("c"), columns, rows)
    write_features(place.features("f"), [f"i{i:04d}" for i in range(N)], [split_of(i) for i in range(N)], {0: x, 1: x})
    return place


def run(place: Workspace, head: dict[str, Any] | None = None, **changes: Any) -> tasks.TaskResult:
    node = {"label": None, "metrics": [], "labels": ["all"], "seeds": [0]} | changes
    return tasks.read_result(w.run(place, w.node(HEAD | (head or {}), **node)))


def figures(found: tasks.TaskResult, seed: int = 0) -> dict[str, float]:
    return {v.name: v.value for v in found.metrics if v.seed == seed and v.value is not None}


def test_features_that_hold_the_pose_give_the_rotation_and_noise_does_not(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(size=(N, 4)).astype(np.float32)
    place = made(tmp_path, np.concatenate([noise, 5 * poses()], 1))
    knows = figures(run(place, dimensions=[4, 8]))
    assert knows["rotation_r2"] > 0.8 and knows["rotation_error"] < 25 and knows["mrr"] > 0.4
    (tmp_path / "data/tasks/q/t").rename(tmp_path / "kept")
    guesses = figures(run(place, dimensions=[0, 4]))
    assert guesses["rotation_r2"] < 0.1 and guesses["hit_at_5"] < 0.6
    assert guesses["hit_at_1"] <= guesses["hit_at_5"] <= 1


def test_pairs_are_of_one_object_never_of_a_view_with_itself_and_evenly_drawn() -> None:
    group = torch.tensor([0, 1, 0, 1, 0, 1, 1])
    views = Views(torch.zeros(7, 1), torch.zeros(7, 4), group, torch.arange(7))
    pairs = views.pairs(torch.Generator().manual_seed(0), 3000)
    assert torch.equal(group[pairs[0]], group[pairs[1]]) and not (pairs[0] == pairs[1]).any()
    counts = torch.bincount(pairs[1][pairs[0] == 1], minlength=7)
    assert counts[[0, 1, 2, 4]].tolist() == [0, 0, 0, 0] and int(counts[[3, 5, 6]].min()) > 900


def test_r2_and_places_are_what_loops_find() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(30, 4)), rng.normal(size=(30, 4))
    assert r2(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(slow.r2(a, b))
    turns = Rotation.random(9, random_state=0)
    pose = torch.from_numpy(np.roll(turns.as_quat(), 1, 1))
    group = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 0])
    views = Views(torch.zeros(9, 1), pose, group, torch.arange(9))
    pairs = views.pairs(torch.Generator().manual_seed(0), 2)
    guess = Rotation.random(pairs.shape[1], random_state=1)
    expected = []
    for i, (x, y) in enumerate(pairs.T.tolist()):
        rivals = [v for v in range(9) if v != x and group[v] == group[x]]
        off = {v: (guess[i].inv() * turns[v] * turns[x].inv()).magnitude() for v in rivals}
        expected.append(sum(off[v] < off[y] - 1e-9 for v in rivals))
    assert views.places(torch.from_numpy(np.roll(guess.as_quat(), 1, 1)), pairs).tolist() == expected
    assert not views.places(views.turn(pairs), pairs).any()  # the true rotation finds its view


def test_the_shown_pairs_are_pictures_of_the_corpus_in_the_first_seed(tmp_path: Path) -> None:
    found = run(made(tmp_path, 5 * poses()), head={"epochs": 2, "shown": 2}, seeds=[0, 1])
    assert sorted({e.place for e in found.exhibits}) == [
        (f"pair {i}", c) for i in (1, 2) for c in ("first view", "second view", "view found")
    ]
    assert {e.seed for e in found.exhibits} == {0}
    for shown in found.exhibits:
        number = int(shown.caption.split(",")[0][1:])
        content = (tmp_path / "data/tasks/q/t" / shown.file).read_bytes()
        assert np.asarray(Image.open(io.BytesIO(content))).tolist() == np.full((4, 4, 3), number % 250).tolist()
    assert figures(found, 0) != figures(found, 1)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    for wrong in ({"epochs": 0}, {"lr": 0.0}, {"partners": 0}, {"shown": -1}):
        with pytest.raises(UserError):
            PairRegression(**wrong)
    with pytest.raises(ContractError, match="length is not 1"):
        run(made(tmp_path / "a", poses(), pose=2 * poses()))
    with pytest.raises(UserError, match="no object has two views"):
        run(made(tmp_path / "b", poses(), group=lambda i: i))
