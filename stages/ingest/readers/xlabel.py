"""Segments of sound clips, by the label files of ESPS xlabel: phones, syllables or words cut from utterances."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.media import read_wav, wav_bytes
from stages.common.registry import part
from stages.ingest.core.audio import SUFFIXES, AudioRule, Samples
from stages.ingest.core.files import Files
from stages.ingest.core.item import BadItem, Broken, Item, Source
from stages.ingest.core.paths import PathRule, compiled

_LAST = 1e9  # seconds: a time beyond it lies beyond any clip
_LINE = re.compile(r"\s*(?P<end>\d+(?:\.\d+)?)[ \t]+-?\d+(?:[ \t](?P<text>.*))?$")


@dataclass(frozen=True)
class Segment:
    """A symbol, and where it begins and ends in seconds."""

    symbol: str
    begin: float
    end: float


@part
class Xlabel:
    """One item per segment, as mono canonical WAV; id `<clip>-<number>`, the symbol as label `label`, the clip as `clip`.

    segments: the path of a clip's label file, with the groups of `pattern` and the clip's `id` in braces. fold: pairs of a
    regular expression and what replaces it, in their order, applied to each symbol (closures and bursts to their phone);
    neighbours that are then the same are one segment, as is one without a symbol of its own (a change of voicing within a
    phone) with the one before. keep: the symbols that become items, default all. seconds: segments shorter or longer are left
    out. pattern, splits, group: see core/paths.py; rate (Hz), samples: see core/audio.py.

    A clip without a label file, or with one that gives no times, is broken.
    """

    def __init__(
        self,
        *,
        pattern: str,
        segments: str,
        label: str = "phone",
        fold: list[tuple[str, str]] | None = None,
        keep: list[str] | None = None,
        seconds: tuple[float, float] = (0.0, 10.0),
        splits: dict[str, list[str]] | None = None,
        encoding: str = "utf-8",
        rate: int | None = None,
        samples: Samples = "int16",
    ) -> None:
        if not 0 <= seconds[0] < seconds[1]:
            raise UserError(f"no range of seconds: {seconds}", where="reader.seconds", do="write [shortest, longest]")
        self.rule, self.audio = PathRule(pattern, splits or {}), AudioRule(rate, samples)
        self.segments, self.label, self.seconds, self.encoding = segments, label, seconds, encoding
        self.fold = [(compiled(expression), put) for expression, put in fold or []]
        self.keep = None if keep is None else set(keep)
        self.columns: list[Column] = []

    def read(self, source: Source) -> Iterator[Item | Broken]:
        files = source.files()
        texts = self._texts(files)
        for found in self.rule.walk(files, SUFFIXES):
            if isinstance(found, Broken):
                yield found
                continue
            file, named = found
            try:
                path = self._path(named.labels | {"id": named.id})
                if path not in texts:
                    raise BadItem(f"there is no label file {path}")
                cut = self._chosen(read_segments(texts[path], self.fold))
                wave = read_wav(self.audio.wav(file.read()))
            except BadItem as error:
                yield Broken(named.id, str(error))
                continue
            rate = self.audio.rate
            assert rate is not None
            self.columns = self.columns or [Column("audio", "media", "waveform", rate=rate)]
            for number, segment in cut:
                samples = wave[round(segment.begin * rate) : round(segment.end * rate)]
                if not len(samples):
                    yield Broken(f"{named.id}-{number:03d}", "it lies beyond the end of its clip")
                    continue
                labels = {**named.labels, self.label: segment.symbol, "clip": named.id}
                media = {"audio": wav_bytes(samples, rate)}
                yield Item(f"{named.id}-{number:03d}", media, labels, group=named.group, split=named.split)

    def _texts(self, files: Files) -> dict[str, str]:
        """Every file that may hold labels, by its path."""
        suffix = "." + self.segments.rpartition(".")[2]
        return {file.path: file.read().decode(self.encoding, "replace") for file in files.each(lambda p: p.endswith(suffix))}

    def _path(self, known: dict[str, str | None]) -> str:
        try:
            return self.segments.format_map(known)
        except (KeyError, ValueError, IndexError) as error:
            raise UserError(f"the path of a label file cannot be made: {error}", where="reader.segments") from None

    def _chosen(self, segments: list[Segment]) -> list[tuple[int, Segment]]:
        shortest, longest = self.seconds
        return [
            (number, s)
            for number, s in enumerate(segments)
            if (self.keep is None or s.symbol in self.keep) and shortest <= s.end - s.begin <= longest
        ]


def read_segments(text: str, fold: list[tuple[re.Pattern[str], str]]) -> list[Segment]:
    """The segments of one label file, folded and joined. Raises BadItem where it gives no times, or times that run backwards.

    After a header that ends in a line `#`: lines `<end in seconds> <colour> <symbol>`, diacritics after a tabulator.
    """
    _, mark, body = text.partition("\n#")
    found: list[Segment] = []
    begin = 0.0
    for line in body.splitlines()[1:]:
        match = _LINE.match(line)
        if match is None:
            if line.strip():
                raise BadItem(f"not a line of a label file: {line.strip()[:40]!r}")
            continue
        end, symbol = min(float(match["end"]), _LAST), (match["text"] or "").partition("\t")[0].strip()
        if end < begin:
            raise BadItem(f"times run backwards at {end:g} s")
        symbol = "" if symbol[:1] in ("+", "-") else symbol  # diacritics alone
        for expression, put in fold:
            symbol = expression.sub(put, symbol)
        if found and symbol in ("", found[-1].symbol):
            found[-1] = Segment(found[-1].symbol, found[-1].begin, end)
        elif symbol:
            found.append(Segment(symbol, begin, end))
        begin = end
    if not mark or not found:
        raise BadItem("the label file gives no times")
    return found
