"""The head `abx` through its stage: columns read, splits joined, layers chosen, mistakes named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stages.common import atomic, features, tasks
from stages.common.errors import ContractError, UserError
from stages.common.schema import as_plain
from stages.common.workspace import Workspace
from stages.evaluate import direction
from tests.fit import workspace as w
from tests.oracles import abx as slow

N = 60
LAYERS = (0, 1)


def frames(layer: int) -> list[np.ndarray]:
    """Frames of every item; those of layer 1 tell its kind apart, those of layer 0 tell nothing."""
    rng = np.random.default_rng(layer)
    found = []
    for i, count in enumerate(np.random.default_rng(8).integers(1, 5, N)):
        x = rng.normal(size=(count, 4))
        found.append((x + 1.5 * layer * np.eye(4)[i % 3]).astype(np.float32))
    return found


def made(root: Path, **columns: Any) -> Workspace:
    """A corpus of 60 items of three kinds in six groups, and frame features of two layers, rows in no order."""
    found = Workspace(root)
    w.corpus(found.corpus("c"), n=N, **columns)
    folder, split = found.features("f"), w.split_of(N)
    (folder / "seed=0").mkdir(parents=True)
    counts: dict[str, int] = {}
    with features.writer(folder / "seed=0" / "part-00000.parquet", 4, "float32") as out:
        for layer in LAYERS:
            items = frames(layer)
            item = np.repeat(np.arange(N), [len(x) for x in items])
            index = np.concatenate([np.arange(len(x)) for x in items])
            order = np.random.default_rng(9).permutation(len(item))
            x, item, index = np.concatenate(items)[order], item[order], index[order].astype(np.int32)
            ids, splits = pa.array([w.ids(N)[i] for i in item]), pa.array([split[i] for i in item])
            out.write_batch(features.batch(ids, splits, item, index, layer, x))
            counts = {s: int((splits.to_numpy(zero_copy_only=False) == s).sum()) for s in ("train", "valid", "test")}
    atomic.write_json(
        folder / features.INFO, as_plain(features.FeaturesInfo("frame", list(LAYERS), 4, "float32", [0], counts, "e", "c"))
    )
    atomic.seal(folder)
    return found


def abx(**head: Any) -> dict[str, Any]:
    given = {"name": "abx", "on": "kind", "splits": ["train", "test"], **head}
    return w.node(given, metrics=[], label=None, seeds=[0])


def error(out: Path, seed: int = 0) -> float:
    return tasks.read_result(out).values("abx_error")[seed]


def expected(layer: int, by: tuple[str, ...], across: tuple[str, ...]) -> float:
    items = [
        {"frames": x, "on": i % 3, "group": f"g{i // 10}"}
        for i, (x, s) in enumerate(zip(frames(layer), w.split_of(N), strict=True))
        if s != "valid"
    ]
    return slow.hierarchical(slow.cells(items, "on", by, across, "angular", lambda i, k: False))


@pytest.mark.parametrize(("by", "across"), [(("group",), ()), ((), ("group",))])
def test_it_asks_about_the_items_of_its_splits_as_three_loops_do(
    by: tuple[str, ...], across: tuple[str, ...], tmp_path: Path
) -> None:
    out = w.run(made(tmp_path), abx(by=list(by), across=list(across)))
    assert error(out) == pytest.approx(expected(1, by, across), abs=1e-6)
    result = tasks.read_result(out)
    assert result.metrics[0].n == 48 and result.details["fits"][0]["triples"] > 0


def test_a_task_may_name_a_layer_and_takes_the_last_one_else(tmp_path: Path) -> None:
    given = made(tmp_path)
    last, first = (error(w.run(given, {**abx(), "layer": layer}, f"t{layer}")) for layer in (None, 0))
    assert last < 0.2 < 0.4 < first < 0.6
    assert error(w.run(given, {**abx(), "layer": 1}, "t1")) == last
    with pytest.raises(UserError, match="unknown layer '7'"):
        w.run(given, {**abx(), "layer": 7}, "t7")


def test_each_seed_draws_its_own_items_and_repeats_to_the_byte(tmp_path: Path) -> None:
    given = made(tmp_path)
    task = {**abx(max_cell=5), "seeds": [0, 1]}
    out = w.run(given, task)
    assert tasks.read_result(out).metrics[0].n == 15 and error(out) != error(out, 1)
    assert (
        atomic.manifest(w.run(given, task, "u"))["files"][tasks.PREDICTIONS] == atomic.manifest(out)["files"][tasks.PREDICTIONS]
    )
    assert error(w.run(given, task, "u")) == error(out)


def test_items_without_a_value_are_left_out(tmp_path: Path) -> None:
    out = w.run(made(tmp_path, kind=[None if i % 7 == 0 else i % 3 for i in range(N)]), abx())
    assert tasks.read_result(out).details["fits"][0]["left_out"] == sum(
        i % 7 == 0 and s != "valid" for i, s in enumerate(w.split_of(N))
    )


def test_a_smaller_error_is_the_better_one() -> None:
    assert direction.higher_is_better("abx_error") is False and direction.orientation("abx_error") == -1


def test_embeddings_of_clips_need_no_warping(tmp_path: Path) -> None:
    out = w.run(w.workspace(tmp_path, seeds=(0,)), abx(distance="euclidean", max_cell=10))
    assert 0 < error(out) < 0.3


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ({"by": ["kind"]}, "a column is named twice"),
        ({"max_cell": 1}, "max_cell is 2 or more"),
        ({"splits": []}, "name a split"),
        ({"by": ["nothing"]}, "unknown column"),
        ({"splits": ["dev"]}, "unknown split"),
        ({"by": ["note"]}, "there are no triples"),
    ],
)
def test_a_mistake_is_named(head: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        w.run(made(tmp_path), abx(**head))


def test_a_split_named_twice_has_two_rows_of_an_index(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="two rows of one index"):
        w.run(made(tmp_path), abx(splits=["test", "test"]))
