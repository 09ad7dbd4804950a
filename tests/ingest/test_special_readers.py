from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.common import registry
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.ingest.core.item import BadItem
from stages.ingest.readers.nexmon_csi import read_csi
from stages.ingest.readers.obo import read_terms
from stages.ingest.readers.smni import Smni, read_trial
from tests.ingest.making import HALVES, ingest, put, tone

DECLARED = {"split": {"by": "declared"}}
WHOLE = {"split": {"by": "hash", "fractions": {"train": 1.0}}}


def plan(path: Path, name: str, labels: dict[str, str] | None = None, **reader: Any) -> dict[str, Any]:
    return {
        "source": {"name": "folder", "path": str(path)},
        "reader": {"name": name, **reader},
        "labels": {k: {"kind": v} for k, v in (labels or {}).items()},
        "quarantine_share": 0.9,
        **HALVES,
    }


# Kaldi


def kaldi(count: int = 4) -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {f"w/u{i}.wav": tone(i) for i in range(count)}
    for part, of in (("tr", range(2)), ("te", range(2, count))):
        files[f"{part}/wav.scp"] = "".join(f"u{i}\tw/u{i}.wav\n" for i in of)
        files[f"{part}/utt2spk"] = "".join(f"u{i} s{i}\n" for i in of)
        files[f"{part}/text"] = "".join(f"u{i}\tWORD {i}\n" for i in of)
        files[f"{part}/spk2gender"] = "".join(f"s{i} {'mf'[i % 2]}\n" for i in of)
        files[f"{part}/spk2age"] = "".join(f"s{i}\t{20 + i}\n" for i in of)
    files["scores"] = "".join(f"u{i}\t{json.dumps({'accuracy': [i, i + 1], 'words': ['x']})}\n" for i in range(3))
    return files


FOLDERS = {"train": "tr", "test": "te"}


def test_a_kaldi_folder_gives_utterances_with_speakers_text_and_mean_scores(tmp_path: Path) -> None:
    put(tmp_path / "f", kaldi())
    labels = {"text": "text", "gender": "class", "age": "number", "accuracy": "number"}
    given = plan(tmp_path / "f", "kaldi", labels, folders=FOLDERS, scores={"train": "scores"}) | DECLARED
    corpus = ingest(tmp_path / "w", given)
    rows = corpus.table(["id", "split", "group", *labels]).to_pylist()
    assert rows[1] == {"id": "u1", "split": "train", "group": "s1", "text": "WORD 1", "gender": 0, "age": 21.0, "accuracy": 1.5}
    assert [r["accuracy"] for r in rows] == [0.5, 1.5, 2.5, None]


def test_a_listed_wave_that_is_absent_is_quarantined_or_skipped_as_told(tmp_path: Path) -> None:
    files = kaldi()
    del files["w/u3.wav"]
    put(tmp_path / "f", files)
    corpus = ingest(tmp_path / "w", plan(tmp_path / "f", "kaldi", folders=FOLDERS) | DECLARED)
    assert corpus.card.quarantined == [{"item": "u3", "reason": "its wave is not among the files"}]
    corpus = ingest(tmp_path / "v", plan(tmp_path / "f", "kaldi", folders=FOLDERS, missing="skip") | DECLARED)
    assert corpus.card.quarantined == [] and corpus.count() == 3


def test_a_command_in_wav_scp_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "f", kaldi() | {"tr/wav.scp": "u0 sox w/u0.wav - |\n"})
    with pytest.raises(UserError, match="a command, which is never run"):
        ingest(tmp_path / "w", plan(tmp_path / "f", "kaldi", folders=FOLDERS) | DECLARED)


# Text graph

GRAPH = {"t": "one\ntwo\nthree\nfour\n", "g": "0\t1\n1\t0\n2 2\n3 1\n", "c": "a\n\nb\na"}


def test_a_graph_has_neighbours_both_ways_without_loops_and_blank_classes_are_null(tmp_path: Path) -> None:
    reader = {"text": "t", "graph": "g", "classes": "c"}
    corpus = ingest(tmp_path / "w", plan(put(tmp_path / "f", GRAPH), "text_graph", {"class": "class"}, **reader))
    rows = corpus.table(["id", "edges", "class", "text"]).to_pylist()
    assert [r["edges"] for r in rows] == [["node-1"], ["node-0", "node-3"], [], ["node-1"]]
    assert [r["class"] for r in rows] == [0, None, 1, 0] and rows[2]["text"] == "three"


