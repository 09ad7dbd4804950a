from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stages.common import atomic
from stages.common.errors import UserError
from tests.ingest.making import folder, images, ingest, picture, put, shards

FILES = images({"cat": 20, "dog": 20})


def test_the_same_plan_gives_the_same_bytes(tmp_path: Path) -> None:
    plan = folder(put(tmp_path / "f", FILES), duplicates={"exact": "report", "near": "report"})
    a, b = ingest(tmp_path / "a", plan), ingest(tmp_path / "b", plan)
    assert (a.digest, shards(a)) == (b.digest, shards(b))


def test_adding_items_moves_none_of_the_others(tmp_path: Path) -> None:
    plan = folder(put(tmp_path / "f", FILES))
    before = dict(
        zip(*(ingest(tmp_path / "a", plan).table(["id", "split"])[c].to_pylist() for c in ("id", "split")), strict=True)
    )
    put(tmp_path / "f", {f"cat/new{i}.png": picture(900 + i) for i in range(20)})
    after = dict(
        zip(*(ingest(tmp_path / "b", plan).table(["id", "split"])[c].to_pylist() for c in ("id", "split")), strict=True)
    )
    assert {k: after[k] for k in before} == before and len(after) == 60


def test_the_card_counts_what_the_shards_hold(tmp_path: Path) -> None:
    plan = folder(put(tmp_path / "f", FILES | {"cat/bad.png": b"x"}), licence="CC0", shard_mb=64)
    corpus = ingest(tmp_path / "w", plan)
    table = corpus.table(["id", "split", "group"])
    assert corpus.card.counts == {s: table["split"].to_pylist().count(s) for s in ("train", "test")}
    assert corpus.card.groups == corpus.card.counts
    assert corpus.card.totals == {"items": 40, "pixels": 40 * 12 * 16, "quarantined": 1}
    assert corpus.card.quarantined == [{"item": "cat/bad.png", "reason": "not an image of a known format"}]
    assert corpus.card.licence == "CC0" and atomic.damaged(corpus.folder) == []
    assert table["id"].to_pylist() == sorted(table["id"].to_pylist())


def test_rows_are_in_the_order_of_ids_across_batches_and_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stages.common import corpus as contract
    from stages.ingest.core import build, spill

    monkeypatch.setattr(spill, "_BATCH_ROWS", 7)
    monkeypatch.setattr(build, "_CHUNK", 5)
    monkeypatch.setattr(contract, "ROW_GROUP_BYTES", 2000)
    lines = [json.dumps({"key": f"k{(i * 37) % 101:03d}", "t": f"text {i} " * 20}) for i in range(101)]
    put(tmp_path / "f", {"t.jsonl": "\n".join(lines)})
    reader = {"name": "table", "id": "key", "media": {"t": {"kind": "text", "column": "t"}}}
    corpus = ingest(tmp_path / "w", folder(tmp_path / "f", reader=reader, labels={}, shard_mb=0))
    rows = {json.loads(line)["key"]: json.loads(line)["t"] for line in lines}
    table = corpus.table(["id", "t"])
    assert table["id"].to_pylist() == sorted(rows) and len(corpus.files) > 3
    assert dict(zip(table["id"].to_pylist(), table["t"].to_pylist(), strict=True)) == rows


def test_classes_are_ordered_by_size_where_they_are_numbers_and_by_letter_elsewhere(tmp_path: Path) -> None:
    names = {"f": ("10", "9", "1"), "g": ("b10", "b9", "a")}
    for folder_name, classes in names.items():
        put(tmp_path / folder_name, images(dict.fromkeys(classes, 4)))
    found = [ingest(tmp_path / f"w{f}", folder(tmp_path / f)).card.column("label").classes for f in names]
    assert found == [["1", "9", "10"], ["a", "b10", "b9"]]


def test_copies_are_reported_dropped_or_kept_as_the_plan_says(tmp_path: Path) -> None:
    files = FILES | {f"dog/copy{i}.png": FILES[f"cat/{i:03d}.png"] for i in range(5)}
    put(tmp_path / "f", files)
    reported = ingest(tmp_path / "r", folder(tmp_path / "f", duplicates={"exact": "report"}))
    assert (reported.card.duplicates["exact"]["pairs"], reported.count()) == (5, 45)
    dropped = ingest(tmp_path / "d", folder(tmp_path / "f", duplicates={"exact": "drop"}))
    assert (dropped.card.duplicates["exact"]["dropped"], dropped.count()) == (5, 40)
    kept = ingest(tmp_path / "k", folder(tmp_path / "f", duplicates={"exact": "keep"}))
    assert (kept.card.duplicates, kept.count()) == ({}, 45)


