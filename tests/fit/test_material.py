"""What a head may read beside features: the media, other columns and the encoder; labels of text and of steps; exhibits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from stages.common import atomic, registry, tasks
from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.tasks import Exhibit
from stages.common.workspace import Workspace
from stages.fit.core import labels as labelling
from stages.fit.core.head import Outcome, Problem
from tests.builders import image_corpus, write_corpus, write_features
from tests.extract.conftest import write_encoder
from tests.fit.workspace import embeddings, ids, node, run, split_of, workspace

Fit = Callable[[Problem], Outcome]


def head(monkeypatch: pytest.MonkeyPatch, fit: Fit, label: Literal["class", "text", "steps"] | None = None) -> None:
    """Makes the head `knn` this one."""

    class Stand:
        def __init__(self) -> None:
            self.label = label

        def fit(self, problem: Problem) -> Outcome:
            return fit(problem)

    make = registry.make
    monkeypatch.setattr(registry, "make", lambda k, p, *a, **o: Stand() if k == "head" else make(k, p, *a, **o))


@pytest.fixture
def pictures(tmp_path: Path) -> Workspace:
    """100 pictures as corpus `c`, features `f` of them, an encoder `e` of seeds 0 and 1."""
    made = Workspace(tmp_path)
    image_corpus(made.corpus("c"), n=100)
    write_encoder(made.encoder("e"), made.corpus("c"), seeds=(0, 1))
    names = [f"i{i:04d}" for i in range(100)]
    write_features(made.features("f"), names, split_of(100), {s: embeddings(100, seed=s) for s in (0, 1)})
    return made


def test_a_head_is_handed_a_fresh_encoder_of_its_seed_the_media_and_any_column(
    pictures: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def fit(problem: Problem) -> Outcome:
        one, two = problem.input.encoder(), problem.input.encoder()
        assert one is not two and not one.training
        seen.append(one.backbone.stem[0].weight.detach().clone())  # type: ignore[union-attr,index]
        some = problem.test.ids[[3, 0]]
        media = problem.input.media(some, one.frontend.contract)
        whole = dict(zip(problem.test.ids, problem.input.media(problem.test.ids, one.frontend.contract).data))
        assert torch.equal(media.data, torch.stack([whole[i] for i in some])) and media.lengths is None
        assert problem.input.values("id", some) == some.tolist()
        assert [len(part) for part in problem.input.media(problem.test.ids, one.frontend.contract).batches(9)] == [9, 9, 2]
        with pytest.raises(UserError, match="unknown column 'imag'"):
            problem.input.values("imag", some)
        return Outcome(values={"seen": 1.0}, items=2)

    head(monkeypatch, fit)
    run(pictures, node("knn", support="encoders/e", label=None, metrics=[], labels=["all"]))
    assert len(seen) == 2 and not torch.equal(*seen)


def test_a_head_that_wants_an_encoder_says_how_to_name_one(pictures: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    head(monkeypatch, lambda problem: Outcome(values={"x": float(problem.input.encoder().width)}))
    with pytest.raises(UserError, match="this head needs the encoder itself") as caught:
        run(pictures, node("knn", label=None, metrics=[], labels=["all"]))
    assert caught.value.do == "write `support: encoders/<name>` in the task"


def test_texts_are_predicted_judged_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = spoken(tmp_path)

    def fit(problem: Problem) -> Outcome:
        assert problem.train.target is None and problem.train.text is not None and None not in problem.train.text
        assert problem.test.text is not None
        return Outcome(text=np.array([t.upper() if i % 2 else t for i, t in enumerate(problem.test.text)], object))

    head(monkeypatch, fit, "text")
    names, find = registry.names, registry.find
    monkeypatch.setattr(registry, "names", lambda kind: [*names(kind), *(["same"] if kind == "metric" else [])])
    monkeypatch.setattr(registry, "find", lambda k, n, w="": same if (k, n) == ("metric", "same") else find(k, n, w))
    folder = run(made, node("knn", label="said", metrics=["same"], labels=["10%", "all"]))
    result = tasks.read_result(folder)
    assert {v.value for v in result.metrics} == {0.5} and {v.slice for v in result.metrics} == {"10%", "all"}
    read = tasks.read_predictions(folder, 0, "all")
    assert read.target[0] == "text 4" and read.prediction[1] == "TEXT 9" and read.score is None


LABEL, HIGHER_IS_BETTER = "text", True


def same(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    return float((target == prediction).mean())


def spoken(root: Path) -> Workspace:
    """120 items, each with a text (some null) and a class for each of three steps (two outputs)."""
    made = Workspace(root)
    rows: list[dict[str, object]] = [
        {
            "id": name,
            "split": split,
            "group": name,
            "said": None if i == 0 else f"text {i}",
            "board": None if i == 1 else [i % 3, 0, 1, -1, 2, 2][: 2 * (1 + i % 3)],
        }
        for i, (name, split) in enumerate(zip(ids(), split_of()))
    ]
    columns = [
        Column("said", "label", "text"),
        Column("board", "label", "steps", shape=[-1, 2], classes=["a", "b", "c"]),
    ]
    write_corpus(made.corpus("c"), columns, rows)
    write_features(made.features("f"), ids(), split_of(), {s: embeddings(seed=s) for s in (0, 1)})
    return made


def test_steps_are_joined_to_rows_by_their_index_and_end_where_the_item_does(tmp_path: Path) -> None:
    from stages.common.plan import TaskPlan
    from stages.common.schema import build
    from stages.fit.core.problems import Problems

    made = spoken(tmp_path)
    labels = labelling.read(made.corpus("c"), "board")
    assert labels.kind == "steps" and labels.classes == ["a", "b", "c"] and not labels.known[1]
    plan = build(TaskPlan, node("knn", label="board", system="s"), "task")
    problems = Problems(plan, made.features("f"), labels, torch.device("cpu"), made.corpus("c"), None)
    position, index = np.array([5, 5, 5, 1, 3]), np.array([0, 1, 2, 0, 1])
    target = problems._target(position, index)
    assert target is not None and target.tolist() == [[2, 0], [1, -1], [2, 2], [-1, -1], [-1, -1]]


def test_exhibits_are_written_beside_the_figures_and_named_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = workspace(tmp_path)

    def fit(problem: Problem) -> Outcome:
        shown = Exhibit("picture", "heat", f"png of {problem.seed}".encode(), "a map", ("row", "column"))
        return Outcome(values={"x": 1.0}, exhibits=[shown])

    head(monkeypatch, fit)
    folder = run(made, node("knn", label=None, metrics=[], labels=["all"]))
    assert (folder / "heat_all_seed1.png").read_bytes() == b"png of 1"
    found = json.loads((folder / "metrics.json").read_text())["exhibits"]
    assert [e["file"] for e in found] == ["heat_all_seed0.png", "heat_all_seed1.png"]
    assert found[0]["place"] == ["row", "column"] and "heat_all_seed0.png" in atomic.manifest(folder)["files"]
