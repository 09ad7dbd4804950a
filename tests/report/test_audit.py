"""The leakage audit: a planted leak of each kind is found, by what real ingests recorded of their items."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from stages.common import contents
from stages.common.errors import ContractError
from stages.common.workspace import Workspace
from stages.report import page
from stages.report.audit import HEADS, Audit, Seen, Trained, audit
from stages.report.collect import Found, Node, collect, folders
from stages.report.lineage import Lineage
from tests.ingest.making import folder, images, ingest, put

FILES = images({"cat": 30, "dog": 30})
SPLIT = {"split": {"by": "hash", "fractions": {"train": 0.6, "test": 0.4}}}


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpora: `one`; `same`, its files split in another way; `other`, half of its pictures under other names; `apart`."""
    root = tmp_path_factory.mktemp("audit")
    put(root / "one", FILES)
    put(root / "other", {f"x/{i}.png": data for i, data in enumerate(FILES.values()) if i % 2})
    put(root / "apart", {f"x/{i}.png": data for i, data in enumerate(images({"a": 70}).values()) if i >= 60})
    ingest(root / "w", folder(root / "one", **SPLIT), "one")
    salted = {"split": {**SPLIT["split"], "salt": 7}}
    ingest(root / "w", folder(root / "one", **salted), "same")
    for name in ("other", "apart"):
        ingest(root / "w", folder(root / name, labels={}, **SPLIT), name)
    return root / "w"


def node(stage: str, key: str, reads: list[str], path: str, **plan: Any) -> Node:
    return Node(stage, key, {"plan": plan, "inputs": [{"path": p} for p in reads], "outputs": [{"path": path}]})


def encoder(corpus: str, *more: str, key: str = "e", **plan: Any) -> Node:
    trained = {"corpus": corpus, "splits": ["train"], "epochs": 1, "objective": {"name": "simclr"}}
    return node("pretrain", key, [f"data/corpora/{corpus}", *more], f"data/encoders/{key}", **trained | plan)


def task(corpus: str, key: str = "t") -> Node:
    return node("fit", key, ["data/encoders/e", f"data/corpora/{corpus}"], f"data/tasks/s/{key}", corpus=corpus)


def audited(root: Path, *nodes: Node) -> Audit:
    found = [*collect(folders(Workspace(root))).nodes, *nodes]
    return audit(found, Lineage(found))


def rows(root: Path, corpus: str, split: str) -> set[bytes]:
    """Contents of a split, by hand."""
    table = contents.read(root / "data" / "records" / "ingest" / corpus / contents.NAME)
    assert table is not None
    return {c for c, s in zip(table["content"].to_pylist(), table["split"].to_pylist(), strict=True) if s == split}


def test_a_sound_plan_has_no_leak_and_says_how_much_was_compared(ingested: Path) -> None:
    assert audited(ingested, encoder("one"), task("one")) == Audit([], 2, [], {"one": None})
    assert audited(ingested, encoder("apart"), task("one")).found == []


def test_pictures_of_the_test_split_under_other_names_in_another_corpus_are_found(ingested: Path) -> None:
    seen = audited(ingested, encoder("other"), task("one")).leaks
    both = rows(ingested, "one", "test") & rows(ingested, "other", "train")
    assert seen == [Seen("one", Trained("e", "other", ("train",)), len(both), 0, 0, len(rows(ingested, "one", "test")), ["t"])]
    assert 0 < len(both) < len(rows(ingested, "one", "test"))


def test_items_and_groups_of_the_same_files_split_in_another_way_are_found(ingested: Path) -> None:
    (seen,) = audited(ingested, encoder("same"), task("one"), task("one", "u")).leaks
    both = len(rows(ingested, "one", "test") & rows(ingested, "same", "train"))
    assert (seen.content, seen.id, seen.group, seen.tasks) == (both, both, both, ["t", "u"]) and both > 0


def test_a_test_split_that_is_trained_on_is_found_whole_and_shown_as_declared_where_it_is(ingested: Path) -> None:
    of = len(rows(ingested, "one", "test"))
    (seen,) = audited(ingested, encoder("one", splits=["train", "test"]), task("one")).leaks
    assert (seen.content, seen.of) == (of, of)
    declared = audited(ingested, encoder("one", splits=["train", "test"], transductive=True), task("one"))
    assert [s.content for s in declared.found] == [of] and declared.leaks == []


