"""Parquet files in the layout of Hugging Face's hub, read by the schema that they carry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from stages.common.corpus import Column
from stages.common.errors import UserError, unknown
from stages.common.parquet import readable
from stages.common.registry import part
from stages.ingest.core.audio import AudioRule, Samples
from stages.ingest.core.files import File
from stages.ingest.core.item import BadItem, Broken, Item, Source
from stages.ingest.core.paths import SPLIT_NAMES
from stages.ingest.core.rows import Row, rows_of

_SPLIT = re.compile(rf"(?:^|[/_.-])({'|'.join(SPLIT_NAMES)})(?=[/_.-])", re.IGNORECASE)


@part
class HuggingFace:
    """One item per row. Image and Audio features become media, ClassLabel keeps its names, in their order.

    text: string columns to take as text media. media: only these of the image and audio columns. id, group: columns with these
    roles; without `id`, it is the file's path and the row's number. The split is the one that the file's path names
    (`data/train-00000-of-00002.parquet`, `validation/0.parquet`). rate, samples, max_seconds: see core/audio.py.
    """

    def __init__(
        self,
        *,
        text: list[str] | None = None,
        media: list[str] | None = None,
        id: str | None = None,
        group: str | None = None,
        rate: int | None = None,
        samples: Samples = "int16",
        max_seconds: float = 3600.0,
    ) -> None:
        self.text, self.media, self.id, self.group = text or [], media, id, group
        self.rate, self.samples, self.max_seconds = rate, samples, max_seconds
        self.columns: list[Column] = []
        self.class_order: dict[str, list[str]] = {}
        self._audio: dict[str, AudioRule] = {}

    def read(self, source: Source) -> Iterator[Item | Broken]:
        for file in source.files().each(lambda path: path.endswith(".parquet")):
            features = _features(file)
            kinds = self._kinds(features, file)
            found = _SPLIT.search(file.path)
            split = SPLIT_NAMES[found.group(1).lower()] if found else None
            needed = [*kinds, *(c for c in (self.id, self.group) if c)]
            for number, row in enumerate(rows_of(file, "parquet", needed, None, None)):
                place = f"{file.path.removesuffix('.parquet')}-{number:08d}"
                yield row if isinstance(row, Broken) else self._item(row, place, kinds, split)

    def _kinds(self, features: dict[str, Any], file: File) -> dict[str, str]:
        """Media columns and their kinds; the classes of labels are noted."""
        typed = {"Image": "image", "Audio": "waveform"}
        kinds = {
            n: typed[str(f.get("_type"))] for n, f in features.items() if isinstance(f, dict) and str(f.get("_type")) in typed
        }
        for name in self.media or []:
            if name not in kinds:
                raise unknown("image or audio column", name, kinds, where=file.path)
        kinds = {n: k for n, k in kinds.items() if self.media is None or n in self.media} | dict.fromkeys(self.text, "text")
        if not kinds:
            raise UserError(
                "the schema names no image or audio column", where=file.path, do="list `text` columns, or use `reader: table`"
            )
        for name, feature in features.items():
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
                names = feature.get("names") or []
                if not isinstance(names, list):
                    raise UserError(f"the names of {name!r} are no list", where=file.path)
                self.class_order.setdefault(name, [str(c) for c in names])
        self._audio = self._audio or {n: AudioRule(self.rate, self.samples, self.max_seconds) for n in kinds}
        return kinds

    def _item(self, row: Row, place: str, kinds: dict[str, str], split: str | None) -> Item | Broken:
        identity = _text(row[self.id]) if self.id else place
        media = {}
        try:
            for name, kind in kinds.items():
                media[name] = row[name] if kind == "text" else _bytes(name, row[name])
                if kind == "waveform":
                    media[name] = self._audio[name].later(media[name])
        except BadItem as error:
            return Broken(identity or place, str(error))
        if not self.columns:
            self.columns = [
                Column(n, "media", k, rate=self._audio[n].rate if k == "waveform" else None)  # type: ignore[arg-type]
                for n, k in kinds.items()
            ]
        labels = {n: self._label(n, v) for n, v in row.items() if n not in kinds and not isinstance(v, (dict, list, bytes))}
        group = _text(row[self.group]) if self.group else None
        return Item(identity, media, labels, group=group, split=split)

    def _label(self, name: str, value: Any) -> Any:
        names = self.class_order.get(name)
        if not names or not isinstance(value, int):
            return value
        return names[value] if 0 <= value < len(names) else None  # -1: not labelled, by their convention


def _features(file: File) -> dict[str, Any]:
    import pyarrow.parquet as pq

    with file.seekable() as stream, readable("the file is no readable Parquet", where=file.path, do="fetch it again"):
        metadata = pq.read_schema(stream).metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    except (ValueError, AttributeError, RecursionError):
        raise UserError("the schema's `huggingface` entry is no JSON", where=file.path) from None
    return features if isinstance(features, dict) else {}


def _bytes(name: str, value: Any) -> bytes:
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise BadItem(f"{name} holds no bytes")
    return data


def _text(value: Any) -> str:
    return "" if value is None else str(value)
