"""Heads by themselves: what they choose, how they scale, and that they equal plain references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from stages.common import registry, tasks
from stages.common.schema import Part
from stages.common.workspace import Workspace
from stages.fit.core.head import Outcome, Problem, Rows
from stages.fit.heads.feature_map import principal
from stages.measures.alignment import alignment
from stages.measures.cka import cka
from stages.measures.lidar import lidar
from stages.measures.rankme import rankme
from tests.builders import write_features
from tests.fit import workspace as w
from tests.oracles import linear as oracle
from tests.oracles import measures as slow


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def rows(x: np.ndarray, target: np.ndarray) -> Rows:
    kind = np.int64 if target.dtype.kind == "i" else np.float64
    names = np.array([f"i{i}" for i in range(len(x))], object)
    return Rows(
        names, np.zeros(len(x), np.int32), torch.from_numpy(x.astype(np.float32)), torch.from_numpy(target.astype(kind))
    )


def problem(seed: int = 0, n: int = 90, d: int = 6, number: bool = False, classes: int = 3) -> Problem:
    rng = np.random.default_rng(seed)
    parts = []
    directions = np.random.default_rng(99).normal(size=(classes, d))
    for size in (n, n // 3, n // 3):
        label = rng.integers(0, classes, size)
        x = rng.normal(size=(size, d)) + directions[label]
        parts.append(rows(x, x @ directions[0] + 0.5 * rng.normal(size=size) if number else label))
    return Problem(0, "all", *parts, [] if number else [str(c) for c in range(classes)])


def fit(name: str, given: Problem, **args: object) -> Outcome:
    found: Outcome = registry.make("head", Part(name, args)).fit(given)
    return found


def test_the_probe_keeps_the_strength_with_the_highest_accuracy_on_valid() -> None:
    given = problem()
    fitted = fit("linear_probe", given)
    accuracy = fitted.details["valid_accuracy"]
    strengths = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0]
    assert fitted.details["l2"] == max(l2 for l2, a in zip(strengths, accuracy, strict=True) if a == max(accuracy))
    for l2, a in zip(strengths, accuracy, strict=True):
        alone = fit("linear_probe", Problem(0, "all", given.train, given.valid, given.valid, given.classes), l2=[l2])
        assert float((alone.prediction == given.valid.labels).double().mean()) == pytest.approx(a, abs=0.04)


def test_the_probe_never_looks_at_test_labels() -> None:
    given = problem()
    blind = Problem(0, "all", given.train, given.valid, Rows(given.test.ids, given.test.index, given.test.x), given.classes)
    assert torch.equal(fit("linear_probe", blind).score, fit("linear_probe", given).score)


def test_the_probe_ignores_shift_and_scale_of_each_column() -> None:
    given = problem()
    scale, shift = torch.logspace(-3, 3, 6), torch.arange(6.0)

    def moved(r: Rows) -> Rows:
        return Rows(r.ids, r.index, r.x * scale + shift, r.target)

    other = Problem(0, "all", moved(given.train), moved(given.valid), moved(given.test), given.classes)
    torch.testing.assert_close(fit("linear_probe", other).score, fit("linear_probe", given).score, atol=1e-3, rtol=0)


def test_a_class_that_nothing_is_labelled_with_gets_no_score() -> None:
    given = problem()
    parts = (given.train, given.valid, given.test)
    apart = [Rows(r.ids, r.index, r.x, r.labels + (r.labels > 0)) for r in parts]  # classes 0, 2, 3
    for head in ("linear_probe", "knn"):
        fitted = fit(head, Problem(0, "all", *apart, ["0", "never", "1", "2"]))
        assert torch.equal(fitted.score[:, [0, 2, 3]], fit(head, given).score)
        assert not fitted.score[:, 1].any()
        assert torch.equal(fitted.score.argmax(1), fitted.prediction)


def test_features_that_do_not_vary_give_the_most_frequent_class() -> None:
    given = problem()
    flat = [Rows(r.ids, r.index, torch.ones_like(r.x), r.target) for r in (given.train, given.valid, given.test)]
    fitted = fit("linear_probe", Problem(0, "all", *flat, given.classes))
    assert (fitted.prediction == given.train.labels.mode().values).all()


def test_neighbours_score_as_the_definition_says_and_k_may_be_chosen_on_valid() -> None:
    given = problem()
    bank, labels = given.train.x.numpy().astype(float), given.train.labels.tolist()
    expected = slow.knn_scores(bank, labels, given.test.x.numpy().astype(float), 20, 3, 0.07)
    np.testing.assert_allclose(fit("knn", given).score, expected, atol=1e-4)
    swept = fit("knn", given, k=[1, 5, 45]).details
    accuracy = swept["valid_accuracy"]
    assert swept["k"] == max(k for k, a in zip([1, 5, 45], accuracy, strict=True) if a == max(accuracy))


@pytest.mark.parametrize("shape", [(90, 6), (24, 40)])
def test_ridge_equals_its_normal_equations_and_scikit_learn(shape: tuple[int, int]) -> None:
    from sklearn.linear_model import Ridge

    given = problem(n=shape[0], d=shape[1], number=True)
    train, test = given.train.x.double().numpy(), given.test.x.double().numpy()
    y = given.train.labels.numpy()
    z, z_test = oracle.standardise(train, train), oracle.standardise(test, train)
    for l2 in (1e-3, 1.0):
        prediction = fit("ridge", given, l2=[l2]).prediction
        weights, bias = oracle.ridge(z, y, l2)
        np.testing.assert_allclose(prediction, z_test @ weights + bias, atol=1e-8)
        np.testing.assert_allclose(prediction, Ridge(alpha=l2 * len(z)).fit(z, y).predict(z_test), atol=1e-8)


def test_ridge_keeps_the_strength_with_the_lowest_error_on_valid() -> None:
    fitted = fit("ridge", problem(n=24, d=40, number=True))
    strengths, error = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0], fitted.details["valid_mse"]
    assert fitted.details["l2"] == strengths[error.index(min(error))]
    assert 1e-6 < fitted.details["l2"] < 100


def test_measures_are_those_of_the_train_features(tmp_path: Path) -> None:
    made = w.workspace(tmp_path)
    task = w.node({"name": "measures", "names": ["rankme"]}, metrics=[], label=None)
    result = tasks.read_result(w.run(made, task))
    train = [i for i, s in enumerate(w.split_of()) if s == "train"]
    for seed in (0, 1):
        assert result.values("rankme")[seed] == pytest.approx(
            rankme(torch.from_numpy(w.embeddings(seed=seed)[train])), rel=1e-9
        )
    assert [v.n for v in result.metrics] == [72, 72]


def test_measures_of_views_gather_the_copies_of_each_item(tmp_path: Path) -> None:
    made = w.workspace(tmp_path)
    rng = np.random.default_rng(0)
    x = (w.embeddings()[:, None] + 0.1 * rng.normal(size=(120, 4, 8))).astype(np.float32)
    w.copies(made.features("v"), x, w.split_of())
    head = {"name": "measures", "names": ["lidar", "alignment", "rankme"], "split": "test"}
    result = tasks.read_result(w.run(made, w.node(head, features="v", metrics=[], label=None, seeds=[0])))
    test = torch.from_numpy(x[[i for i, s in enumerate(w.split_of()) if s == "test"]])
    assert result.values("lidar")[0] == pytest.approx(lidar(test), rel=1e-9)
    assert result.values("alignment")[0] == pytest.approx(alignment(test), rel=1e-9)
    assert result.values("rankme")[0] == pytest.approx(rankme(test[:, 0]), rel=1e-9)


def test_cka_compares_the_same_items_of_the_support_features(tmp_path: Path) -> None:
    made = w.workspace(tmp_path)
    order = np.random.default_rng(0).permutation(120)
    other = {s: np.hstack([w.embeddings(seed=s), w.embeddings(seed=s + 5)])[order] for s in (0, 1)}
    write_features(made.features("g"), [w.ids()[i] for i in order], [w.split_of()[i] for i in order], other)
    task = w.node({"name": "measures", "names": ["cka"]}, metrics=[], label=None, support="features/g")
    result = tasks.read_result(w.run(made, task))
    train = [i for i, s in enumerate(w.split_of()) if s == "train"]
    one, both = w.embeddings(), np.hstack([w.embeddings(), w.embeddings(seed=5)])
    expected = cka(torch.from_numpy(one[train]), torch.from_numpy(both[train]))
    assert result.values("cka")[0] == pytest.approx(expected, rel=1e-9)


def test_measures_limit_items_by_hash_alike_for_every_seed_and_order(tmp_path: Path) -> None:
    made = Workspace(tmp_path)
    w.corpus(made.corpus("c"))
    order = np.random.default_rng(0).permutation(120)
    write_features(made.features("f"), w.ids(), w.split_of(), {0: w.embeddings()})
    write_features(
        made.features("g"), [w.ids()[i] for i in order], [w.split_of()[i] for i in order], {0: w.embeddings()[order]}
    )
    values = []
    for f in ("f", "g"):
        task = w.node({"name": "measures", "names": ["rankme"], "rows": 30}, features=f, metrics=[], label=None)
        result = tasks.read_result(w.run(made, task, f"t{f}"))
        assert {v.n for v in result.metrics} == {30}
        values += result.values("rankme").values()
    np.testing.assert_allclose(values, values[0], rtol=1e-9)


def test_an_undefined_measure_is_written_as_none_and_warned_of(tmp_path: Path) -> None:
    made = w.workspace(tmp_path)
    task = w.node({"name": "measures", "names": ["alpha_req"], "rows": 4}, metrics=[], label=None)
    assert [v.value for v in tasks.read_result(w.run(made, task)).metrics] == [None, None]
    assert "alpha_req is not defined" in (made.record("fit", "t") / "record.json").read_text()


def test_principal_components_have_fixed_signs_and_the_variance_of_the_spectrum() -> None:
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3, 0.1, 2, 0.5])
    place, share = principal(x)
    values = np.linalg.eigvalsh(np.cov(x.double().numpy().T))[::-1]
    np.testing.assert_allclose(place.var(0), values[:2], rtol=1e-6)
    np.testing.assert_allclose(share, values[:2] / values.sum(), rtol=1e-6)
    loadings = torch.linalg.lstsq(x.double() - x.double().mean(0), place).solution
    assert (loadings.gather(0, loadings.abs().argmax(0, keepdim=True)) > 0).all()
    torch.testing.assert_close(principal(x.flip(0))[0].flip(0), place)


def test_a_map_of_constant_or_one_dimensional_features_lies_on_a_point_or_a_line() -> None:
    assert not principal(torch.ones(5, 4))[0].any()
    place, share = principal(torch.arange(5.0)[:, None])
    assert not place[:, 1].any()
    assert share == pytest.approx([1.0, 0.0])


def test_a_map_may_be_made_by_tsne_and_limited_by_hash(tmp_path: Path) -> None:
    made = w.workspace(tmp_path, seeds=(0,))
    part = {"name": "feature_map", "method": "tsne", "rows": 12, "perplexity": 3.0}
    task = w.node(part, metrics=[], label="size", seeds=[0])
    first = (w.run(made, task) / "map.parquet").read_bytes()
    assert (w.run(made, task) / "map.parquet").read_bytes() == first
    table = pq.read_table(made.task("q", "t") / "map.parquet").to_pylist()
    assert len(table) == 12
    assert [r["label"] for r in table] == [float(int(r["id"][1:]) % 7) for r in table]


def test_the_task_groups_compose_and_their_support_follows_the_features() -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from stages.common.plan import Plan
    from stages.common.schema import build

    params = Path(__file__).resolve().parents[2] / "params"
    files = sorted(p.stem for p in (params / "task").glob("*.yaml"))
    own = {"linear_probe", "knn", "ridge", "measures", "feature_map"}
    assert own <= set(files)
    with initialize_config_dir(str(params), version_base=None):
        for name in sorted(own):
            given = [f"+task@tasks.x={name}", "tasks.x.system=q", "tasks.x.corpus=c", "tasks.x.features=f"]
            given += [] if name in ("measures", "feature_map") else ["tasks.x.label=kind"]
            plain = OmegaConf.to_container(compose(overrides=given), resolve=True)
            task = build(Plan, plain, "plan").tasks["x"]
            assert task.support == "features/f"
            registry.check("head", task.head, name)
            assert registry.make("head", task.head).label == {"ridge": "number", "knn": "class", "linear_probe": "class"}.get(
                name
            )


def test_rows_of_one_item_are_drawn_together_and_counted_once(tmp_path: Path) -> None:
    made = w.workspace(tmp_path)
    rng = np.random.default_rng(0)
    x = (w.embeddings()[:, None] + 0.1 * rng.normal(size=(120, 4, 8))).astype(np.float32)
    w.copies(made.features("v"), x, w.split_of())
    out = w.run(made, w.node(features="v", labels=["2"], seeds=[0]))
    result = tasks.read_result(out)
    assert result.details["fits"][0]["rows"] == {"train": 4 * 6, "valid": 4 * 6, "test": 4 * 24}
    assert [v.n for v in result.metrics] == [24]
    p = tasks.read_predictions(out, 0, "2")
    assert p.index is not None
    assert set(zip(p.ids, p.index.tolist(), strict=True)) == {
        (i, c) for i, s in zip(w.ids(), w.split_of(), strict=True) if s == "test" for c in range(4)
    }
