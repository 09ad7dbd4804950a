"""What turns bytes of unknown origin into values, each with inputs that it takes, as property tests and fuzzing call it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.media import read_wav
from stages.ingest.core import audio, values
from stages.ingest.core.files import File
from stages.ingest.core.item import BadItem, Item, Source
from stages.ingest.core.rows import rows_of
from stages.ingest.core.xlsx import sheets
from stages.ingest.readers.mesh_views import read_mesh
from stages.ingest.readers.nexmon_csi import read_csi
from stages.ingest.readers.obo import read_terms
from stages.ingest.readers.pubtator import PubTator
from stages.ingest.readers.smni import electrode_names, read_trial
from stages.ingest.readers.wthor import Wthor
from stages.ingest.readers.xlabel import read_segments
from tests.faults.hostile.sources import sources

REFUSALS = (BadItem, UserError)  # BadItem: the item is quarantined; UserError: one clear error


@dataclass(frozen=True)
class Parser:
    """A function of bytes, and inputs that it takes."""

    parse: Callable[[bytes], Any]
    seeds: list[bytes]


@dataclass(frozen=True)
class Given(Source):
    """One file that was read already."""

    path: str
    data: bytes

    def files(self) -> Any:
        return self

    def each(self, wanted: Callable[[str], bool] = lambda path: True) -> Iterator[File]:
        if wanted(self.path):
            yield File(self.path, len(self.data), lambda: io.BytesIO(self.data))


def parsers() -> dict[str, Parser]:
    """By name."""
    sound = {name: dict(source.files) for name, source in sources().items()}
    labels = [data for path, data in sound["xlabel"].items() if path.endswith(".xx")]
    found = {
        "canonical WAV": Parser(lambda data: read_wav(data), [sound["sounds"]["s/0.wav"]]),
        "sound": Parser(lambda data: audio.AudioRule(4000).wav(data), list(sound["sounds"].values())),
        "stored sound": Parser(_stored("waveform", rate=8000), [sound["sounds"]["s/0.wav"]]),
        "picture": Parser(_stored("image"), list(sound["pictures of many kinds"].values())),
        "text": Parser(lambda data: _stored("text")(data.decode("utf-8", "surrogateescape")), [b"words"]),
        "wthor": Parser(lambda data: list(Wthor().read(Given("g.wtb", data))), list(sound["wthor"].values())),
        "xlabel": Parser(lambda data: _cut(data.decode("utf-8", "replace")), labels),
        "nexmon CSI": Parser(lambda data: read_csi(data, 3, 8), [d for n, d in sound["csi"].items() if n.endswith(".pcap")]),
        "workbook": Parser(lambda data: sheets(io.BytesIO(data), "at.xlsx"), [sound["csi"]["at.xlsx"]]),
        "SMNI": Parser(lambda data: (read_trial(data), electrode_names(data)), list(sound["smni"].values())),
        "OBO": Parser(lambda data: list(read_terms(data.decode("utf-8", "replace"))), list(sound["obo"].values())),
        "PubTator": Parser(_mentions, list(sound["pubtator"].values())),
        "mesh": Parser(read_mesh, list(sound["meshes"].values())),
    }
    for kind in ("csv", "tsv", "jsonl", "parquet", "npz"):
        name = f"table t.{kind}" if kind != "npz" else "npz"
        found[f"rows of {kind}"] = Parser(_rows(kind), list(sound[name].values()))
    return found


def _stored(kind: Any, rate: int | None = None) -> Callable[[Any], Any]:
    return lambda value: values.store(Column("x", "media", kind, rate=rate), value, "x")


def _cut(text: str) -> list[slice]:
    return [slice(round(s.begin * 8000), round(s.end * 8000)) for s in read_segments(text, [])]


def _mentions(data: bytes) -> list[Any]:
    found = list(PubTator(files={"train": ["*"]}).read(Given("a.txt", data)))
    return [values.store(Column("text", "media", "text"), e.media["text"], e.id) for e in found if isinstance(e, Item)]


def _rows(kind: str) -> Callable[[bytes], Any]:
    return lambda data: list(rows_of(next(Given(f"t.{kind}", data).each()), kind, [], None, None))
