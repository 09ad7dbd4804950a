"""Error rates of texts against the table of edits."""

from __future__ import annotations

import numpy as np
import pytest

from stages.common import registry
from stages.metrics.core.metric import metric
from tests.oracles import wav2vec2 as slow

UNITS = {"cer": list, "wer": str.split}


def texts(*values: str) -> np.ndarray:
    return np.array(values, object)


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("seed", range(5))
def test_they_equal_the_table_of_edits(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def drawn(least: int) -> np.ndarray:
        return texts(*(" ".join("".join(rng.choice(list("ab1"), 2)) for _ in range(rng.integers(least, 5))) for _ in range(8)))

    target, prediction = drawn(1), drawn(0)
    split = UNITS[name]
    edits = sum(slow.edits(split(t), split(p)) for t, p in zip(target, prediction))
    expected = edits / sum(len(split(t)) for t in target)
    assert metric(name).function(target, prediction, None) == pytest.approx(expected)


@pytest.mark.parametrize("name", UNITS)
def test_limits_and_direction(name: str) -> None:
    chosen = metric(name)
    assert (chosen.label, chosen.higher_is_better) == ("text", False)
    target = texts("a b", "c")
    assert chosen.function(target, target, None) == 0
    assert chosen.function(target, texts("", ""), None) == 1
    assert chosen.function(target, texts("x y z x y z", "x y z x y z"), None) > 1  # insertions count
    assert np.isnan(chosen.function(texts(), texts(), None))
    assert np.isnan(chosen.function(texts("", ""), texts("a", ""), None))


@pytest.mark.parametrize("name", UNITS)
def test_a_repeated_and_shuffled_sample_is_judged_by_its_rows_alone(name: str) -> None:
    target, prediction = texts("12 3", "4", "5 6"), texts("1 3", "", "5 6 6")
    twice = np.random.default_rng(0).permutation(np.repeat(np.arange(3), 2))
    function = metric(name).function
    assert function(target[twice], prediction[twice], None) == pytest.approx(function(target, prediction, None))


def test_both_are_registered() -> None:
    assert set(UNITS) <= set(registry.names("metric"))
