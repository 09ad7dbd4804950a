"""Sound clips in folders, as Hugging Face's AudioFolder has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stages.common.corpus import Column
from stages.common.registry import part
from stages.ingest.core.audio import SUFFIXES, AudioRule, Samples
from stages.ingest.core.item import BadItem, Broken, Item, Source, Undecoded
from stages.ingest.core.joining import PARTS, Join, joined
from stages.ingest.core.paths import PathRule


@part
class AudioFolder:
    """One item per clip, as mono canonical WAV; its id is its path, or the pattern's group `id`.

    rate (Hz), samples, max_seconds: see core/audio.py. pattern, splits, label, group, split: see core/paths.py. join: clips of
    one speaker become strings of several, with a label `text` and a column `parts`: see core/joining.py.
    """

    def __init__(
        self,
        *,
        rate: int | None = None,
        samples: Samples = "int16",
        max_seconds: float = 3600.0,
        pattern: str | None = None,
        splits: dict[str, list[str]] | None = None,
        label: str = "label",
        group: str | None = None,
        split: str | None = None,
        column: str = "audio",
        join: Join | None = None,
    ) -> None:
        self.audio = AudioRule(rate, samples, max_seconds)
        self.rule = PathRule(pattern, splits or {}, label, group, split)
        self.column, self.join = column, join
        self.columns: list[Column] = []

    def read(self, source: Source) -> Iterator[Item | Broken]:
        if self.join is None:
            yield from self._clips(source, self.audio.later)
            return
        clips = list(self._clips(source, self.audio.wav))
        if self.audio.rate is not None:  # else there is no whole clip
            self.columns = [*self.columns, Column(PARTS, "meta")]
        yield from joined(clips, self.join, self.column, self.audio.rate or 0)

    def _clips(self, source: Source, decode: Callable[[bytes], bytes | Undecoded]) -> Iterator[Item | Broken]:
        for found in self.rule.walk(source.files(), SUFFIXES):
            if isinstance(found, Broken):
                yield found
                continue
            file, named = found
            try:
                wave = decode(file.read())
            except BadItem as error:
                yield Broken(named.id, str(error))
                continue
            self.columns = self.columns or [Column(self.column, "media", "waveform", rate=self.audio.rate)]
            yield Item(named.id, {self.column: wave}, named.labels, group=named.group, split=named.split)