@pytest.mark.parametrize(("line", "says"), [("0 9", "no edge between 4 nodes"), ("0", "no edge"), ("a b", "no edge")])
def test_an_edge_to_nowhere_names_its_line(tmp_path: Path, line: str, says: str) -> None:
    put(tmp_path / "f", GRAPH | {"g": f"0 1\n{line}\n"})
    with pytest.raises(UserError, match=says) as caught:
        ingest(tmp_path / "w", plan(tmp_path / "f", "text_graph", text="t", graph="g"))
    assert "g, line 2" in str(caught.value)


# Nexmon CSI


def pcap(values: np.ndarray) -> bytes:
    """A capture of packets (P, 2 subcarriers) int16 behind the 60 bytes of other headers."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
    for i, row in enumerate(values):
        body = bytes(60) + row.astype("<i2").tobytes() + bytes(4 if i == 1 else 0)
        out += struct.pack("<IIII", 0, i, len(body), len(body)) + body
    return out


def workbook(sheets: dict[str, list[list[str | float]]]) -> bytes:
    main, rel = (
        "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
        "http://schemas.openxmlformats.org/officeDocument/2006/",
    )
    strings: list[str] = []
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as book:
        for n, rows in enumerate(sheets.values(), 1):
            cells = ""
            for r, row in enumerate(rows, 1):
                cells += f'<row r="{r}">'
                for column, value in zip("ABC", row, strict=True):
                    if isinstance(value, str):
                        strings.append(value)
                        cells += f'<c r="{column}{r}" t="s"><v>{len(strings) - 1}</v></c>'
                    else:
                        cells += f'<c r="{column}{r}"><v>{value}</v></c>'
                cells += "</row>"
            book.writestr(
                f"xl/worksheets/sheet{n}.xml", f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>'
            )
        names = "".join(f'<sheet name="{s}" sheetId="{n}" r:id="r{n}"/>' for n, s in enumerate(sheets, 1))
        book.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{rel}relationships"><sheets>{names}</sheets></workbook>'
        )
        targets = "".join(f'<Relationship Id="r{n}" Target="worksheets/sheet{n}.xml"/>' for n in range(1, len(sheets) + 1))
        book.writestr("xl/_rels/workbook.xml.rels", f"<Relationships>{targets}</Relationships>")
        items = "".join(f"<si><t>{s}</t></si>" for s in strings)
        book.writestr("xl/sharedStrings.xml", f'<sst xmlns="{main}">{items}</sst>')
    return out.getvalue()


def test_csi_packets_become_a_series_with_positions_from_the_workbook(tmp_path: Path) -> None:
    csi = np.random.default_rng(0).integers(-2000, 2000, (4, 3, 16))
    head: list[str | float] = ["location", "x", "y"]
    book = workbook({"ref_coord_path1": [head, ["7_1", 1.5, 2.5]], "test_coord_path2": [head, ["7_1", 1.0, 2.0]]})
    names = ["ref_7_1_9.pcap", "ref_8_1_9.pcap", "test_7_1_9.pcap", "other.pcap"]
    put(tmp_path / "f", {n: pcap(csi[i]) for i, n in enumerate(names)} | {"at.xlsx": book})
    reader = {
        "pattern": r"(?P<split>ref|test)_(?P<place>\d+_\d+)_\d+\.pcap",
        "locations": "at.xlsx",
        "splits": {"train": "ref", "test": "test"},
        "packets": 3,
        "subcarriers": 8,
    }
    labels = {"x": "number", "y": "number", "path": "class"}
    corpus = ingest(tmp_path / "w", plan(tmp_path / "f", "nexmon_csi", labels, **reader) | DECLARED)
    rows = corpus.table(["id", "split", "x", "path", "csi"]).to_pylist()
    assert [(r["id"], r["split"], r["x"], r["path"]) for r in rows] == [
        ("ref-7_1", "train", 1.5, 0),
        ("ref-8_1", "train", None, None),
        ("test-7_1", "test", 1.0, 1),
    ]
    assert rows[2]["csi"] == csi[2].reshape(-1).tolist() and corpus.card.media().shape == [3, 16]
    assert corpus.card.quarantined == [{"item": "other.pcap", "reason": "its path does not match the pattern"}]


CSI: dict[str, Any] = {
    "pattern": r"(?P<split>ref|test)_(?P<place>\d+_\d+)_\d+\.pcap",
    "locations": "at.xlsx",
    "splits": {"train": "ref", "test": "test"},
    "packets": 3,
    "subcarriers": 8,
}


def test_csi_packets_may_be_items_of_their_own_with_the_used_subcarriers_in_order_of_frequency(tmp_path: Path) -> None:
    csi = np.random.default_rng(0).integers(-2000, 2000, (2, 3, 16))
    head: list[str | float] = ["location", "x", "y"]
    book = workbook({"ref_coord_path1": [head, ["7_1", 1.5, 2.5]], "test_coord_path1": [head, ["7_1", 1.0, 2.0]]})
    put(tmp_path / "f", {f"{k}_7_1_9.pcap": pcap(csi[i]) for i, k in enumerate(("ref", "test"))} | {"at.xlsx": book})
    described = plan(tmp_path / "f", "nexmon_csi", {"x": "number"}, **CSI, item="packet", bands=[[-3, -1], [1, 2]])
    corpus = ingest(tmp_path / "w", described | DECLARED)
    rows = corpus.table(["id", "split", "group", "x", "csi"]).to_pylist()
    assert [(r["id"], r["split"], r["group"], r["x"]) for r in rows] == [
        *[(f"ref-7_1-0000{i}", "train", "ref-7_1", 1.5) for i in range(3)],
        *[(f"test-7_1-0000{i}", "test", "test-7_1", 1.0) for i in range(3)],
    ]
    assert corpus.card.media().shape == [5, 2]
    stored = csi[1, 2].reshape(8, 2)
    assert rows[5]["csi"] == stored[[5, 6, 7, 1, 2]].reshape(-1).tolist()


@pytest.mark.parametrize("bands", [[[-5, -1]], [[0, 4]], [[1, 2], [2, 3]], [[2, 1]]])
def test_bands_that_there_are_not_are_refused(bands: list[list[int]]) -> None:
    with pytest.raises(UserError, match="do not name subcarriers from -4 to 3"):
        registry.make("reader", Part("nexmon_csi", {**CSI, "bands": bands}))


def test_a_capture_cut_short_or_of_another_kind_is_broken() -> None:
    whole = pcap(np.zeros((3, 16)))
    assert read_csi(whole, 3, 8).shape == (3, 16)
    for data, says in (
        (whole[:-1], "2 whole packets of 3"),
        (whole[:100], "0 whole packets|1 whole packets"),
        (b"\0" * 50, "not a pcap"),
        (pcap(np.zeros((3, 4))), "no room for 8"),
    ):
        with pytest.raises(BadItem, match=says):
            read_csi(data, 3, 8)


# MEDS


def meds(tmp_path: Path) -> Path:
    day = 86_400_000_000
    rows = [
        (2, 2 * day, "LAB//b", 2.0),
        (1, 5 * day, "LAB//a", 1.0),
        (1, None, "GENDER//F", None),
        (1, 4 * day, "LAB//b", None),
        (1, 6 * day, "MEDS_DEATH", None),
        (2, 1 * day, "GENDER//M", None),
        (3, None, "GENDER//M", None),
    ]
    subject, time, code, value = zip(*rows, strict=True)
    table = {"subject_id": subject, "time": pa.array(time, pa.timestamp("us")), "code": code, "numeric_value": value}
    (tmp_path / "f").mkdir()
    pq.write_table(
        pa.table({k: pa.array(v) if isinstance(v, tuple) else v for k, v in table.items()}), tmp_path / "f/e.parquet"
    )
    return tmp_path / "f"


def test_events_are_gathered_by_subject_in_order_and_outcomes_leave_no_trace(tmp_path: Path) -> None:
    outcomes = {"sex": "GENDER//*", "died": "MEDS_DEATH"}
    corpus = ingest(tmp_path / "w", plan(meds(tmp_path), "meds", {"sex": "class", "died": "class"}, outcomes=outcomes) | WHOLE)
    rows = {r["id"]: r for r in corpus.table(["id", "group", "events", "sex", "died"]).to_pylist()}
    assert [(e["time"], e["code"], e["value"]) for e in rows["1"]["events"]] == [
        (4 * 86400.0, "LAB//b", None),
        (5 * 86400.0, "LAB//a", 1.0),
    ]
    assert (rows["1"]["sex"], rows["1"]["died"], rows["2"]["sex"], rows["2"]["died"]) == (0, 1, 1, 0)
    assert corpus.card.quarantined == [{"item": "3", "reason": "no event has a time"}]


def test_static_facts_stand_before_the_first_event_and_dropped_codes_go(tmp_path: Path) -> None:
    corpus = ingest(tmp_path / "w", plan(meds(tmp_path), "meds", drop=["LAB//a"]) | WHOLE)
    events = corpus.table(["id", "events"]).to_pylist()[0]["events"]
    assert [(e["time"] / 86400, e["code"]) for e in events] == [(4.0, "GENDER//F"), (4.0, "LAB//b"), (6.0, "MEDS_DEATH")]


# SMNI


def trial(values: np.ndarray, condition: str = "S2 nomatch") -> bytes:
    lines = ["# co2a0000364.rd", "# 120 trials", "# 3.906000 msecs uV", f"# {condition} , trial 7"]
    for c, channel in enumerate(values.T):
        lines.append(f"# C{c} chan {c}")
        lines += [f"7 C{c} {t} {v:.3f}" for t, v in enumerate(channel)]
    return gzip.compress("\n".join(lines).encode(), mtime=0)


def test_an_eeg_trial_is_read_sample_by_channel() -> None:
    values = np.random.default_rng(0).normal(0, 10, (256, 64)).round(3)
    eeg, condition = read_trial(trial(values))
    assert condition == "S2 nomatch" and np.allclose(eeg, values, atol=1e-4)
    assert read_trial(trial(values, "S2 match err"))[1] == "S2 match"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"plain", "damaged"),
        (trial(np.zeros((256, 64)))[:-400], "damaged"),
        (trial(np.zeros((200, 64))), "12800 values"),
        (trial(np.zeros((64, 256))), "out of order"),
    ],
)
def test_an_eeg_trial_of_another_shape_is_broken(data: bytes, says: str) -> None:
    with pytest.raises(BadItem, match=says):
        read_trial(data)


def test_named_electrodes_of_a_trial_become_items_of_their_subject(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(0, 10, (256, 64)).round(3)
    first, second = "co2a0000001.rd.000.gz", "co2c0000002.rd.003.gz"
    put(tmp_path / "f", {first: trial(values, "S1 obj"), second: trial(-values)})
    labels = {"alcoholic": "class", "stimulus": "class", "electrode": "class"}
    corpus = ingest(tmp_path / "w", plan(tmp_path / "f", "smni", labels, electrodes=["C7", "C2"]) | WHOLE)
    rows = corpus.table(["id", "group", "eeg", *labels]).to_pylist()
    ids = [f"co2a0000001-000-{c}" for c in ("C2", "C7")] + [f"co2c0000002-003-{c}" for c in ("C2", "C7")]
    assert [r["id"] for r in rows] == ids and [r["group"] for r in rows] == ["co2a0000001"] * 2 + ["co2c0000002"] * 2
    assert np.allclose(rows[0]["eeg"], values[:, 2], atol=1e-4) and np.allclose(rows[3]["eeg"], -values[:, 7], atol=1e-4)
    stated = {name: corpus.card.column(name).classes for name in labels}
    found = [[stated[name][r[name]] for name in labels] for r in rows]  # type: ignore[index]
    assert found[0] == ["yes", "first", "C2"] and found[3] == ["no", "second", "C7"]
    assert corpus.card.media(None).shape == [256, 1]


def test_a_trial_without_a_named_electrode_is_broken_and_no_list_names_one_twice(tmp_path: Path) -> None:
    good, bad = "co2a0000001.rd.000.gz", "co2c0000002.rd.003.gz"
    lost = gzip.compress(gzip.decompress(trial(np.zeros((256, 64)))).replace(b"# C7 chan", b"# X chan"), mtime=0)
    put(tmp_path / "f", {good: trial(np.ones((256, 64))), bad: lost})
    corpus = ingest(tmp_path / "w", plan(tmp_path / "f", "smni", electrodes=["C7"]) | WHOLE)
    assert corpus.count() == 1 and [q["reason"] for q in corpus.card.quarantined] == ["no electrode C7"]
    for electrodes in ([], ["C1", "C1"]):
        with pytest.raises(UserError, match="each electrode once"):
            Smni(electrodes=electrodes)


# OBO

OBO = r"""format-version: 1.2

