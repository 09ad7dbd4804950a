"""JSON too deep or of other kinds, and NumPy archives that lie."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import Any

import numpy as np

from tests.faults.hostile.item import OUTCOMES, QUARANTINE, REFUSED, Content, Hostile, plan
from tests.ingest.making import images


def json_values() -> list[Hostile]:
    """Values of each kind in JSON lines, and metadata."""
    deep, digits = "[" * 200_000, "9" * 10_000
    media = {
        "path": {"kind": "series", "column": "v"},
        "code": {"kind": "tokens", "column": "v"},
        "near": {"kind": "edges", "column": "v"},
        "life": {"kind": "events", "column": "v"},
        "text": {"kind": "text", "column": "v"},
        "cloud": {"kind": "points", "column": "v"},
        "dots": {"kind": "pixels", "column": "v"},
    }
    values: dict[str, str] = {
        "lists 200,000 deep": deep,
        "objects 100,000 deep": '{"a":' * 100_000,
        "a number of 10,000 digits": digits,
        "a number beyond 64 bits": "9" * 30,
        "1e999": "1e999",
        "NaN": "NaN",
        "infinity": "-Infinity",
        "half a surrogate": '"\\ud800"',
        "a list of half a surrogate": '["\\ud800"]',
        "events of half a surrogate": '[{"time": 1, "code": "\\ud800"}]',
        "nothing": "null",
        "a truth": "true",
        "an object": '{"a": 1}',
        "objects": '[{"a": 1}]',
        "text in a list": '["a", "b"]',
        "lists of unequal length": "[[1, 2], [3]]",
        "an empty list": "[]",
        "a list of nothing": "[null]",
        "a list in a list in a list": "[[[[1]]]]",
        "events without a time": '[{"code": "a"}]',
        "events of a time that is text": '[{"time": "x", "code": "a"}]',
        "events of a value that is text": '[{"time": 1, "code": "a", "value": "x"}]',
        "events that are numbers": "[1, 2]",
        "events of no order": '[{"time": 2, "code": "a"}, {"time": 1, "code": "a"}]',
        "negative numbers": "[-1, -2]",
        "fractions": "[0.5]",
    }
    found = []
    for name, value in values.items():
        for column, spec in media.items():
            good = '{"key": "k", "v": ' + _fitting(column) + "}\n"
            text = good + '{"key": "x", "v": ' + value + "}\n"
            given = plan("table", id="key", media={column: spec})
            found.append(
                Hostile(f"json/{column} of {name}", given, {"t.jsonl": text}, outcomes=frozenset({"corpus", "quarantine"}))
            )
    for name, line in {
        "an id": '{"key": "\\ud800", "v": "words"}',
        "a label": '{"key": "x", "v": "words", "kind": "\\ud800"}',
        "neither": '{"v": "words"}',
        "no value": '{"key": "x"}',
    }.items():
        text = '{"key": "k", "v": "words", "kind": "a"}\n' + line + "\n"
        given = plan("table", {"kind": "text"}, id="key", media={"text": media["text"]})
        outcome = frozenset({"quarantine"})
        found.append(Hostile(f"json/a row of half a surrogate or without: {name}", given, {"t.jsonl": text}, outcomes=outcome))
    for name, value in (("lists", deep), ("a long number", digits)):
        files: dict[str, bytes | str] = {
            **images({"a": 2}),
            "metadata.jsonl": '{"file_name": "a/000.png", "age": ' + value + "}\n",
        }
        found.append(Hostile(f"json/metadata of {name}", plan("image_folder"), files, outcomes=REFUSED))
    return found


def arrays() -> list[Hostile]:
    """NumPy archives."""
    given = plan("table", media={"a": {"kind": "series", "column": "a"}})
    big = (
        np.lib.format.magic(1, 0)
        + struct.pack("<H", 86)
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 9)}".ljust(85)
        + b"\n"
    )
    cases: dict[str, tuple[Content, frozenset[str], str]] = {
        "an array that states 72 TB": (_packed({"a.npy": big}), REFUSED, ""),
        "objects": (_objects(), REFUSED, "plain arrays"),
        "a header that is code": (_packed({"a.npy": big.replace(b"1000000000000", b"__import__('')")}), REFUSED, ""),
        "no archive but one array": (_npy(np.zeros((3, 2))), REFUSED, ""),
        "no array": (_packed({"a.npy": b""}), REFUSED, ""),
        "a text": (_packed({"a.txt": b"words"}), REFUSED, ""),
        "nothing": (_packed({}), REFUSED, ""),
        "zeros that unpack to 100 MB": (
            lambda: _packed({"a.npy": _npy(np.zeros((10, 10 << 20), np.uint8))}),
            REFUSED,
            "times its size",
        ),
        "NaN": (_packed({"a.npy": _npy(np.array([[1.0, np.nan], [1, 2]]))}), QUARANTINE, "not finite"),
        "dates": (_packed({"a.npy": _npy(np.array(["2020-01-01", "2021-01-01"], "M8[D]"))}), REFUSED, ""),
        "complex numbers": (_packed({"a.npy": _npy(np.ones((2, 2), complex))}), OUTCOMES, ""),
        "texts": (_packed({"a.npy": _npy(np.array(["a", "b"]))}), REFUSED, ""),
        "records": (_packed({"a.npy": _npy(np.zeros(2, [("x", "f4"), ("y", "i4")]))}), OUTCOMES, ""),
        "a single number": (_packed({"a.npy": _npy(np.float64(1.0))}), REFUSED, ""),
    }
    return [Hostile(f"npz/{name}", given, {"t.npz": d}, outcomes=o, says=s) for name, (d, o, s) in cases.items()]


def _fitting(column: str) -> str:
    fit = {"life": [{"time": 1.0, "code": "a"}], "text": "words", "cloud": [[1, 2, 3]], "dots": [[1, 2], [3, 4]], "near": ["k"]}
    return json.dumps(fit.get(column, [1, 2]))


def _npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _objects() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.array([{"x": 1}], dtype=object))
    return out.getvalue()


def _packed(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return out.getvalue()