def test_what_the_teacher_was_trained_on_counts_and_what_an_untrained_encoder_was_given_does_not(ingested: Path) -> None:
    teacher = encoder("same", key="teacher")
    (seen,) = audited(ingested, teacher, encoder("one", "data/encoders/teacher"), task("one")).leaks
    assert seen.by.who == "teacher"
    assert audited(ingested, encoder("same", epochs=0), task("one")).leaks == []
    assert audited(ingested, encoder("same", objective={"name": "none"}), task("one")).leaks == []


def test_copies_between_the_splits_of_a_tasks_own_corpus_are_seen_by_its_heads(tmp_path: Path) -> None:
    copied = {f"cat/copy{i}.png": data for i, data in enumerate(FILES.values())}
    ingest(tmp_path / "w", folder(put(tmp_path / "f", FILES | copied), **SPLIT), "twice")
    found = audited(tmp_path / "w", encoder("twice", epochs=0), task("twice")).leaks
    both = rows(tmp_path / "w", "twice", "test") & rows(tmp_path / "w", "twice", "train")
    assert [(s.by.who, s.content > 0) for s in found] == [(HEADS, True)] and found[0].content >= len(both) > 0


@pytest.mark.parametrize(("policy", "expected"), [("report", True), ("drop", False)])
def test_near_copies_across_the_splits_are_told_where_the_ingest_looked_for_them(
    tmp_path: Path, policy: str, expected: bool
) -> None:
    """Each picture a second time, recoded: other bytes, the same look."""
    recoded = {f"cat/copy{i}.png": recode(data) for i, data in enumerate(FILES.values())}
    plan = folder(put(tmp_path / "f", FILES | recoded), **SPLIT, duplicates={"near": policy})
    ingest(tmp_path / "w", plan, "twice")
    found = audited(tmp_path / "w", encoder("twice", epochs=0), task("twice"))
    assert found.leaks == [] and found.near["twice"] is not None
    assert found.near["twice"] > 20 if expected else found.near["twice"] == 0


def recode(data: bytes) -> bytes:
    out = io.BytesIO()
    Picture.open(io.BytesIO(data)).save(out, "PNG", compress_level=0)
    return out.getvalue()


def test_a_corpus_without_a_record_of_its_items_is_named(ingested: Path) -> None:
    assert audited(ingested, encoder("gone"), task("one")) == Audit([], 1, ["gone"], {"one": None})


def test_the_page_shows_what_was_found(ingested: Path) -> None:
    nodes = [*collect(folders(Workspace(ingested))).nodes, encoder("same"), task("one")]
    html = page.render(Found({}, {}, nodes))
    assert "Leakage audit" in html and "<td>same: train</td>" in html
    assert "None was found." in page.render(Found({}, {}, [*nodes[:-2], encoder("one"), task("one")]))


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    (tmp_path / contents.NAME).write_bytes(b"PAR1")
    with pytest.raises(ContractError, match="cannot be read"):
        contents.read(tmp_path / contents.NAME)
    assert contents.read(tmp_path / "none.parquet") is None


def test_the_run_names_leaks_and_no_declared_ones(tmp_path: Path) -> None:
    from flows import leaks

    seen = {"corpus": "one", "content": 3, "id": 0, "group": 2, "of": 24, "tasks": ["t"]}
    by = {"who": "e", "corpus": "same", "splits": ["train"], "declared": False}
    workspace = Workspace(tmp_path)
    assert list(leaks.lines(workspace)) == []
    workspace.page.mkdir(parents=True)
    told = {
        "found": [{**seen, "by": by}, {**seen, "by": {**by, "declared": True}}],
        "near": {"one": 2, "two": 0, "three": None},
    }
    (workspace.page / "audit.json").write_text(json.dumps(told))
    assert list(leaks.lines(workspace)) == [
        "leak: of 24 test items of one, e saw 3 with the same media, 2 of the same group, trained on same (train)",
        "near copies: 2 pairs of one that look alike, one in the test and one in another split",
    ]
