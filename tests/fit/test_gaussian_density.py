"""The head gaussian_density: scores, figures by sort of defect, and predictions from which evaluate can draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common import registry, tasks
from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.plan import TaskPlan
from stages.common.schema import Part, build
from stages.common.workspace import Workspace
from stages.evaluate.judged import Judged
from tests.builders import write_corpus, write_features
from tests.fit import workspace as w
from tests.oracles import cutpaste as slow

SORTS = ["Free", "Crack", "Fray"]


def made(root: Path, classes: list[str], n: int = 90) -> tuple[Workspace, np.ndarray, np.ndarray]:
    """A corpus of which a third, all of it normal, trains; x (n, 4), where cracks lie farther off than frays."""
    space, rng = Workspace(root), np.random.default_rng(0)
    split = ["train" if i % 3 == 0 else "valid" if i % 9 == 1 else "test" for i in range(n)]
    sort = np.array([0 if s != "test" else rng.integers(3) for s in split])
    x = (rng.normal(size=(n, 4)) + np.array([0.0, 1.5, 0.7])[sort, None] * np.array([1, -1, 1, 1])).astype(np.float32)
    odd = classes.index("yes")
    rows: list[dict[str, object]] = [
        {
            "id": f"i{i:04d}",
            "split": split[i],
            "group": f"g{i}",
            "defect": int(sort[i]),
            "defective": odd if sort[i] else 1 - odd,
        }
        for i in range(n)
    ]
    columns = [Column("defect", "label", "class", classes=SORTS), Column("defective", "label", "class", classes=classes)]
    write_corpus(space.corpus("c"), columns, rows)
    write_features(space.features("f"), [str(r["id"]) for r in rows], split, {0: x})
    return space, x, sort


def node(**head: Any) -> dict[str, Any]:
    return w.node({"name": "gaussian_density", **head}, metrics=[], label="defective", seeds=[0])


@pytest.mark.parametrize("classes", [["no", "yes"], ["yes", "zero"]])
def test_items_far_from_the_normal_ones_score_high_whichever_class_comes_first(tmp_path: Path, classes: list[str]) -> None:
    space, x, sort = made(tmp_path, classes)
    folder = w.run(space, node(shrinkage=0.1, by="defect"))
    result, predictions = tasks.read_result(folder), tasks.read_predictions(folder, 0, "all")
    test = np.array([i % 3 != 0 and i % 9 != 1 for i in range(90)])
    expected = slow.half_mahalanobis(x[::3].astype(float), x[test].astype(float), 0.1)
    odd = sort[test] > 0
    assert predictions.score is not None
    np.testing.assert_allclose(predictions.score[:, classes.index("yes")], expected, rtol=1e-4)
    assert result.values("auroc")[0] == pytest.approx(slow.area(odd, expected))
    for k in (1, 2):
        chosen = ~odd | (sort[test] == k)
        found = result.values(f"auroc_{SORTS[k].lower()}")[0]
        assert found == pytest.approx(slow.area(odd[chosen], expected[chosen]))
    valid = slow.half_mahalanobis(x[::3].astype(float), x[1::9].astype(float), 0.1)
    limit = np.quantile(valid, 0.95)
    assert np.array_equal(predictions.prediction == classes.index("yes"), expected > limit)
    counts = {"normal": int((~odd).sum()), **{SORTS[k]: int((sort[test] == k).sum()) for k in (1, 2)}}
    assert result.details["fits"][0]["items"] == counts


def test_evaluate_can_draw_its_auroc_from_the_predictions(tmp_path: Path) -> None:
    space, _, _ = made(tmp_path, ["no", "yes"])
    task = node()
    judged = Judged("t", build(TaskPlan, task, "t"), w.run(space, task))
    drawn = judged.replicates("auroc", "all", [0], 50)
    assert drawn is not None and 0.05 > float(np.std(drawn)) > 0
    assert abs(float(np.mean(drawn)) - float(judged.values("auroc", "all")[0] or 0)) < 0.03


def test_without_a_column_there_is_one_figure(tmp_path: Path) -> None:
    space, _, _ = made(tmp_path, ["no", "yes"])
    assert [v.name for v in tasks.read_result(w.run(space, node())).metrics] == ["auroc"]


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    space, _, _ = made(tmp_path, ["no", "yes"])
    with pytest.raises(UserError, match="defekt"):
        w.run(space, node(by="defekt"))


@pytest.mark.parametrize("wrong", [{"shrinkage": 1.5}, {"level": 0.0}])
def test_arguments_out_of_range_are_the_users_mistake(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError):
        registry.make("head", Part("gaussian_density", wrong))
