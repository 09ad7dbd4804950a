"""Tables of other encodings, ragged and endless ones, and Parquet of another schema."""

from __future__ import annotations

import gzip
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults.hostile.item import CORPUS, LONG, OUTCOMES, QUARANTINE, REFUSED, Hostile, plan
from tests.ingest.making import images, picture
from tests.ingest.test_huggingface import parquet as described

TEXT = {"text": {"kind": "text", "column": "text"}}


def tables() -> list[Hostile]:
    """CSV and JSON lines."""
    rows = "".join(f"k{i},words {i}\n" for i in range(4))
    head, refused, good = "key,text\n", REFUSED, f"key,text\n{rows}"
    long = "x" * LONG
    texts: dict[str, tuple[bytes | str, frozenset[str], str]] = {
        "in UTF-16": (good.encode("utf-16"), refused, "not UTF-8"),
        "in UTF-16 without a mark": (good.encode("utf-16-le"), refused, ""),
        "in UTF-32": (good.encode("utf-32"), refused, ""),
        "in Latin-1": ((good + "k9,café\n").encode("latin-1"), refused, "not UTF-8"),
        "in Shift-JIS": ((good + "k9,日本語\n").encode("shift-jis"), refused, "not UTF-8"),
        "in EBCDIC": (good.encode("cp500"), refused, ""),
        "with a mark of UTF-8": ("\ufeff" + good, CORPUS, "4 rows"),
        "with a row of one cell": (good + "k9\n", QUARANTINE, "1 cells, where the header has 2"),
        "with a row of 10,000 cells": (good + "k9" + "," * 9999 + "\n", QUARANTINE, "10000 cells"),
        "with a quote that is never closed": (good + 'k9,"open\n', CORPUS, ""),
        "with a zero byte": (good + "k9,a\0b\n", OUTCOMES, ""),
        "with empty ids": (good + ",words\n", QUARANTINE, "no id"),
        "with empty texts": (good + "k9,\nk8,   \n", QUARANTINE, "empty text"),
        "with an id twice": (good + "k1,other words\n", refused, "two items have the id 'k1'"),
        "with an id of 10 ** 6 characters": (good + f"{long},words\n", CORPUS, "5 rows"),
        "with such an id twice": (good + f"{long},words\n{long},words\n", refused, "(1000024 characters)"),
        "with such an id and no text": (good + f"{long},\n", QUARANTINE, "empty text"),
        "with a text of 10 ** 6 characters": (good + f"k9,{long}\n", CORPUS, "5 rows"),
        "with a header of 10 ** 6 characters": (f"key,{long}\n" + rows, refused, "unknown column 'text'"),
        "with a header of 100,000 columns": ("key," + ",".join(f"c{i}" for i in range(100_000)) + "\nk,1\n", refused, ""),
        "with two columns of one name": ("key,text,text\nk1,a,b\n", OUTCOMES, ""),
        "with ids of other alphabets": (good + "ключ,слова\n鍵,言葉\n\u202eyek,sdrow\n🗝,🎉\n", CORPUS, "8 rows"),
        "with line ends in an id": (good + '"k\n9\r\n",words\n', CORPUS, "5 rows"),
        "with line ends in a broken id": (good + '"k\n9",\n', QUARANTINE, "empty text"),
        "with formulas": (good + "=cmd|' /C calc'!A0,=1+1\n@SUM(A1),-2+3\n", CORPUS, "6 rows"),
        "with half a surrogate": ((good + "k9,").encode() + b"\xed\xa0\x80\n", refused, "not UTF-8"),
        "of a header alone": (head, refused, "no items"),
        "of nothing": ("", refused, "empty"),
        "of line ends": ("\n" * 999, refused, ""),
        "that is HTML": ("<html><body>404</body></html>", refused, "unknown column"),
    }
    found = [Hostile(f"tables/a CSV {n}", table(), {"t.csv": d}, outcomes=o, says=s) for n, (d, o, s) in texts.items()]
    packed = {
        "a CSV that unpacks to a line of 300 MB": ("t.csv.gz", lambda: _zeros(300 << 20, b"key,text\nk,")),
        "JSON that unpacks to a line of 300 MB": ("t.jsonl.gz", lambda: _zeros(300 << 20, b'{"key": "')),
    }
    found += [
        Hostile(f"tables/{n}", table(), {p: d}, outcomes=refused, says="a line of more than") for n, (p, d) in packed.items()
    ]
    described = {**images({"a": 2}), "metadata.csv": "file_name,age\na/000.png,1\na/000.png\n../../etc/passwd,2\n"}
    found.append(Hostile("tables/metadata of a file elsewhere", plan("image_folder"), described, outcomes=OUTCOMES))
    return found