[Term]
id: D:1
name: illness

[Term]
id: D:2
name: flu
synonym: "influenza" EXACT []
synonym: "Flu" EXACT []
synonym: "the \"grippe\"" EXACT [x:y]
synonym: "fever" BROAD []
is_a: D:1 ! illness
is_a: D:404 ! elsewhere

[Term]
id: D:3
name: old illness
is_obsolete: true

[Typedef]
id: part_of
name: part of
"""


def test_names_and_synonyms_become_rows_of_their_concept(tmp_path: Path) -> None:
    put(tmp_path / "f", {"a.obo": OBO, "b.obo": OBO})
    corpus = ingest(tmp_path / "w", plan(tmp_path / "f", "obo", {"concept": "text", "scope": "class"}) | HALVES)
    rows = corpus.table(["id", "group", "text", "edges", "concept"]).to_pylist()
    assert [(r["id"], r["text"], r["edges"]) for r in rows] == [
        ("D:1", "illness", []),
        ("D:2", "flu", ["D:1"]),
        ("D:2/01", "influenza", ["D:2"]),
        ("D:2/02", 'the "grippe"', ["D:2"]),
    ]
    assert {r["group"] for r in rows} == {"D:1", "D:2"} == {r["concept"] for r in rows}


def test_a_term_without_an_id_is_an_error() -> None:
    with pytest.raises(UserError, match="no id"):
        list(read_terms("[Term]\nname: x\n"))
