"""EEG trials in the text format of the SMNI CMI corpus (UCI "EEG Database"): one gzip file per trial."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.item import BadItem, Broken, Item, Source

CHANNELS, SAMPLES, RATE = 64, 256, 256
_SUBJECT = re.compile(r"(?P<subject>co\d(?P<kind>[ac])\d+)\.rd\.(?P<trial>\d+)(\.gz)?$")
_MAX = 64 << 20  # bytes of a trial, unpacked


@part
class Smni:
    """One item per trial: series (256, 64) in microvolts at 256 Hz, channels in the file's order. group = subject.

    electrodes: their names, such as OZ; then one item per trial and electrode, series (256, 1), in that order.

    Labels: alcoholic (yes, no: the fourth letter of the subject's name, a or c), condition (the stimulus: S1 obj, S2 match,
    S2 nomatch), stimulus (first, second: S1 or S2), subject, electrode (none where an item holds all). Trials of fewer samples
    or channels are broken, and so are those that lack a named electrode. Raises UserError for a list that is empty or names one
    twice.
    """

    def __init__(self, *, electrodes: list[str] | None = None) -> None:
        if electrodes is not None and (not electrodes or len(set(electrodes)) < len(electrodes)):
            raise UserError("name each electrode once, and one at least", where="reader smni.electrodes")
        self.electrodes = electrodes
        self.columns = [Column("eeg", "media", "series", shape=[SAMPLES, CHANNELS if electrodes is None else 1], rate=RATE)]

    def read(self, source: Source) -> Iterator[Item | Broken]:
        for file in source.files().each(lambda path: _SUBJECT.search(path) is not None):
            found = _SUBJECT.search(file.path)
            subject, kind, trial = (found["subject"], found["kind"], found["trial"]) if found else ("", "", "")
            data = file.read()
            try:
                eeg, condition = read_trial(data)
                places = self._places(data)
            except BadItem as error:
                yield Broken(file.path, str(error))
                continue
            labels: dict[str, Any] = {"alcoholic": "yes" if kind == "a" else "no", "condition": condition, "subject": subject}
            labels |= {"stimulus": "first" if condition.startswith("S1") else "second", "electrode": None}
            if self.electrodes is None:
                yield Item(f"{subject}-{trial}", {"eeg": eeg}, labels, group=subject)
            for name, place in places.items():
                one = np.ascontiguousarray(eeg[:, place : place + 1])
                yield Item(f"{subject}-{trial}-{name}", {"eeg": one}, labels | {"electrode": name}, group=subject)

    def _places(self, data: bytes) -> dict[str, int]:
        """Which channel of the trial each named electrode is. Raises BadItem for one that it lacks."""
        if self.electrodes is None:
            return {}
        found = {name: place for place, name in enumerate(electrode_names(data))}
        missing = [name for name in self.electrodes if name not in found]
        if missing:
            raise BadItem(f"no electrode {missing[0]}")
        return {name: found[name] for name in self.electrodes}


def read_trial(data: bytes) -> tuple[np.ndarray, str]:
    """The trial (256, 64) float32 in microvolts, and its condition. Raises BadItem.

    Lines: comments `# <condition> , trial <n>` and `# <channel> chan <i>`, then `<trial> <channel> <sample> <microvolts>`.
    """
    text = _unpacked(data)
    stated = re.search(r"^# (S\d[a-z ]*?)(?: err)?\s*, trial", text, re.MULTILINE)
    cells = re.sub(r"^#.*$", "", text, flags=re.MULTILINE).split()
    if len(cells) != 4 * CHANNELS * SAMPLES or not stated:
        raise BadItem(f"{len(cells) // 4} values, where {CHANNELS} channels of {SAMPLES} samples are due")
    try:
        samples, values = (np.array(cells[i::4], np.float64).reshape(CHANNELS, SAMPLES) for i in (2, 3))
    except ValueError:
        raise BadItem("a value is no number") from None
    if len(set(cells[1 :: 4 * SAMPLES])) != CHANNELS or (samples != np.arange(SAMPLES)).any():
        raise BadItem("channels or samples out of order")
    return values.T.astype(np.float32), stated[1]


def electrode_names(data: bytes) -> list[str]:
    """The trial's electrodes by their comments `# <name> chan <i>`, in the order of its channels. Raises BadItem."""
    return re.findall(r"^# (\S+) chan \d+", _unpacked(data), re.MULTILINE)


def _unpacked(data: bytes) -> str:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            return packed.read(_MAX).decode("ascii")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        raise BadItem("damaged gzip text") from None