def test_near_copies_across_splits_are_found_in_a_recoded_image(tmp_path: Path) -> None:
    files = {f"train/a/{i}.jpg": picture(i, (64, 64), "JPEG") for i in range(10)}
    files |= {f"test/b/{i}.png": picture(i + (5 if i else 0), (64, 64)) for i in range(6)}
    plan = folder(put(tmp_path / "f", files), split={"by": "declared"}, duplicates={"near": "report"})
    found = ingest(tmp_path / "w", plan).card.duplicates["near"]
    assert found["cross_split_pairs"] == found["pairs"] == 5
    assert {(e["a"], e["b"]) for e in found["examples"]} == {
        ("test/b/0.png", "train/a/0.jpg"),
        *((f"test/b/{i}.png", f"train/a/{i + 5}.jpg") for i in (1, 2, 3, 4)),
    }
    dropped = ingest(tmp_path / "d", plan | {"duplicates": {"near": "drop"}})
    assert dropped.card.counts == {"train": 5, "test": 6}


def test_limits_come_after_the_splits_so_a_small_corpus_lies_within_the_large_one(tmp_path: Path) -> None:
    put(tmp_path / "f", FILES)
    split = {"by": "hash", "fractions": {"train": 0.5, "test": 0.5}, "stratify": "label"}
    large = ingest(tmp_path / "l", folder(tmp_path / "f", split=split))
    small = ingest(tmp_path / "s", folder(tmp_path / "f", split=split, limit={"train": 8}))
    of = dict(zip(large.table(["id"])["id"].to_pylist(), large.table(["split"])["split"].to_pylist(), strict=True))
    rows = small.table(["id", "split", "label"]).to_pylist()
    assert all(of[r["id"]] == r["split"] for r in rows) and small.card.counts == {"train": 8, "test": 20}
    assert [r["label"] for r in rows if r["split"] == "train"].count(0) == 4


def test_the_record_has_counts_timings_and_a_warning_for_what_is_in_quarantine(tmp_path: Path) -> None:
    ingest(tmp_path / "w", folder(put(tmp_path / "f", FILES | {"cat/bad.png": b"x"})))
    record = json.loads((tmp_path / "w/data/records/ingest/c/record.json").read_text())
    assert record["details"]["totals"]["quarantined"] == 1 and record["details"]["counts"]["train"] > 0
    assert {"fetch_s", "read_s", "split_s", "write_s"} <= set(record["timings"])
    assert record["throughput"]["items_per_s"] > 0
    assert record["warnings"] == ["1 items are in quarantine, such as cat/bad.png: not an image of a known format"]
    assert not [p for p in (tmp_path / "w/.prelude/resume").rglob("*") if p.is_file()]


def test_a_failed_ingest_leaves_the_earlier_corpus_whole(tmp_path: Path) -> None:
    plan = folder(put(tmp_path / "f", FILES))
    before = ingest(tmp_path / "w", plan).digest
    with pytest.raises(UserError):
        ingest(tmp_path / "w", plan | {"labels": {"colour": {"kind": "class"}}})
    assert atomic.manifest(tmp_path / "w/data/corpora/c")["digest"] == before
    assert [p.name for p in (tmp_path / "w/data/corpora").iterdir()] == ["c"]


def test_a_users_mistake_ends_the_command_with_code_2_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps({"corpora": {"c": {"title": "t", **folder(tmp_path / "nowhere")}}}))
    done = subprocess.run(
        [sys.executable, "-m", "stages.ingest", "c", "--plan", str(tmp_path / "p.json")], capture_output=True, text=True
    )
    assert done.returncode == 2 and "does not exist" in done.stderr and "Traceback" not in done.stderr


def test_the_stage_imports_neither_torch_nor_what_it_does_not_use() -> None:
    code = (
        "import sys, stages.ingest.__main__\n"
        "from stages.ingest.core import build, gather\n"
        "from stages.common import registry\n"
        "for kind in ('source', 'reader', 'simulator'):\n"
        "    for name in registry.names(kind): registry.find(kind, name)\n"
        "print(sorted({'torch', 'sklearn', 'scipy', 'polars', 'pandas', 'mlflow', 'prefect', 'dvc', 'hydra', 'requests',"
        " 'fsspec', 'PIL', 'soundfile'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
