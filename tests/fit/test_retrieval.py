"""Retrieval among names, by embeddings and by spelling, against loops over all pairs."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common import tasks
from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.workspace import Workspace
from tests.builders import write_corpus, write_features
from tests.fit import workspace as w

NAMES = [
    ("a/0", "train", "acute renal failure", 0),
    ("a/1", "train", "kidney failure, acute", 0),
    ("a/2", "test", "acute renal failur", 0),
    ("b/0", "train", "heart failure", 1),
    ("b/1", "test", "failure of the heart", 1),
    ("c/0", "train", "Ataxia", 2),
    ("c/1", "test", "ATAXIA", 2),
    ("c/2", "valid", "ataxy", 2),
    ("a/3", "valid", "renal failure", 0),
    ("d/0", "train", "flu", 3),
    ("d/1", "test", "influenza", 3),
]


def made(root: Path, x: np.ndarray | None = None, column: str = "text") -> Workspace:
    found = Workspace(root)
    columns = [Column("kind", "label", "class", classes=list("abcd")), Column("text", "meta", "string")]
    rows: list[dict[str, object]] = [
        {"id": i, "split": s, "group": i, "text": t if column == "text" else None, "kind": k} for i, s, t, k in NAMES
    ]
    write_corpus(found.corpus("c"), columns, rows)
    x = np.random.default_rng(0).normal(size=(len(NAMES), 5)).astype(np.float32) if x is None else x
    write_features(found.features("f"), [n[0] for n in NAMES], [n[1] for n in NAMES], {0: x})
    return found


def run(workspace: Workspace, head: dict[str, Any], **changes: Any) -> tuple[tasks.TaskResult, list[str]]:
    folder = w.run(workspace, w.node(head, seeds=[0], **changes))
    p = tasks.read_predictions(folder, 0, "all")
    by_id = dict(zip(p.ids, p.prediction, strict=True))
    return tasks.read_result(folder), ["abcd"[int(by_id[i])] for i, s, *_ in NAMES if s == "test"]


def expected(similarity: Any, dictionary: tuple[str, ...] = ("train",)) -> tuple[list[str], list[int]]:
    """The prediction of each query and the place of its own class, by sorting similarity(query, entry) over all entries."""
    bank = [n for split in dictionary for n in NAMES if n[1] == split]
    guess, places = [], []
    for query in [n for n in NAMES if n[1] == "test"]:
        order = sorted(bank, key=lambda entry: -similarity(query, entry))
        guess.append("abcd"[order[0][3]])
        places.append(1 + next(i for i, entry in enumerate(order) if entry[3] == query[3]))
    return guess, places


@pytest.mark.parametrize("dictionary", [("train",), ("train", "valid")])
def test_each_query_takes_the_class_of_the_nearest_name_by_cosine(tmp_path: Path, dictionary: tuple[str, ...]) -> None:
    x = np.random.default_rng(3).normal(size=(len(NAMES), 3)).astype(np.float32)
    x *= np.arange(1, len(NAMES) + 1, dtype=np.float32)[:, None]  # lengths do not matter
    vector = {n[0]: row.astype(float) for n, row in zip(NAMES, x, strict=True)}

    def cosine(a: tuple[str, ...], b: tuple[str, ...]) -> float:
        u, v = vector[a[0]], vector[b[0]]
        return float(u @ v) / math.sqrt(float(u @ u) * float(v @ v))

    guess, places = expected(cosine, dictionary)
    result, found = run(made(tmp_path, x), {"name": "retrieval", "dictionary": list(dictionary), "at": [2, 3, 50]})
    assert found == guess
    share = {k: sum(p <= k for p in places) / len(places) for k in (1, 2, 3, 50)}
    assert result.values("accuracy")[0] == pytest.approx(share[1])
    assert [result.values(f"accuracy_at_{k}")[0] for k in (2, 3, 50)] == pytest.approx([share[k] for k in (2, 3, 50)])
    assert 0 < share[2] < 1 and share[50] == 1 and {v.n for v in result.metrics} == {4}


def levenshtein(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def test_edit_distance_finds_the_name_that_a_table_of_distances_does(tmp_path: Path) -> None:
    def alike(a: tuple[str, ...], b: tuple[str, ...]) -> float:
        u, v = a[2].lower(), b[2].lower()
        return 1 - levenshtein(u, v) / max(len(u), len(v))

    guess, places = expected(alike)
    result, found = run(made(tmp_path), {"name": "string_match", "at": [2]})
    assert found == guess and found[0] == "a" and found[2] == "c"
    assert result.values("accuracy")[0] == pytest.approx(sum(p == 1 for p in places) / 4)
    assert result.values("accuracy_at_2")[0] == pytest.approx(sum(p <= 2 for p in places) / 4)


def grams(text: str, low: int, high: int) -> list[str]:
    """Of each word between two spaces, the pieces of low to high characters; a shorter word is one piece, once."""
    found = []
    for word in text.lower().split():
        padded = f" {word} "
        for n in range(low, high + 1):
            found += [padded[i : i + n] for i in range(max(1, len(padded) - n + 1))]
            if len(padded) <= n:
                break
    return found


def test_ngrams_find_the_name_that_weighted_counts_do(tmp_path: Path) -> None:
    bank = [grams(n[2], 2, 4) for n in NAMES if n[1] == "train"]
    rarity = {g: 1 + math.log((1 + len(bank)) / (1 + sum(g in b for b in bank))) for b in bank for g in b}

    def alike(a: tuple[str, ...], b: tuple[str, ...]) -> float:
        u, v = ({g: grams(n[2], 2, 4).count(g) * rarity[g] for g in grams(n[2], 2, 4) if g in rarity} for n in (a, b))
        norm = math.sqrt(sum(x * x for x in u.values()) * sum(x * x for x in v.values()))
        return sum(u[g] * v.get(g, 0.0) for g in u) / norm if norm else 0.0

    guess, places = expected(alike)
    result, found = run(made(tmp_path), {"name": "string_match", "by": "ngrams", "at": [2]})
    assert found == guess
    assert result.values("accuracy_at_2")[0] == pytest.approx(sum(p <= 2 for p in places) / 4)


def test_the_features_do_not_matter_to_spelling(tmp_path: Path) -> None:
    first = run(made(tmp_path / "a"), {"name": "string_match"})[1]
    assert run(made(tmp_path / "b", np.ones((len(NAMES), 2), np.float32)), {"name": "string_match"})[1] == first


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ({"name": "retrieval", "dictionary": []}, "name a split"),
        ({"name": "retrieval", "at": [0]}, "name a split"),
        ({"name": "retrieval", "dictionary": ["elsewhere"]}, "unknown split"),
        ({"name": "string_match", "ngrams": [3, 2]}, "shortest, longest"),
        ({"name": "string_match", "column": "absent"}, "unknown column"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tmp_path: Path, head: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        run(made(tmp_path), head)


def test_a_missing_text_and_a_missing_library_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="does not hold a text for every item"):
        run(made(tmp_path / "a", column="none"), {"name": "string_match"})
    for by, module in (("edit", "rapidfuzz"), ("ngrams", "sklearn.feature_extraction.text")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UserError, match="is not installed"):
            run(made(tmp_path / by), {"name": "string_match", "by": by})
