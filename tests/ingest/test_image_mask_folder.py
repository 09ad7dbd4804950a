"""Pictures with masks: pairs, tiles, one-class splits, and what is set aside."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from stages.common.corpus import Corpus
from stages.common.errors import UserError
from tests.ingest.making import folder, ingest, put

PARAMS = Path(__file__).parents[2] / "params" / "corpus"


def encoded(values: np.ndarray, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(out, kind)
    return out.getvalue()


def files(sound: int = 10, torn: int = 4) -> dict[str, bytes]:
    """Pictures of 20 x 26 with a defect of 5 x 6 pixels at rows 3 to 7, columns 9 to 14."""
    rng, found = np.random.default_rng(0), dict[str, bytes]()
    for kind, count in (("ok", sound), ("torn", torn)):
        for i in range(count):
            mask = np.zeros((20, 26))
            if kind == "torn":
                mask[3:8, 9:15] = 255
                found[f"{kind}/{i}_mask.png"] = encoded(mask)
            found[f"{kind}/{i}.png"] = encoded(rng.integers(0, 256, (20, 26)))
    return found


READER = {"name": "image_mask_folder", "mask": [r"/(\d+)\.png$", r"/\1_mask.png"], "normal": "ok", "channels": 1}
LABELS = {"label": {"kind": "class"}, "defective": {"kind": "class", "classes": ["no", "yes"]}}


def made(root: Path, content: dict[str, bytes], **reader: Any) -> Corpus:
    plan = folder(put(root / "f", content), reader={**READER, **reader}, labels=LABELS, split={"by": "declared"})
    return ingest(root / "w", plan)


def rows(corpus: Corpus) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = corpus.table([c.name for c in corpus.card.columns]).to_pylist()
    return found


def test_whole_pictures_keep_their_bytes_and_those_of_their_masks(tmp_path: Path) -> None:
    content = files()
    corpus = made(tmp_path, content)
    assert corpus.count() == 14 and corpus.card.media().name == "image"
    for row in rows(corpus):
        assert row["image"]["bytes"] == content[row["id"]]
        mask = content.get(row["id"].replace(".png", "_mask.png"))
        assert (row["mask"] and row["mask"]["bytes"]) == mask
        assert row["defective"] == (row["id"][0] == "t")


def test_tiles_are_cut_out_of_picture_and_mask_alike(tmp_path: Path) -> None:
    content = files()
    corpus = made(tmp_path, content, tile=8, least=0.05)
    assert [c.shape for c in corpus.card.columns if c.name in ("image", "mask")] == [[8, 8, 1], [8, 8, 1]]
    found = rows(corpus)
    for row in found:
        name, place = row["id"].split("@")
        top, left = map(int, place.split(","))
        picture = np.asarray(Image.open(io.BytesIO(content[name])))[top : top + 8, left : left + 8]
        assert np.array_equal(np.reshape(row["image"], (8, 8)), picture) and row["group"] == name
        if name[0] == "t":
            mask = np.asarray(Image.open(io.BytesIO(content[name.replace(".png", "_mask.png")])))
            assert np.array_equal(np.reshape(row["mask"], (8, 8)), mask[top : top + 8, left : left + 8])
        else:
            assert not any(row["mask"])
    assert Counter(r["id"].split("@")[0][:2] for r in found)["ok"] == 10 * 2 * 3
    assert {r["id"].split("@")[1] for r in found if r["defective"]} == {"0,8"}  # 30 pixels; rows 0 to 7, columns 8 to 15


def test_a_stride_makes_tiles_overlap_and_a_share_says_when_one_is_defective(tmp_path: Path) -> None:
    corpus = made(tmp_path, files(), tile=8, stride=4, least=0.2)
    found = rows(corpus)
    assert Counter(r["id"][0] for r in found)["o"] == 10 * 4 * 5
    # marked in a tile: of rows 0-7 five, of rows 4-11 four; of columns 8-15 six, 4-11 and 12-19 three; 0.2 of 64 is 12.8
    assert {r["id"].split("@")[1] for r in found if r["defective"]} == {"0,4", "0,8", "0,12", "4,8"}


def test_defective_pictures_test_and_so_does_a_share_of_the_normal_groups(tmp_path: Path) -> None:
    content = files()
    corpus = made(tmp_path, content, test_share=0.3)
    splits = {r["id"]: r["split"] for r in rows(corpus)}
    assert Counter(splits[i] for i in splits if i[0] == "t") == {"test": 4}
    assert Counter(splits[i] for i in splits if i[0] == "o") == {"train": 7, "test": 3}
    other = made(tmp_path / "other", content, test_share=0.3, salt=1)
    assert {r["id"]: r["split"] for r in rows(other)} != splits
    assert {r["id"]: r["split"] for r in rows(made(tmp_path / "tiles", content, tile=8))}.items() >= {
        (f"{i}@0,8", s) for i, s in splits.items()
    }


def test_a_normal_picture_of_a_group_with_a_defective_one_tests_too(tmp_path: Path) -> None:
    pattern = r"(?P<label>[a-z]+)/(?P<group>\d)\.png$"
    corpus = made(tmp_path, files(), pattern=pattern, test_share=0.0)
    splits = {r["id"]: r["split"] for r in rows(corpus)}
    together = {f"{k}/{g}.png" for k in ("ok", "torn") for g in range(4)}
    assert {i for i in splits if splits[i] == "test"} == together
    half = made(tmp_path / "half", files(), pattern=pattern, test_share=0.5)  # of the six groups without a defective picture
    assert half.card.counts == {"train": 3, "test": 8 + 3}


def test_splits_that_the_source_declares_are_kept(tmp_path: Path) -> None:
    content = {("train/" if name[0] == "o" and name[3] < "6" else "test/") + name: data for name, data in files().items()}
    corpus = made(tmp_path, content)
    assert corpus.card.counts == {"train": 6, "test": 8}


def test_what_does_not_fit_is_set_aside_with_the_reason(tmp_path: Path) -> None:
    content = files() | {"ok/0_mask.png": encoded(np.full((20, 26), 255)), "torn/1_mask.png": encoded(np.zeros((5, 5)))}
    del content["torn/2_mask.png"]
    content["ok/3.png"] = b"no picture"
    content["ok/4.png"] = encoded(np.zeros((4, 30)))
    corpus = made(tmp_path, content, tile=8)
    assert {q["item"]: q["reason"] for q in corpus.card.quarantined} == {
        "ok/0.png": "its mask marks a defect, its class is the normal one",
        "torn/1.png": "its mask is 5 x 5, the picture 26 x 20",
        "torn/2.png": "a defective picture without a mask",
        "ok/3.png": "not an image of a known format",
        "ok/4.png": "a picture of 30 x 4, smaller than a tile of 8",
    }


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"normal": "fine"}, "no picture is of the class 'fine'"),
        ({"mask": ["(", ""]}, "no regular expression"),
        ({"least": 0.0}, "least lies above 0"),
        ({"test_share": 1.0}, "test_share from 0"),
        ({"stride": 4}, "a stride needs a tile"),
        ({"tile": 0}, "tile and stride are 1 or more"),
    ],
)
def test_arguments_out_of_range_are_the_users_mistake(tmp_path: Path, wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match):
        made(tmp_path, files(), **wrong)


@pytest.mark.mirror
def test_the_magnetic_tiles_are_ingested_with_good_ones_alone_to_train_on(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRELUDE_MIRROR", str(mirror))
    plans = {n: yaml.safe_load((PARAMS / f"{n}.yaml").read_text()) for n in ("magnetic_tile", "magnetic_tile_pictures")}
    tiles, whole = (ingest(tmp_path / n, plan, n) for n, plan in plans.items())
    assert whole.card.counts == {"train": 23, "valid": 3, "test": 80} and whole.card.quarantined == []
    assert tiles.card.counts == {"train": 549, "valid": 16, "test": 562}
    of_group = {}
    for corpus in (tiles, whole):
        found = corpus.table(["split", "group", "defect", "defective"]).to_pylist()
        assert {r["defective"] for r in found if r["split"] != "test"} == {0}
        assert all((r["defect"] > 0) == bool(r["defective"]) for r in found)
        for r in found:
            assert of_group.setdefault(r["group"], r["split"]) == r["split"]
    assert Counter(r["defect"] for r in found if r["split"] == "test") == {0: 14, 1: 20, 2: 12, 3: 9, 4: 7, 5: 18}
