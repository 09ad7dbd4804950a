"""ABX errors against three plain loops, closed forms and what may not matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from stages.common.errors import ContractError, UserError
from stages.fit.core.abx import scores, warping
from stages.fit.core.abx.cells import Attributes, thinned
from stages.fit.core.abx.distances import DISTANCES
from stages.fit.core.abx.scores import Scored, collapsed, score
from stages.fit.core.abx.warping import Sequences, align
from tests.oracles import abx as slow

Items = list[slow.Item]
TASKS: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    ((), ()),
    (("s",), ()),
    ((), ("s",)),
    (("c",), ("s",)),
    (("c", "s"), ()),
]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def make(seed: int, n: int = 18, whole: bool = False, longest: int = 5, dims: int = 3) -> Items:
    """Items of 1 to `longest` frames; `whole`: of a few whole numbers, so that frames, paths and distances tie."""
    rng = np.random.default_rng(seed)
    items: Items = []
    for _ in range(n):
        shape = (int(rng.integers(1, longest + 1)), dims)
        frames = rng.integers(0, 3, shape).astype(float) if whole else rng.normal(size=shape)
        items.append({"frames": frames, "on": int(rng.integers(3)), "s": int(rng.integers(3)), "c": int(rng.integers(2))})
    return items


def sequences(items: Items, distance: str, dtype: torch.dtype = torch.float64) -> Sequences:
    x = torch.from_numpy(np.concatenate([i["frames"] for i in items])).to(dtype)
    return Sequences.of(x, torch.tensor([len(i["frames"]) for i in items]), DISTANCES[distance])


def attributes(items: Items, by: tuple[str, ...], across: tuple[str, ...]) -> Attributes:
    return Attributes.of([i["on"] for i in items], [[i[c] for i in items] for c in by], [[i[c] for i in items] for c in across])


def fast(items: Items, by: tuple[str, ...], across: tuple[str, ...], distance: str = "euclidean", **more: Any) -> Scored:
    return score(sequences(items, distance), attributes(items, by, across), DISTANCES[distance], **more)


def swaps(items: Items, across: tuple[str, ...], distance: str) -> Callable[[int, int], bool]:
    """Whether d(i, k) is taken as d(k, i): of a pair, the smaller side stands in the rows, then the shorter, then the first."""

    def rank(i: int) -> tuple[Any, ...]:
        return (tuple(items[i][c] for c in across), len(items[i]["frames"]), i)

    return lambda i, k: DISTANCES[distance].symmetric and rank(k) < rank(i)


def named(found: Scored, by: tuple[str, ...], across: tuple[str, ...]) -> dict[tuple[int, ...], tuple[float, int]]:
    return {(c.a, c.b, *c.by, *c.sides): (c.error, c.triples) for c in found.cells}


@pytest.mark.parametrize(("by", "across"), TASKS)
@pytest.mark.parametrize("distance", ["euclidean", "angular", "identical"])
@pytest.mark.parametrize("whole", [False, True])
def test_every_random_task_agrees_with_three_loops(
    by: tuple[str, ...], across: tuple[str, ...], distance: str, whole: bool
) -> None:
    for seed in range(2):
        items = make(seed, whole=whole)
        wanted = slow.cells(items, "on", by, across, distance, swaps(items, across, distance))
        found = fast(items, by, across, distance)
        assert len(found.cells) == len(wanted) and sum(c.triples for c in found.cells) == sum(n for _, n in wanted.values())
        assert collapsed(found.cells, "hierarchical") == pytest.approx(slow.hierarchical(wanted), abs=1e-12)
        assert collapsed(found.cells, "weighted") == pytest.approx(slow.weighted(wanted), abs=1e-12)


def test_random_tasks_of_whole_numbers_are_full_of_ties() -> None:
    items = make(0, whole=True)
    values = list(slow.cells(items, "on", (), (), "identical", swaps(items, (), "identical")).values())
    assert any(error * n % 1 == 0.5 for error, n in values)


@pytest.mark.parametrize("across", [(), ("s",)])
def test_a_distance_that_has_a_direction_goes_from_a_to_x(across: tuple[str, ...]) -> None:
    items = make(3)
    for item in items:
        item["frames"] = np.exp(item["frames"]) / np.exp(item["frames"]).sum(1, keepdims=True)
    wanted = slow.cells(items, "on", (), across, "kl", lambda i, k: False)
    found = fast(items, (), across, "kl")
    assert collapsed(found.cells, "weighted") == pytest.approx(slow.weighted(wanted), abs=1e-12)
    turned = slow.cells(items, "on", (), across, "kl", lambda i, k: True)
    assert slow.weighted(turned) != pytest.approx(slow.weighted(wanted), abs=1e-3)


@pytest.mark.parametrize(("by", "across"), TASKS)
def test_chunks_of_values_and_tiles_of_items_change_nothing(
    by: tuple[str, ...], across: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = make(5, n=30)
    at_once = fast(items, by, across)
    monkeypatch.setattr(scores, "_CHUNK", 4)
    monkeypatch.setattr(warping, "_TILE", (2, 3))
    apart = fast(items, by, across)
    assert sorted(named(apart, by, across)) == sorted(named(at_once, by, across))
    for key, (error, n) in named(at_once, by, across).items():
        assert named(apart, by, across)[key] == (pytest.approx(error, abs=1e-12), n)


@pytest.mark.parametrize("chunk", [4, 1000])
def test_each_pair_is_compared_once(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "_CHUNK", chunk)
    items = make(6, n=30)
    assert fast(items, (), ()).pairs == 30 * 29 // 2
    counts = np.bincount([i["s"] for i in items])
    assert fast(items, ("s",), ()).pairs == sum(n * (n - 1) // 2 for n in counts)
    assert fast(items, (), ("s",)).pairs == (30**2 - sum(counts**2)) // 2


# Closed forms


def clips(x: np.ndarray, on: np.ndarray, **more: Any) -> float:
    items = [{"frames": row[None], "on": int(value), "s": 0, "c": 0} for row, value in zip(x, on, strict=True)]
    return collapsed(fast(items, (), (), **more).cells, "hierarchical")


def test_items_that_are_all_the_same_are_at_chance_exactly() -> None:
    x = np.random.default_rng(0).normal(size=64)
    assert clips(np.tile(x, (20, 1)), np.arange(20) % 2, distance="angular") == 0.5


def test_labels_without_a_bearing_on_the_features_are_near_chance() -> None:
    rng = np.random.default_rng(1)
    assert clips(rng.normal(size=(300, 5)), rng.integers(0, 2, 300)) == pytest.approx(0.5, abs=0.02)


def test_values_far_apart_are_never_confused() -> None:
    on = np.arange(30) % 3
    x = np.random.default_rng(2).normal(size=(30, 4)) + 100 * np.eye(4)[on]
    assert clips(x, on) == 0.0
    assert clips(-np.eye(2)[np.arange(8) % 2] + 1e-3, np.arange(8) // 4) > 0.4


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_two_gaussians_on_a_line_have_the_error_of_the_integral(shift: float) -> None:
    """a, x ~ N(0, 1), b ~ N(shift, 1): |b - x| < |a - x| where (a - b)(a + b - 2x) > 0, of independent normal factors."""
    n = 500
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(size=n), rng.normal(size=n) + shift])[:, None]
    normal = torch.distributions.Normal(0.0, 1.0)
    difference, total = (float(normal.cdf(torch.tensor(shift / s))) for s in (2**0.5, 6**0.5))
    expected = difference * (1 - total) + (1 - difference) * total
    assert clips(x, np.arange(2 * n) // n) == pytest.approx(expected, abs=0.03)


def test_a_stretched_copy_lies_at_no_distance() -> None:
    frames = np.random.default_rng(4).normal(size=(5, 3))
    items: Items = [{"frames": f} for f in (frames, np.repeat(frames, 2, 0), np.repeat(frames, [1, 3, 1, 2, 1], 0))]
    index = torch.arange(3)
    assert warping.warped(sequences(items, "angular"), index, index.clone(), DISTANCES["angular"]).abs().max() < 1e-7


def test_the_path_is_counted_by_its_cells_and_ties_go_to_the_diagonal() -> None:
    def one(cost: list[list[float]]) -> float:
        height, width = len(cost), len(cost[0])
        bordered = torch.zeros(height + 1, 1, width + 1, 1, dtype=torch.float64)
        bordered[1:, 0, 1:, 0] = torch.tensor(cost, dtype=torch.float64)
        return float(align(bordered, torch.tensor([height]), torch.tensor([width])))

    assert one([[1, 1], [1, 1]]) == 1.0  # two cells, not three
    assert one([[1, 0], [9, 1]]) == pytest.approx(2 / 2)  # by the diagonal (2 over 2 cells), not round the corner (2 over 3)
    assert one([[1, 0.5, 9], [9, 9, 1]]) == pytest.approx(2.5 / 3)
    assert one([[2.0]]) == 2.0 and one([[1, 2, 3]]) == 2.0


def test_ties_between_left_and_above_go_to_the_left() -> None:
    """Costs of few whole numbers, of which many paths are the cheapest; turned, left and above change places."""
    cost = np.random.default_rng(5).integers(0, 2, (8, 20, 7, 10)).astype(float)
    bordered = torch.zeros(9, 20, 8, 10, dtype=torch.float64)
    bordered[1:, :, 1:] = torch.from_numpy(cost)
    rows, columns = torch.arange(20) % 3 + 6, torch.arange(10) % 2 + 6
    found = align(bordered, rows, columns)
    turned = 0
    for p in range(20):
        for q in range(10):
            one = cost[: rows[p], p, : columns[q], q]
            assert float(found[p, q]) == pytest.approx(slow.warp(one.tolist()), abs=1e-12)
            turned += slow.warp(one.tolist()) != pytest.approx(slow.warp(one.T.tolist()), abs=1e-12)
    assert turned > 3


def test_single_precision_is_off_by_no_more_than_rounding() -> None:
    items = make(7, n=40, longest=12, dims=16)
    full, half = (
        collapsed(score(sequences(items, "angular", kind), attributes(items, (), ()), DISTANCES["angular"]).cells, "weighted")
        for kind in (torch.float64, torch.float32)
    )
    assert full == pytest.approx(half, abs=2e-4) and full != 0.5


# Choosing


def test_a_cell_is_thinned_to_its_share_by_id_and_seed_alone() -> None:
    items = make(8, n=60)
    chosen = attributes(items, ("s",), ())
    ids = np.array([f"i{i}" for i in range(60)])
    kept = thinned(chosen, ids, 0, 2)
    groups = [(i["on"], i["s"]) for i in items]
    for group in set(groups):
        of_group = np.array([g == group for g in groups])
        assert kept[of_group].sum() == min(2, of_group.sum())
    order = np.random.default_rng(0).permutation(60)
    assert (thinned(chosen.at(order), ids[order], 0, 2) == kept[order]).all()
    assert (thinned(chosen, ids, 1, 2) != kept).any() and thinned(chosen, ids, 0, None).all()


def test_at_most_so_many_sides_of_x_are_taken_for_each_side_of_a() -> None:
    items = make(9, n=60)
    found = fast(items, (), ("s",), most_across=1)
    sides = {c.sides for c in found.cells}
    assert len(sides) == 3 and {ab for ab, _ in sides} == {0, 1, 2}
    whole = named(fast(items, (), ("s",)), (), ("s",))
    assert all(whole[key][1] == value[1] for key, value in named(found, (), ("s",)).items())


def test_x_differs_in_every_column_of_across() -> None:
    items = make(10, n=40)
    wanted = slow.cells(items, "on", (), ("s", "c"), "identical", swaps(items, ("s", "c"), "identical"))
    found = fast(items, (), ("s", "c"), "identical")
    assert sum(c.triples for c in found.cells) == sum(n for _, n in wanted.values())
    assert collapsed(found.cells, "weighted") == pytest.approx(slow.weighted(wanted), abs=1e-12)


def test_one_value_only_and_rows_that_are_no_probabilities_are_refused() -> None:
    items = make(11)
    with pytest.raises(ContractError, match="rows are no probabilities"):
        fast(items, (), (), "kl")
    with pytest.raises(UserError, match="one value of `on`"):
        Attributes.of([1, 1], [], [])
    with pytest.raises(UserError, match="one value of a column of `across`"):
        Attributes.of([0, 1], [], [["a", "a"]])
