"""A sound small source for each reader of files: what the mutations start from."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults.hostile.item import WHOLE, Sound
from tests.ingest import test_image_mask_folder as masks
from tests.ingest import test_mesh_views as meshes
from tests.ingest import test_special_readers as special
from tests.ingest import test_table as tables
from tests.ingest import test_wthor as othello
from tests.ingest import test_xlabel as phones
from tests.ingest.making import images, picture, tone
from tests.ingest.test_huggingface import parquet as described
from tests.ingest.test_huggingface import row as described_row

DECLARED = {"split": {"by": "declared"}}
TEXT = {"text": {"kind": "text", "column": "text"}}


def sources() -> dict[str, Sound]:
    """By name: the reader, and what it reads where it reads several kinds."""
    found = {
        "images": Sound(_plan("image_folder"), images({"a": 3, "b": 3}), by_path=True),
        "jpegs": Sound(_plan("image_folder"), images({"a": 2, "b": 2}, "JPEG"), by_path=True),
        "pixels": Sound(_plan("image_folder", store="pixels", resize=[8, 8]), images({"a": 3, "b": 3}), by_path=True),
        "pictures of many kinds": Sound(_plan("image_folder"), _kinds(), by_path=True),
        "images with metadata": Sound(_plan("image_folder", {"age": "number"}), _bytes(_described())),
        "sounds": Sound(_plan("audio_folder", rate=8000), _sounds(), by_path=True),
        "float sounds": Sound(_plan("audio_folder", rate=4000, samples="float32"), _sounds(), by_path=True),
        "masks": Sound(_plan("image_mask_folder", **_but_name(masks.READER)) | DECLARED, masks.files(4, 2)),
        "kaldi": Sound(
            _plan("kaldi", {"accuracy": "number"}, folders=special.FOLDERS, scores={"train": "scores"}) | DECLARED,
            _bytes(special.kaldi()),
        ),
        "text graph": Sound(_plan("text_graph", text="t", graph="g", classes="c"), _bytes(special.GRAPH)),
        "ego graphs": Sound(_plan("text_graph", text="t", graph="g", hops=2, words=4), _bytes(special.GRAPH)),
        "csi": Sound(_plan("nexmon_csi", {"x": "number"}, **special.CSI) | DECLARED, _csi()),
        "meds": Sound(_plan("meds", {"sex": "class"}, outcomes={"sex": "GENDER//*"}), {"e.parquet": _events()}),
        "smni": Sound(_plan("smni", electrodes=["C2", "C7"]), _trials()),
        "obo": Sound(_plan("obo", {"concept": "text"}), {"a.obo": special.OBO.encode()}),
        "pubtator": Sound(_plan("pubtator", files={"train": ["a*"], "test": ["b*"]}) | DECLARED, _mentions()),
        "meshes": Sound(
            _plan("mesh_views", {"light_hue": "number"}, views=2, side=6), _bytes({"b.obj": meshes.BOX, "w.obj": meshes.WEDGE})
        ),
        "xlabel": Sound(
            phones.plan(Path("set when it is laid")) | {"labels": {"phone": {"kind": "text"}}}, _bytes(phones.clips())
        ),
        "wthor": Sound(_plan("wthor", {"score": "number"}), {"g.wtb": _games()}),
        "events": Sound(
            _plan("event_table", entity="who", time="when", code=["what"], value="much"), _bytes({"e.csv": _EVENT_ROWS})
        ),
        "edges": Sound(
            _plan("edge_list", nodes="n.tsv", edges="e.csv"), _bytes({"n.tsv": _NODES, "e.csv": "source,target\n1,2\n3,2\n"})
        ),
        "huggingface": Sound(
            _plan("huggingface", {"kind": "text"}, text=["words"]) | DECLARED,
            {"train-0.parquet": described([described_row(n) for n in range(6)])},
        ),
        "npz": Sound(_plan("table", media=_ARRAYS), {"t.npz": _npz()}),
        "nested json": Sound(_plan("table", id="key", media=_NESTED), {"t.jsonl": _nested()}),
        "media in parquet": Sound(_plan("table", id="key", media=_STORED), {"t.parquet": _stored()}),
    }
    for name in ("t.csv", "t.csv.gz", "t.tsv", "t.jsonl", "t.parquet"):
        given = _plan("table", {"score": "number"}, id="key", group="who", media=tables.MOLECULE)
        found[f"table {name}"] = Sound(given, {name: tables.FORMATS[name]})
    if importlib.util.find_spec("rdkit"):
        rows = b"name,smiles,y\n" + b"".join(b"m%d,%s,1\n" % (i, b"C" * i + b"c1ccccc1") for i in range(5))
        found["molecules"] = Sound(_plan("smiles_table", {"y": "number"}, id="name", writings=2), {"t.csv": rows})
    return found


_EVENT_ROWS = "who,when,what,much\n" + "".join(f"c{i % 3},2024-01-0{i + 1},k{i % 2},{i}\n" for i in range(9))
_NODES = "id\ttext\n" + "".join(f"{i}\tthe text of {i}\n" for i in range(1, 6))
_ARRAYS = {
    "eeg": {"kind": "series", "column": "eeg"},
    "picture": {"kind": "pixels", "column": "picture"},
    "words": {"kind": "tokens", "column": "words"},
}
_NESTED = {
    "path": {"kind": "series", "column": "path"},
    "code": {"kind": "tokens", "column": "code"},
    "near": {"kind": "edges", "column": "near"},
    "life": {"kind": "events", "column": "life"},
}
_STORED = {"i": {"kind": "image", "column": "i"}, "w": {"kind": "waveform", "column": "w", "rate": 4000}}


def _plan(reader: str, wanted: dict[str, str] | None = None, /, **arguments: Any) -> dict[str, Any]:
    labels = {name: {"kind": kind} for name, kind in (wanted or {}).items()}
    return {"reader": {"name": reader, **arguments}, "labels": labels, **WHOLE}


def _but_name(reader: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in reader.items() if k != "name"}


def _bytes(files: Any) -> dict[str, bytes]:
    return {name: data.encode() if isinstance(data, str) else data for name, data in files.items()}


def _kinds() -> dict[str, bytes]:
    suffixes = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "PPM": "ppm"}
    return {f"k/{kind}.{suffix}": picture(i, kind=kind) for i, (kind, suffix) in enumerate(suffixes.items())}


def _described() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = dict(images({"a": 3, "b": 2}))
    return files | {"metadata.csv": "file_name,age\n" + "".join(f"{name},{i}\n" for i, name in enumerate(files))}


def _sounds() -> dict[str, bytes]:
    import soundfile

    found = {f"s/{i}.wav": tone(i) for i in range(3)}
    wave = np.sin(np.arange(800) / 9)
    for kind, subtype in (("flac", "PCM_24"), ("ogg", "VORBIS"), ("aiff", "PCM_16"), ("au", "FLOAT"), ("wav", "DOUBLE")):
        out = io.BytesIO()
        soundfile.write(out, np.stack([wave, wave], 1), 8000, subtype, format=kind.upper())
        found[f"s/more.{subtype}.{kind}"] = out.getvalue()
    return found


def _csi() -> dict[str, bytes]:
    values = np.random.default_rng(0).integers(-2000, 2000, (3, 3, 16))
    head: list[str | float] = ["location", "x", "y"]
    book = special.workbook({"ref_coord_path1": [head, ["7_1", 1.5, 2.5]], "test_coord_path2": [head, ["7_1", 1.0, 2.0]]})
    names = ["ref_7_1_9.pcap", "ref_8_1_9.pcap", "test_7_1_9.pcap"]
    return {name: special.pcap(values[i]) for i, name in enumerate(names)} | {"at.xlsx": book}


def _parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def _events() -> bytes:
    rows = [
        (s, None if i == 0 else i * 60_000_000, "GENDER//" + "FM"[s % 2] if i == 0 else f"L//{i}", float(i))
        for s in range(3)
        for i in range(4)
    ]
    subject, time, code, value = (list(column) for column in zip(*rows, strict=True))
    timed = pa.array(time, pa.timestamp("us"))
    return _parquet(pa.table({"subject_id": subject, "time": timed, "code": code, "numeric_value": value}))


def _trials() -> dict[str, bytes]:
    values = np.random.default_rng(0).normal(0, 10, (256, 64)).round(1)
    plain = gzip.decompress(special.trial(values))
    return {f"co2{kind}000000{i}.rd.00{i}.gz": gzip.compress(plain, 1, mtime=0) for i, kind in enumerate("ac")}


def _mentions() -> dict[str, bytes]:
    lines = "1|t|A title\n1|a|An abstract\n" + "".join(f"1\t0\t3\tname {i}\tDisease\tD00{i % 3}\n" for i in range(5))
    return {"a.txt": lines.encode(), "b.txt": lines.replace("name", "another").encode()}


def _games() -> bytes:
    return othello.file([othello.record(game) for game in othello.played(3)])


def _npz() -> bytes:
    draw = np.random.default_rng(0)
    out = io.BytesIO()
    numbers = {"eeg": draw.normal(size=(4, 9, 2)), "words": draw.integers(0, 99, (4, 5))}
    np.savez_compressed(out, picture=draw.integers(0, 256, (4, 3, 5)), **numbers)
    return out.getvalue()


def _nested() -> bytes:
    life = [{"time": t, "code": "k", "value": None if t else 1.5} for t in range(3)]
    rows = [{"key": f"k{i}", "path": [[i, 1.5], [2, 3]], "code": [i, 2], "near": ["k0"], "life": life} for i in range(5)]
    return "\n".join(map(json.dumps, rows)).encode()


def _stored() -> bytes:
    rows = [{"key": f"k{i}", "i": {"bytes": picture(i), "path": None}, "w": tone(i)} for i in range(4)]
    return _parquet(pa.Table.from_pylist(rows))
