"""Corpora of names: unseen names of known terms, ontologies in two parts, mentions in abstracts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import UserError
from tests.ingest.making import ingest, put

DECLARED = {"split": {"by": "declared"}}
LABELS = {"concept": {"kind": "class"}, "apart": {"kind": "class"}, "scope": {"kind": "class"}}


def ontology(terms: int = 60, synonyms: int = 5) -> str:
    """Term D:t has the name `name t`, synonyms of which the even ones share the word `name`, and a definition."""
    stanzas = []
    for t in range(terms):
        lines = ["[Term]", f"id: D:{t:03d}", f"name: name t{t}", f'def: "What \\"t{t}\\" is." [x:y]']
        lines += [f'synonym: "{"name" if s % 2 == 0 else "other"} u{t}v{s}" EXACT []' for s in range(synonyms)]
        stanzas.append("\n".join(lines))
    return "format-version: 1.2\n\n" + "\n\n".join(stanzas) + "\n"


def plan(path: Path, reader: str, labels: dict[str, Any] = LABELS, **arguments: Any) -> dict[str, Any]:
    source = {"name": "folder", "path": str(path)}
    return {"source": source, "reader": {"name": reader, **arguments}, "labels": labels, "quarantine_share": 0.5, **DECLARED}


def rows(tmp_path: Path, name: str = "w", **arguments: Any) -> list[dict[str, Any]]:
    given = plan(put(tmp_path / "f", {"a.obo": ontology()}), "obo", **arguments)
    corpus = ingest(tmp_path / name, given)
    classes = corpus.card.column("concept").classes or []
    found: list[dict[str, Any]] = corpus.table(["id", "split", "group", "text", *LABELS]).to_pylist()
    return [r | {k: None if r[k] is None else classes[r[k]] for k in ("concept", "apart")} for r in found]


def test_unseen_names_are_shares_of_the_synonyms_and_every_term_keeps_a_name_in_train(tmp_path: Path) -> None:
    found = rows(tmp_path, unseen={"valid": 0.1, "test": 0.3})
    synonyms = [r for r in found if "/" in r["id"]]
    assert len(found) == 360 and len(synonyms) == 300
    shares = {s: sum(r["split"] == s for r in synonyms) / 300 for s in ("valid", "test")}
    assert shares["valid"] == pytest.approx(0.1, abs=0.06) and shares["test"] == pytest.approx(0.3, abs=0.09)
    assert all(r["split"] == "train" for r in found if "/" not in r["id"])
    assert {r["concept"] for r in found if r["split"] == "train"} == {r["concept"] for r in found}
    assert all(r["group"] == r["id"] for r in found)


def test_the_order_in_which_a_plan_lists_splits_changes_nothing(tmp_path: Path) -> None:
    first = rows(tmp_path, "a", unseen={"valid": 0.1, "test": 0.3})
    assert rows(tmp_path, "b", unseen={"test": 0.3, "valid": 0.1}) == first


def test_a_name_is_apart_if_it_shares_no_word_with_the_train_names_of_its_term(tmp_path: Path) -> None:
    found = rows(tmp_path, unseen={"valid": 0.1, "test": 0.3})
    for row in found:
        words = {w for r in found if r["concept"] == row["concept"] and r["split"] == "train" for w in r["text"].split()}
        apart = row["split"] == "train" or not words & set(row["text"].split())
        assert (row["apart"] == row["concept"]) == apart and (row["apart"] is not None) == apart
    unseen = [r["apart"] is None for r in found if r["split"] == "test"]
    assert any(unseen) and not all(unseen)


def test_two_ranges_part_an_ontology_into_whole_terms(tmp_path: Path) -> None:
    low, high = (rows(tmp_path, n, unseen={"test": 0.5}, take=t) for n, t in (("a", [0.0, 0.7]), ("b", [0.7, 1.0])))
    first, second = ({r["concept"] for r in part} for part in (low, high))
    assert not first & second and len(first | second) == 60 and 25 < len(first) < 55
    whole = {r["id"]: r["split"] for r in rows(tmp_path, "c", unseen={"test": 0.5})}
    assert {r["id"]: r["split"] for r in low + high} == whole  # where a name lies does not depend on what else is taken


def test_definitions_lie_in_a_split_of_their_own_without_a_concept(tmp_path: Path) -> None:
    found = rows(tmp_path, unseen={"test": 0.3}, definitions="text")
    texts = [r for r in found if r["split"] == "text"]
    assert len(texts) == 60 and all(r["concept"] is None and r["apart"] is None for r in texts)
    assert texts[0]["text"] == 'What "t0" is.' and texts[0]["id"] == "D:000/definition"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"take": [0.5, 0.5]}, "no range"),
        ({"take": [0.0, 1.5]}, "no range"),
        ({"unseen": {"test": 0.7, "valid": 0.7}}, "no shares"),
        ({"unseen": {"train": 0.5}}, "no shares"),
        ({"unseen": {"test": -0.1}}, "no shares"),
        ({"definitions": "text"}, "split of its own"),
    ],
)
def test_arguments_that_say_nothing_are_refused(tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        rows(tmp_path, **wrong)


TRAIN = """1|t|A title.
1|a|The abstract.
1\t0\t5\tRenal failure\tSpecificDisease\tD1
1\t9\t15\trenal failure\tModifier\tD1
1\t0\t5\tataxia\tSpecificDisease\t D2
1\t0\t5\tataxia and more\tCompositeMention\tD2|D3
1\t0\t5\tbroken

"""
TEST = """2|t|Another.
2\t0\t5\tKidney failure\tSpecificDisease\tD1
2\t0\t5\tRENAL FAILURE\tSpecificDisease\tD1
2\t0\t5\tflu\tDiseaseClass\tD9
2\t0\t5\tsomething\tSpecificDisease\t-1
"""
FILES = {"test": ["*b.txt"], "train": ["*a.txt"]}  # in whatever order


def mentions(tmp_path: Path, train: str = TRAIN, files: dict[str, list[str]] = FILES) -> Any:
    labels = {"concept": {"kind": "class"}, "type": {"kind": "class"}}
    return ingest(tmp_path / "w", plan(put(tmp_path / "f", {"a.txt": train, "b.txt": TEST}), "pubtator", labels, files=files))


def test_a_mention_is_an_item_once_in_the_first_split_that_spells_it_so(tmp_path: Path) -> None:
    corpus = mentions(tmp_path)
    found = {r["text"]: (r["id"], r["split"]) for r in corpus.table(["id", "split", "text"]).to_pylist()}
    assert found == {
        "Renal failure": ("D1/000", "train"),
        "Kidney failure": ("D1/001", "test"),
        "ataxia": ("D2/000", "train"),
        "flu": ("D9/000", "unlinked"),
    }
    assert corpus.card.column("concept").classes == ["D1", "D2", "D9"]
    assert corpus.card.quarantined == [{"item": "a.txt, line 7", "reason": "a mention without all its fields"}]


def test_mentions_need_a_train_split_and_utf_8(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file gives names"):
        mentions(tmp_path, files={"test": ["*b.txt"]})
    (tmp_path / "g").mkdir()
    (tmp_path / "g/a.txt").write_bytes(b"1\t0\t5\t\xff\tx\tD1\n")
    with pytest.raises(UserError, match="not UTF-8 at byte 6"):
        ingest(tmp_path / "v", plan(tmp_path / "g", "pubtator", {"concept": {"kind": "class"}}, files=FILES))
