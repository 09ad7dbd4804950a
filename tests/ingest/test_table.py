from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.common.errors import UserError
from tests.ingest.making import HALVES, ingest, picture, put, tone

ROWS = [{"key": f"r{i}", "who": f"w{i // 2}", "smiles": "C" * (i + 1), "y": i % 2, "score": i / 2} for i in range(8)]
MOLECULE = {"smiles": {"kind": "molecule", "column": "smiles"}}
LABELS = {"toxic": {"kind": "class"}, "score": {"kind": "number", "unit": "1"}}


def plan(path: Path, wanted: Any = None, /, **reader: Any) -> dict[str, Any]:
    given = {"name": "table", **reader}
    return {
        "source": {"name": "folder", "path": str(path)},
        "reader": given,
        "labels": wanted or {},
        **HALVES,
        "quarantine_share": 0.5,
    }


def csv(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    return "\n".join([delimiter.join(rows[0]), *(delimiter.join(str(v) for v in r.values()) for r in rows)]) + "\n"


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


FORMATS = {
    "t.csv": csv(ROWS).encode(),
    "bom.csv": b"\xef\xbb\xbf" + csv(ROWS).encode(),
    "t.csv.gz": gzip.compress(csv(ROWS).encode()),
    "t.tsv": csv(ROWS, "\t").encode(),
    "t.jsonl": "\n".join(json.dumps(r) for r in ROWS).encode(),
    "t.parquet": parquet(pa.Table.from_pylist(ROWS)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_the_same_table_gives_the_same_corpus(tmp_path: Path, name: str) -> None:
    put(tmp_path / "f", {name: FORMATS[name]})
    corpus = ingest(tmp_path / "w", plan(tmp_path / "f", LABELS, id="key", group="who", media=MOLECULE, labels={"toxic": "y"}))
    rows = corpus.table(["id", "group", "toxic", "score", "smiles"]).to_pylist()
    assert rows == [
        {"id": r["key"], "group": r["who"], "toxic": r["y"], "score": r["score"], "smiles": r["smiles"]} for r in ROWS
    ]


def test_rows_without_an_id_column_are_named_by_file_and_number(tmp_path: Path) -> None:
    put(tmp_path / "f", {"in/t.csv": FORMATS["t.csv"]})
    corpus = ingest(tmp_path / "w", plan(tmp_path / "f", media=MOLECULE))
    assert corpus.table(["id"])["id"].to_pylist() == [f"in/t-{i:08d}" for i in range(8)]


def test_whole_numbers_that_a_table_made_floats_are_ids_without_a_fraction(tmp_path: Path) -> None:
    table = pa.table({"key": [float(i) for i in range(8)], "who": [i // 2 + 0.5 for i in range(8)], "smiles": ["C"] * 8})
    put(tmp_path / "f", {"t.parquet": parquet(table)})
    corpus = ingest(tmp_path / "w", plan(tmp_path / "f", id="key", group="who", media=MOLECULE))
    assert corpus.table(["id", "group"]).slice(0, 2).to_pylist() == [{"id": "0", "group": "0.5"}, {"id": "1", "group": "0.5"}]


def test_a_split_column_and_a_list_of_values_declare_splits(tmp_path: Path) -> None:
    rows = [r | {"part": ("dev", "fold1", "fold2")[i % 3]} for i, r in enumerate(ROWS)]
    put(tmp_path / "f", {"t.csv": csv(rows)})
    splits = {"train": ["fold1", "fold2"], "test": ["dev"]}
    declared = plan(tmp_path / "f", media=MOLECULE, split="part", splits=splits) | {"split": {"by": "declared"}}
    assert ingest(tmp_path / "w", declared).card.counts == {"train": 5, "test": 3}


def test_arrays_become_series_pixels_points_and_tokens(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "eeg": rng.normal(size=(6, 20, 3)),
        "picture": rng.integers(0, 256, (6, 4, 5)),
        "cloud": rng.normal(size=(6, 9, 3)),
        "words": rng.integers(0, 99, (6, 7)),
        "y": np.arange(6) % 2,
    }
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    put(tmp_path / "f", {"t.npz": out.getvalue()})
    media = {
        "eeg": {"kind": "series", "column": "eeg", "rate": 100},
        "picture": {"kind": "pixels", "column": "picture"},
        "cloud": {"kind": "points", "column": "cloud"},
        "words": {"kind": "tokens", "column": "words"},
    }
    corpus = ingest(tmp_path / "w", plan(tmp_path / "f", {"y": {"kind": "class"}}, media=media))
    assert {c.name: (c.shape, c.rate) for c in corpus.card.columns if c.role == "media"} == {
        "eeg": ([-1, 3], 100),
        "picture": ([4, 5, 1], None),
        "cloud": ([-1, 3], None),
        "words": (None, None),
    }
    row = corpus.table(["eeg", "picture", "cloud", "words", "y"]).to_pylist()[2]
    assert np.allclose(row["eeg"], arrays["eeg"][2].reshape(-1), atol=1e-6) and row["words"] == arrays["words"][2].tolist()
    assert row["picture"] == arrays["picture"][2].reshape(-1).tolist() and row["y"] == 0


def test_columns_side_by_side_become_a_series_or_a_picture(tmp_path: Path) -> None:
    rows = [{f"p{j}": (i + j) % 256 for j in range(6)} for i in range(6)]
    put(tmp_path / "f", {"t.csv": csv(rows)})
    names = [f"p{j}" for j in range(6)]
    media = {"a": {"kind": "pixels", "columns": names, "shape": [2, 3, 1]}, "b": {"kind": "series", "columns": names}}
    corpus = ingest(tmp_path / "w", plan(tmp_path / "f", media=media))
    assert corpus.card.column("a").shape == [2, 3, 1] and corpus.card.column("b").shape == [-1, 1]
    assert corpus.table(["b"])["b"].to_pylist()[1] == [1, 2, 3, 4, 5, 6]


def test_images_sounds_events_and_edges_in_parquet_are_read(tmp_path: Path) -> None:
    rows = [
        {
            "i": {"bytes": picture(n), "path": None},
            "w": tone(n),
            "e": [{"time": 0.0, "code": "a", "value": 1.0}],
            "n": [str(n)],
        }
        for n in range(4)
    ]
    put(tmp_path / "f", {"t.parquet": parquet(pa.Table.from_pylist(rows))})
    kinds = {"i": "image", "w": "waveform", "e": "events", "n": "edges"}
    corpus = ingest(tmp_path / "w", plan(tmp_path / "f", media={c: {"kind": k, "column": c} for c, k in kinds.items()}))
    row = corpus.table(["i", "w", "e", "n"]).to_pylist()[3]
    assert (row["i"]["bytes"], row["w"]["bytes"]) == (picture(3), tone(3))
    assert row["e"] == [{"time": 0.0, "code": "a", "value": 1.0}] and row["n"] == ["3"]
    assert corpus.card.column("w").rate == 8000


def test_broken_rows_are_quarantined_with_file_and_line(tmp_path: Path) -> None:
    lines = csv(ROWS).splitlines()
    put(tmp_path / "f", {"t.csv": "\n".join([*lines, "r8,w9", "r9,w9,,1,2", ",w9,C,1,2", "r11,,CC,1,2", "r12,w9,CO,1,many"])})
    reader = {"id": "key", "group": "who", "media": MOLECULE, "labels": {"toxic": "y"}}
    corpus = ingest(tmp_path / "w", plan(tmp_path / "f", LABELS, **reader))
    assert [(q["item"], q["reason"]) for q in corpus.card.quarantined] == [
        ("t.csv:10", "2 cells, where the header has 5"),
        ("r9", "empty smiles"),
        ("t-00000010", "no id"),
        ("r11", "no group"),
        ("r12", "label score is 'many', not a number"),
    ]


def test_objects_in_a_numpy_archive_are_never_unpickled(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.savez(out, a=np.array([{"x": 1}], dtype=object))
    put(tmp_path / "f", {"t.npz": out.getvalue()})
    with pytest.raises(UserError, match="no readable archive of plain arrays"):
        ingest(tmp_path / "w", plan(tmp_path / "f", media={"a": {"kind": "series", "column": "a"}}))


def test_steps_are_kept_row_by_row_and_what_is_no_class_of_theirs_is_quarantined(tmp_path: Path) -> None:
    lines = [{"key": str(i), "text": f"t {i}", "board": [[i % 3, -1], [0, 2]][: 1 + i % 2]} for i in range(20)]
    lines[3]["board"] = [[0, 9]]
    lines[4]["board"] = [0, 1, 2]
    lines[5]["board"] = None
    put(tmp_path / "f", {"a.jsonl": "\n".join(json.dumps(line) for line in lines)})
    labels = {"board": {"kind": "steps", "width": 2, "classes": ["e", "m", "y"]}}
    reader = {"id": "key", "media": {"text": {"column": "text", "kind": "text"}}, "labels": {"board": "board"}}
    corpus = ingest(tmp_path / "w", {**plan(tmp_path / "f", labels, **reader), "quarantine_share": 0.2})
    column = corpus.card.column("board")
    assert (column.kind, column.shape, column.classes) == ("steps", [-1, 2], ["e", "m", "y"])
    rows = {r["id"]: r["board"] for r in corpus.table(["id", "board"]).to_pylist()}
    assert rows["1"] == [1, -1, 0, 2] and rows["2"] == [2, -1] and rows["5"] is None
    assert {q["item"]: q["reason"] for q in corpus.card.quarantined} == {
        "3": "label board holds an index beyond its 3 classes",
        "4": "label board is no whole numbers in rows of 2",
    }
