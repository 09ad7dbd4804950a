"""`dimensions:` of a task: any head sees those dimensions of the embeddings alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.common import tasks
from stages.common.errors import UserError
from stages.common.workspace import Workspace
from tests.builders import write_features
from tests.fit import workspace as w


def made(root: Path, x: np.ndarray) -> Workspace:
    place = Workspace(root)
    w.corpus(place.corpus("c"))
    write_features(place.features("f"), w.ids(), w.split_of(), {0: x})
    return place


def scores(place: Workspace, key: str, **changes: object) -> np.ndarray:
    folder = w.run(place, w.node("linear_probe", seeds=[0], **changes), key)
    found = tasks.read_predictions(folder, 0, "all").score
    assert found is not None
    return np.asarray(found)


def test_what_lies_outside_changes_nothing_and_what_lies_within_does(tmp_path: Path) -> None:
    x = w.embeddings()
    other = x.copy()
    other[:, :1], other[:, 4:] = 7.0, -x[:, 4:]
    first, second = made(tmp_path / "a", x), made(tmp_path / "b", other)
    inner = scores(first, "inner", dimensions=[1, 4])
    np.testing.assert_array_equal(inner, scores(second, "inner", dimensions=[1, 4]))
    np.testing.assert_array_equal(inner, scores(made(tmp_path / "c", x[:, 1:4]), "alone"))
    assert np.abs(inner - scores(first, "other", dimensions=[0, 4])).max() > 1e-3


@pytest.mark.parametrize("wrong", [[3, 3], [-1, 2], [0, 9]])
def test_dimensions_that_are_not_there_are_refused(wrong: list[int], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no dimensions {wrong[0]} to {wrong[1]} among 8"):
        scores(made(tmp_path, w.embeddings()), "t", dimensions=wrong)
