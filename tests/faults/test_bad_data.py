"""Broken and hostile data: ingested right, set aside with a reason, or refused with one clear error. Nothing else, ever."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import ContractError, UserError
from tests.faults.hostile import corpus
from tests.faults.hostile.item import LONG
from tests.faults.hostile.tables import table
from tests.faults.pipeline import ROOT
from tests.ingest.making import folder, images, ingest, put

GIB = 1 << 30
SAMPLE = 23  # every so many-eth item is tried in the short run
HEAVY = ("one of the most", "unpacks to", "20 minutes", "MB of zeros")  # what takes seconds by itself: in the long run alone


def tried(root: Path, names: list[str], limit_s: int) -> tuple[dict[str, dict[str, str]], int]:
    """Outcomes of the items by name, and the peak of memory in bytes, of one child process that tries them all."""
    (root / "names").write_text(json.dumps(names))
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.faults.hostile.trial", str(root), str(root / "names")]
    environment = {k: v for k, v in os.environ.items() if k != "PRELUDE_MIRROR"} | {"PYTHONPATH": str(ROOT)}
    with (root / "errors").open("w") as errors:
        done = subprocess.run(command, cwd=root, env=environment, stderr=errors, check=False, timeout=limit_s)
    told = [json.loads(line) for line in (root / "said").read_text().splitlines()]
    said = (root / "errors").read_text()
    assert done.returncode == 0, f"the process ended with {done.returncode} at {told[-1]}\n{said[-3000:]}"
    assert "Traceback" not in said, said[-3000:]
    return {entry["name"]: entry for entry in told if "outcome" in entry}, told[-1]["peak"]


def check(root: Path, names: list[str], limit_s: int) -> None:
    found, peak = tried(root, names, limit_s)
    failed = [f"{name}: {entry['said']}" for name, entry in found.items() if entry["outcome"] == "failed"]
    assert not failed, f"{len(failed)} of {len(names)}:\n" + "\n".join(failed)
    assert list(found) == names
    counts = collections.Counter(entry["outcome"] for entry in found.values())
    assert set(counts) == {"corpus", "quarantine", "refused"}, counts
    assert peak < GIB
    print(dict(counts), peak >> 20, "MiB")  # noqa: T201


def test_there_are_five_hundred_items_and_each_has_a_name_of_its_own() -> None:
    names = [item.name for item in corpus.items()]
    assert len(set(names)) == len(names) >= corpus.LEAST


def test_a_sample_of_them_is_ingested_set_aside_or_refused(tmp_path: Path) -> None:
    light = [item.name for item in corpus.items() if not any(word in item.name for word in HEAVY)]
    check(tmp_path, light[::SAMPLE], 600)


@pytest.mark.soak
def test_all_of_them_are_ingested_set_aside_or_refused_within_a_gibibyte(tmp_path: Path) -> None:
    check(tmp_path, [item.name for item in corpus.items()], 7200)


def test_a_class_that_only_the_test_split_has_is_a_class_of_the_corpus(tmp_path: Path) -> None:
    files = images({"train/cat": 3, "train/dog": 3, "test/cat": 1, "test/owl": 2})
    found = ingest(tmp_path / "w", folder(put(tmp_path / "f", files), split={"by": "declared"}))
    assert found.card.column("label").classes == ["cat", "dog", "owl"]
    assert found.table(["label"], ["train"])["label"].to_pylist() == [0, 0, 0, 1, 1, 1]
    assert found.table(["label"], ["test"])["label"].to_pylist() == [0, 2, 2]


def csv(root: Path, text: str, **plan: Any) -> Any:
    source = {"name": "folder", "path": str(put(root / "f", {"t.csv": text}))}
    return ingest(root / "w", {**table(), "source": source, "quarantine_share": 1.0, **plan})


def test_an_id_that_comes_twice_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        csv(tmp_path, "key,text\na,one\nb,two\na,three\n")
    assert (caught.value.what, caught.value.do) == ("two items have the id 'a'", "give each item its own id")


def test_an_id_of_a_million_characters_is_kept_whole_and_never_told_whole(tmp_path: Path) -> None:
    long = "x" * LONG
    found = csv(tmp_path / "a", f"key,text\nk,words\n{long},more words\n")
    assert found.table(["id"])["id"].to_pylist() == ["k", long]
    with pytest.raises(UserError) as caught:
        csv(tmp_path / "b", f"key,text\n{long},words\n{long},more words\n")
    assert len(str(caught.value)) < 5000 and "(1000024 characters)" in caught.value.what
    found = csv(tmp_path / "c", f"key,text,score\nk,words,1\nl,words,{long}\n", labels={"score": {"kind": "number"}})
    (entry,) = found.card.quarantined
    assert entry["item"] == "l" and len(entry["reason"]) < 400 and entry["reason"].startswith("label score is 'xxx")


FORMULAS = ["=cmd|' /C calc'!A0", "=1+1", "@SUM(A1:A9)", "+1", "-2+3", '=HYPERLINK("http://example.org")']


def test_cells_that_a_spreadsheet_would_run_stay_the_text_that_they_are(tmp_path: Path) -> None:
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in FORMULAS]
    text = "key,text,kind\n" + "".join(f"k{i},{cell},{cell}\n" for i, cell in enumerate(quoted))
    found = csv(tmp_path, text, labels={"kind": {"kind": "class"}})
    assert found.table(["text"])["text"].to_pylist() == FORMULAS
    assert found.card.column("kind").classes == sorted(FORMULAS)
    assert found.card.quarantined == []


def _encoder(root: Path, changes: dict[str, Any]) -> str:
    """What loading says of an encoder of which some tensors were exchanged for others, or taken away (None)."""
    from safetensors.torch import load_file, save_file

    from stages.common.corpus import Column
    from stages.common.schema import Part
    from stages.encoders.core import encoder as encoders
    from tests.encoders.test_encoder import card, made

    parts = Part("image"), Part("mlp", {"widths": [6, 5]}), Column("image", "media", "pixels", shape=[8, 8, 3])
    encoders.save(root, made(*parts), card(*parts, 5))
    tensors = load_file(str(root / encoders.WEIGHTS)) | changes
    save_file({k: v for k, v in tensors.items() if v is not None}, str(root / encoders.WEIGHTS))
    with pytest.raises(ContractError) as caught:
        encoders.load(root)
    assert caught.value.where == str(root / encoders.WEIGHTS) and caught.value.do == "run the pretraining again"
    return caught.value.what


def test_weights_of_a_wrong_shape_are_refused_by_the_name_of_their_tensor(tmp_path: Path) -> None:
    import torch

    said = _encoder(tmp_path, {"mean": torch.zeros(7)})
    assert "size mismatch for mean" in said and "torch.Size([7])" in said
    assert 'Missing key(s) in state_dict: "std"' in _encoder(tmp_path, {"std": None})
    assert 'Unexpected key(s) in state_dict: "surplus"' in _encoder(tmp_path, {"surplus": torch.zeros(1)})


@pytest.mark.parametrize(
    "header", ["[" * 100_000, '{"mean": {"dtype": "F32", "shape": [1], "data_offsets": [0, 99999999999]}}', "no JSON"]
)
def test_weights_whose_header_lies_are_refused(tmp_path: Path, header: str) -> None:
    from stages.encoders.core.encoder import _read

    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(8))
    import torch

    with pytest.raises(ContractError, match="the weights do not load"):
        _read(tmp_path / "w.safetensors", torch.nn.Linear(1, 1))
