"""Each bad input is one clear error that says what is wrong and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import UserError
from tests.ingest.making import HALVES, folder, images, ingest, picture, put

PICTURES = images({"cat": 10, "dog": 10})
TABLE = "key,who,text,kind\n" + "".join(f"k{i},w{i % 5},words {i},{i % 2}\n" for i in range(20))


def table(reader: dict[str, Any] | None = None, **plan: Any) -> dict[str, Any]:
    given = {"name": "table", "id": "key", "media": {"text": {"kind": "text", "column": "text"}}, **(reader or {})}
    return {"reader": given, "labels": {"kind": {"kind": "class"}}, **plan}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no such folder": ({}, {"source": {"name": "folder", "path": "no/such"}}, "the folder does not exist"),
    "a file, not a folder": ({"x": "y"}, {"source": {"name": "folder", "path": "x"}}, "the folder is no folder"),
    "an unknown source": (PICTURES, {"source": {"name": "foldr", "path": "f"}}, "did you mean 'folder'"),
    "an unknown reader": (PICTURES, {"reader": {"name": "image_foldr"}}, "did you mean 'image_folder'"),
    "an unknown argument": (PICTURES, {"reader": {"name": "image_folder", "patern": "x"}}, "did you mean 'pattern'"),
    "no files at all": ({".keep": ""}, {}, "holds no items for this reader"),
    "no files of this kind": ({"a.txt": "x"}, {}, "holds no items for this reader"),
    "every file broken": ({"a/x.png": b"", "b/y.png": b"no"}, {}, "none of 2 items can be used: a/x.png: empty file"),
    "too many broken": (PICTURES | {"cat/bad.png": b"x"}, {"quarantine_share": 0.01}, "1 of 21 items are broken"),
    "a truncated image above the share": (
        PICTURES | {"cat/cut.png": picture(0)[:-30]},
        {"quarantine_share": 0.0},
        "cat/cut.png: damaged image",
    ),
    "a label nobody gives": (PICTURES, {"labels": {"labell": {"kind": "class"}}}, "did you mean 'label'"),
    "a label of an unknown kind": (PICTURES, {"labels": {"label": {"kind": "klass"}}}, "did you mean 'class'"),
    "a class label of one class": (images({"cat": 10}), {}, "has one class only, 'cat'"),
    "a class label without values": ({"train/a.png": picture(0), "train/b.png": picture(1)}, {}, "has no values"),
    "a class that the plan does not list": (
        PICTURES,
        {"labels": {"label": {"kind": "class", "classes": ["cat", "cow"]}}, "quarantine_share": 0.1},
        "label label is 'dog', none of the plan's classes",
    ),
    "a stratum that is no label": (PICTURES, {"split": {"by": "hash", "stratify": "lable"}}, "did you mean 'label'"),
    "splits declared by nobody": (PICTURES, {"split": {"by": "declared"}}, "has no declared split"),
    "a limit of no split": (PICTURES, {"limit": {"tarin": 5}}, "did you mean 'train'"),
    "a limit of nothing": (PICTURES, {"limit": {"train": 0}}, "must be 1 or more"),
    "more splits than groups": (
        images({"a": 1, "b": 1}),
        {"split": {"by": "hash", "fractions": {"train": 0.3, "valid": 0.3, "test": 0.4}}},
        "is empty",
    ),
    "a pattern that is none": (PICTURES, {"reader": {"name": "image_folder", "pattern": "("}}, "no regular expression"),
    "a pattern that nothing matches": (PICTURES, {"reader": {"name": "image_folder", "pattern": "never"}}, "does not match"),
    "items asked of files": (PICTURES, {"reader": {"name": "items"}}, "gives files, not items"),
    "files asked of items": ({}, {"source": {"name": "bundled"}}, "gives items, not files"),
    "a simulation called real": (
        {},
        {"source": {"name": "simulated", "simulator": {"name": "shapes"}}, "reader": {"name": "items"}},
        "write `provenance: simulated`",
    ),
    "metadata without file names": (PICTURES | {"metadata.csv": "name,age\nx,1\n"}, {}, "no `file_name`"),
    "near copies of text": ({"t.csv": TABLE}, table(duplicates={"near": "report"}), "no images to compare"),
    "a distance beyond sense": (PICTURES, {"duplicates": {"near": "report", "distance": 40}}, "choose 0 to 16"),
    "two rows of one id": ({"t.csv": TABLE + "k3,w1,more words,1\n"}, table(), "two items have the id 'k3'"),
    "a media column that is absent": (
        {"t.csv": TABLE},
        table({"media": {"text": {"kind": "text", "column": "txt"}}}),
        "unknown column 'txt'",
    ),
    "a media column of two sources": (
        {"t.csv": TABLE},
        table({"media": {"text": {"kind": "text", "column": "text", "columns": ["text"]}}}),
        "needs `column` or `columns`",
    ),
    "a group column that is absent": ({"t.csv": TABLE}, table({"group": "whom"}), "did you mean 'who'"),
    "a table that is empty": ({"t.csv": ""}, table(), "the table is empty"),
    "a table with a header only": ({"t.csv": "key,text,kind\n"}, table(), "holds no items for this reader"),
    "a table that is not UTF-8": ({"t.csv": TABLE.encode() + b"k9\xff,w,t,1\n"}, table(), "not UTF-8"),
    "a parquet file that is none": ({"t.parquet": b"PAR1 no"}, table(), "no readable Parquet"),
    "a compressed table cut short": ({"t.csv.gz": b"\x1f\x8b\x08\x00cut"}, table(), "damaged"),
    "a label named like a key": ({"t.csv": TABLE}, table(labels={"group": {"kind": "class"}}), "unknown label 'group'"),
    "a label named like its media": (
        {"t.csv": TABLE},
        table({"labels": {"text": "kind"}}, labels={"text": {"kind": "class"}}),
        "two columns are named 'text'",
    ),
    "one group in two declared splits": (
        {"t.csv": "key,who,text,part\na,w,x,train\nb,w,y,test\n"},
        {**table({"group": "who", "split": "part"}), "labels": {}, "split": {"by": "declared"}},
        "group 'w' lies in the splits 'train' and 'test'",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    files, changes, says = CASES[case]
    monkeypatch.chdir(
        put(tmp_path / "here", {"f/.keep": "", **{k if case.startswith("a file,") else f"f/{k}": v for k, v in files.items()}})
    )
    with pytest.raises(UserError) as caught:
        ingest(tmp_path / "w", {**folder(Path("f")), **HALVES, **changes})
    assert says in str(caught.value)
    assert not (tmp_path / "w/data/corpora/c").exists()
