from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.common.errors import UserError
from tests.ingest.making import folder, images, ingest, picture, put, tone

FEATURES = {
    "picture": {"_type": "Image"},
    "sound": {"_type": "Audio", "sampling_rate": 8000},
    "kind": {"_type": "ClassLabel", "names": ["zebra", "ant", "bee"]},
    "words": {"_type": "Value", "dtype": "string"},
}


def parquet(rows: list[dict[str, Any]], features: dict[str, Any] = FEATURES) -> bytes:
    table = pa.Table.from_pylist(rows)
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), out)
    return out.getvalue()


def row(n: int) -> dict[str, Any]:
    media = {"picture": {"bytes": picture(n), "path": f"{n}.png"}, "sound": {"bytes": tone(n), "path": None}}
    return {**media, "kind": (n % 4) - 1, "words": f"word {n}"}


def plan(path: Path, **reader: Any) -> dict[str, Any]:
    return {
        "source": {"name": "folder", "path": str(path)},
        "reader": {"name": "huggingface", **reader},
        "labels": {"kind": {"kind": "class"}},
        "split": {"by": "declared"},
    }


def test_image_audio_and_class_columns_are_known_by_the_schema(tmp_path: Path) -> None:
    files = {"data/train-00000-of-00001.parquet": parquet([row(n) for n in range(8)])}
    files["data/validation-00000-of-00001.parquet"] = parquet([row(n) for n in range(8, 12)])
    corpus = ingest(tmp_path / "w", plan(put(tmp_path / "f", files), text=["words"]))
    assert corpus.card.counts == {"train": 8, "valid": 4}
    assert {c.name: c.kind for c in corpus.card.columns if c.role == "media"} == {
        "picture": "image",
        "sound": "waveform",
        "words": "text",
    }
    assert corpus.card.column("kind").classes == ["zebra", "ant", "bee"]  # their order, not the alphabet's
    table = corpus.table(["kind", "picture"], ["train"]).to_pylist()
    assert [r["kind"] for r in table] == [None, 0, 1, 2, None, 0, 1, 2]
    assert table[2]["picture"]["bytes"] == picture(2)


def test_a_corpus_of_our_own_is_read_back_with_its_images_and_classes(tmp_path: Path) -> None:
    ours = ingest(tmp_path / "w", folder(put(tmp_path / "f", images({"b": 4, "a": 4}))))
    theirs = plan(ours.folder, id="id") | {"labels": {"label": {"kind": "class"}}, "split": {"by": "hash"}}
    theirs["split"] = {"by": "hash", "fractions": {"train": 0.5, "test": 0.5}}
    again = ingest(tmp_path / "v", theirs)
    assert again.table(["id", "split", "label", "image"]).equals(ours.table(["id", "split", "label", "image"]))


def test_a_parquet_file_without_the_description_needs_text_columns(tmp_path: Path) -> None:
    put(tmp_path / "f", {"train.parquet": parquet([row(0)], {})})
    with pytest.raises(UserError, match="names no image or audio column"):
        ingest(tmp_path / "w", plan(tmp_path / "f"))


def test_an_image_that_is_only_a_path_is_broken(tmp_path: Path) -> None:
    rows = [row(n) for n in range(8)]
    rows[3]["picture"] = {"bytes": None, "path": "elsewhere.png"}
    corpus = ingest(tmp_path / "w", plan(put(tmp_path / "f", {"train.parquet": parquet(rows)})) | {"quarantine_share": 0.2})
    assert corpus.card.quarantined == [{"item": "train-00000003", "reason": "picture holds no bytes"}]