def parquets() -> list[Hostile]:
    """Parquet files of another schema than their reader's."""
    times = pa.array([1, 2], pa.timestamp("us"))
    meds: dict[str, dict[str, Any]] = {
        "times that are text": {
            "subject_id": [1, 2],
            "time": ["soon", "late"],
            "code": ["a", "b"],
            "numeric_value": [1.0, 2.0],
        },
        "values that are text": {"subject_id": [1, 2], "time": times, "code": ["a", "b"], "numeric_value": ["x", "y"]},
        "codes that are numbers": {"subject_id": [1, 2], "time": times, "code": [1, 2], "numeric_value": [1.0, 2.0]},
        "codes that are lists": {"subject_id": [1, 2], "time": times, "code": [["a"], ["b"]], "numeric_value": [1.0, 2.0]},
        "subjects that are lists": {"subject_id": [[1], [2]], "time": times, "code": ["a", "b"], "numeric_value": [1.0, 2.0]},
        "subjects that are nothing": {
            "subject_id": pa.nulls(2),
            "time": times,
            "code": ["a", "b"],
            "numeric_value": [1.0, 2.0],
        },
        "times out of range": {
            "subject_id": [1, 2],
            "time": pa.array([2**62, 1], pa.timestamp("us")),
            "code": ["a", "b"],
            "numeric_value": [1.0, 2.0],
        },
        "no rows": {
            "subject_id": pa.array([], pa.int64()),
            "time": times[:0],
            "code": pa.array([], pa.string()),
            "numeric_value": pa.array([], pa.float32()),
        },
        "another schema": {"a": [1], "b": [2]},
        "columns twice": {},
    }
    meds.pop("columns twice")
    found = [Hostile(f"parquet/MEDS of {n}", plan("meds"), {"e.parquet": _parquet(c)}) for n, c in meds.items()]
    tables: dict[str, dict[str, Any]] = {
        "text that is a number": {"key": ["a", "b"], "text": [1, 2]},
        "text that is a list": {"key": ["a", "b"], "text": [["x"], ["y"]]},
        "text that is bytes": {"key": ["a", "b"], "text": [b"\xff", b"x"]},
        "ids that are lists": {"key": [["a"], ["b"]], "text": ["x", "y"]},
        "ids that are nothing": {"key": pa.nulls(2), "text": ["x", "y"]},
        "another schema": {"id": ["a"], "words": ["x"]},
        "no rows": {"key": pa.array([], pa.string()), "text": pa.array([], pa.string())},
    }
    found += [Hostile(f"parquet/a table of {n}", table(), {"t.parquet": _parquet(c)}) for n, c in tables.items()]
    odd: dict[str, Any] = {
        "features that are a list": ["Image"],
        "a type that is a list": {"picture": {"_type": ["Image"]}},
        "a column that is not there": {"elsewhere": {"_type": "Image"}},
        "names that are a number": {"picture": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": 7}},
        "names that are nested": {"picture": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": [[["a"]], None]}},
        "audio that is a picture": {"picture": {"_type": "Audio"}},
    }
    rows = [{"picture": {"bytes": picture(n), "path": "x"}, "kind": n} for n in range(3)]
    for name, features in odd.items():
        found.append(Hostile(f"parquet/a hub file with {name}", plan("huggingface"), {"a.parquet": described(rows, features)}))
    return found


def table(**reader: Any) -> dict[str, Any]:
    """The plan of tables whose column `text` is the media, `key` the id."""
    return plan("table", **{"id": "key", "media": TEXT, **reader})


def _zeros(size: int, head: bytes) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0) as packed:
        packed.write(head)
        for _ in range(size >> 20):
            packed.write(b"0" * (1 << 20))
    return out.getvalue()


def _parquet(columns: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()
