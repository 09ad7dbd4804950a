from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.common.errors import UserError
from stages.common.media import decode
from tests.ingest.making import folder, images, ingest, picture, put

DECLARED = {"split": {"by": "declared"}}


def test_split_folders_and_class_folders_are_read_as_hugging_face_has_them(tmp_path: Path) -> None:
    names = {f"{split}/{c}": n for split, n in (("train", 4), ("validation", 2), ("test", 3)) for c in ("cat", "dog")}
    corpus = ingest(tmp_path / "w", folder(put(tmp_path / "f", images(names)), **DECLARED))
    assert corpus.card.counts == {"train": 8, "valid": 4, "test": 6}
    assert corpus.card.column("label").classes == ["cat", "dog"]
    row = corpus.table(["id", "split", "label"]).slice(0, 1).to_pylist()[0]
    assert row == {"id": "test/cat/000.png", "split": "test", "label": 0}


def test_encoded_images_keep_their_bytes_and_decode_under_an_input_contract(tmp_path: Path) -> None:
    files = images({"a": 3, "b": 3}, "JPEG")
    corpus = ingest(tmp_path / "w", folder(put(tmp_path / "f", files)))
    table = corpus.table(["id", "image"])
    assert [v["bytes"] for v in table["image"].to_pylist()] == [files[i] for i in table["id"].to_pylist()]
    media = decode(table["image"], corpus.card.media(), {"kind": "image", "height": 12, "width": 16, "channels": 3})
    assert media.data.shape == (6, 12, 16, 3)
    assert (media.data[0] == np.asarray(Image.open(io.BytesIO(files["a/000.jpg"])))).all()


def test_pixels_take_the_shape_of_the_first_image_or_the_size_asked_for(tmp_path: Path) -> None:
    files = images({"a": 3, "b": 3}) | {"a/odd.png": picture(9, (5, 5))}
    put(tmp_path / "f", files)
    plan = folder(tmp_path / "f", reader={"name": "image_folder", "store": "pixels"})
    corpus = ingest(tmp_path / "w", plan)
    assert corpus.card.media().shape == [12, 16, 3]
    assert corpus.card.quarantined == [
        {"item": "a/odd.png", "reason": "pixels are uint8 [5, 5, 3], the column has uint8 [12, 16, 3]"}
    ]
    resized = {"name": "image_folder", "store": "pixels", "resize": [6, 8], "channels": 1}
    corpus = ingest(tmp_path / "v", folder(tmp_path / "f", reader=resized))
    assert corpus.card.media().shape == [6, 8, 1] and corpus.count() == 7


def test_a_pattern_gives_id_group_split_and_labels(tmp_path: Path) -> None:
    files = {f"p{p}_s{s}_k{p % 2}.png": picture(10 * p + s) for p in range(4) for s in range(2)}
    pattern = r"(?P<id>p\d_s\d)_(?P<label>k\d)|(?P<group>never)"
    pattern = r"(?P<id>(?P<group>p\d)_s\d)_(?P<kind>k\d)"
    reader = {"name": "image_folder", "pattern": pattern, "splits": {"train": ["p0", "p1"], "valid": ["p2"], "test": ["p3"]}}
    plan = folder(put(tmp_path / "f", files), reader=reader, labels={"kind": {"kind": "class"}}, **DECLARED)
    corpus = ingest(tmp_path / "w", plan)
    assert corpus.card.counts == {"train": 4, "valid": 2, "test": 2} and corpus.card.groups == {
        "train": 2,
        "valid": 1,
        "test": 1,
    }
    assert corpus.table(["id"], ["test"])["id"].to_pylist() == ["p3_s0", "p3_s1"]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_metadata_beside_the_images_give_labels_groups_and_splits(tmp_path: Path, name: str) -> None:
    rows = [{"file_name": f"{i}.png", "scene": f"s{i // 2}", "part": ("train", "val")[i // 4], "age": str(i)} for i in range(6)]
    rows.append({"file_name": "absent.png", "scene": "s9", "part": "train", "age": "1"})
    lines = (
        ["file_name,scene,part,age", *(",".join(r.values()) for r in rows)]
        if name[-1] == "v"
        else [json.dumps(r) for r in rows]
    )
    files = {f"in/{i}.png": picture(i) for i in range(7)} | {f"in/{name}": "\n".join(lines).encode()}
    reader = {"name": "image_folder", "group": "scene", "split": "part"}
    labels = {"age": {"kind": "number", "unit": "years"}}
    corpus = ingest(tmp_path / "w", folder(put(tmp_path / "f", files), reader=reader, labels=labels, **DECLARED))
    assert corpus.card.counts == {"train": 4, "valid": 2} and corpus.card.groups == {"train": 2, "valid": 1}
    assert corpus.table(["age"])["age"].to_pylist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert {q["item"]: q["reason"] for q in corpus.card.quarantined} == {
        "in/6.png": "not listed in the metadata",
        "in/absent.png": "listed in the metadata, not among the files",
    }


def test_the_shards_carry_the_description_that_hugging_face_reads(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    corpus = ingest(tmp_path / "w", folder(put(tmp_path / "f", images({"a": 3, "b": 3}))))
    features = json.loads(pq.read_schema(corpus.files[0]).metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"names": ["a", "b"], "_type": "ClassLabel"}
    assert features["id"] == {"dtype": "string", "_type": "Value"}


def test_a_group_that_no_list_of_splits_names_is_an_error(tmp_path: Path) -> None:
    reader = {"name": "image_folder", "pattern": r"(?P<group>[ab])/", "splits": {"train": ["a"]}}
    with pytest.raises(UserError, match="no split is given for 'b'"):
        ingest(tmp_path / "w", folder(put(tmp_path / "f", images({"a": 3, "b": 3})), reader=reader, **DECLARED))
