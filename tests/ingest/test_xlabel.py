"""Phones cut from clips by xlabel files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common.errors import UserError
from stages.common.media import read_wav
from stages.ingest.core.item import BadItem
from stages.ingest.readers.xlabel import Segment, read_segments
from tests.ingest.making import ingest, put, tone

HEAD = "signal x\ntype 0\ncolor 125\nseparator ;\nnfields 1\n#\n"
LABELS = HEAD + "\n".join(
    [
        "    0.010000   -1 _t\t-sth",
        "    0.020000   -1 !t",
        "    0.025000   -1 tasp",
        "    0.050000   -1 a\t+lar",
        "    0.060000   -1 \t-lar",
        "    0.080000   -1 .",
        "    0.100000   -1 aI",
        "",
    ]
)
FOLD = [(re.compile("^[!_]"), ""), (re.compile("asp$"), "")]


def plan(path: Path, **reader: Any) -> dict[str, Any]:
    given = {
        "name": "xlabel",
        "pattern": r"(?P<mood>\w+)/(?P<id>(?P<group>(?P<speaker>\d))\w+)\.wav$",
        "segments": "lab/{id}.xx",
        "fold": [["^[!_]", ""], ["asp$", ""]],
        **reader,
    }
    labels = {"phone": {"kind": "class"}, "speaker": {"kind": "class"}, "mood": {"kind": "class"}}
    split = {"by": "hash", "fractions": {"train": 1.0}}
    source = {"name": "folder", "path": str(path)}
    return {"source": source, "reader": given, "labels": labels, "quarantine_share": 0.9, "split": split}


def clips() -> dict[str, bytes | str]:
    return {
        "sad/1a.wav": tone(1),
        "glad/2a.wav": tone(2),
        "lab/1a.xx": LABELS,
        "lab/2a.xx": LABELS,
    }


def test_closures_bursts_and_changes_of_voice_are_folded_into_their_phone() -> None:
    assert read_segments(LABELS, FOLD) == [
        Segment("t", 0.0, 0.025),
        Segment("a", 0.025, 0.06),
        Segment(".", 0.06, 0.08),
        Segment("aI", 0.08, 0.1),
    ]
    assert [s.symbol for s in read_segments(LABELS, [])] == ["_t", "!t", "tasp", "a", ".", "aI"]


def test_each_phone_is_an_item_cut_from_its_clip(tmp_path: Path) -> None:
    files = clips()
    corpus = ingest(tmp_path / "w", plan(put(tmp_path / "f", files), keep=["t", "a", "aI"]))
    rows = {r["id"]: r for r in corpus.table(["id", "group", "phone", "speaker", "mood", "audio"]).to_pylist()}
    assert sorted(rows) == ["1a-000", "1a-001", "1a-003", "2a-000", "2a-001", "2a-003"]
    classes = corpus.card.column("phone").classes
    assert classes is not None and [classes[rows[f"1a-00{i}"]["phone"]] for i in (0, 1, 3)] == ["t", "a", "aI"]
    assert rows["2a-001"]["group"] == "2" and corpus.card.media().rate == 8000
    wave, whole = read_wav(rows["1a-001"]["audio"]["bytes"]), read_wav(tone(1))
    np.testing.assert_array_equal(wave, whole[200:480])


def test_short_and_long_segments_are_left_out_and_clips_are_resampled_first(tmp_path: Path) -> None:
    corpus = ingest(tmp_path / "w", plan(put(tmp_path / "f", clips()), seconds=[0.019, 0.03], rate=4000))
    rows = corpus.table(["id", "audio"]).to_pylist()
    assert sorted(r["id"] for r in rows) == ["1a-000", "1a-002", "1a-003", "2a-000", "2a-002", "2a-003"]
    first = next(r for r in rows if r["id"] == "1a-000")
    assert len(read_wav(first["audio"]["bytes"])) == 100 and corpus.card.media().rate == 4000


def test_clips_without_labels_or_times_are_quarantined(tmp_path: Path) -> None:
    files = clips() | {"sad/1b.wav": tone(3), "sad/1c.wav": tone(4), "lab/1c.xx": HEAD, "glad/2b.wav": tone(5)}
    files["lab/2b.xx"] = HEAD + "  0.05 -1 a\n  0.30 -1 t\n  0.40 -1 a\n"
    corpus = ingest(tmp_path / "w", plan(put(tmp_path / "f", files)))
    assert sorted((q["item"], q["reason"]) for q in corpus.card.quarantined) == [
        ("1b", "there is no label file lab/1b.xx"),
        ("1c", "the label file gives no times"),
        ("2b-002", "it lies beyond the end of its clip"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no header", "gives no times"),
        (HEAD + "0.2 -1 a\n0.1 -1 b\n", "run backwards"),
        (HEAD + "0.2 -1 a\nnonsense\n", "not a line"),
        (HEAD + "0.2 -1 \t-sth\n", "gives no times"),
    ],
)
def test_a_damaged_label_file_is_bad(text: str, says: str) -> None:
    with pytest.raises(BadItem, match=says):
        read_segments(text, FOLD)


def test_mistakes_of_the_plan_are_named(tmp_path: Path) -> None:
    folder = put(tmp_path / "f", clips())
    for reader, says in (
        ({"seconds": [1.0, 0.5]}, "no range of seconds"),
        ({"segments": "lab/{take}.xx"}, "path of a label file cannot be made"),
        ({"fold": [["(", ""]]}, "no regular expression"),
    ):
        with pytest.raises(UserError, match=says):
            ingest(tmp_path / says[:3], plan(folder, **reader))
