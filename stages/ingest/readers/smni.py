"""EEG trials in the text format of the SMNI CMI corpus (UCI "EEG Database"): one gzip file per trial."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator

import numpy as np

from stages.common.corpus import Column
from stages.common.registry import part
from stages.ingest.core.item import BadItem, Broken, Item, Source

CHANNELS, SAMPLES, RATE = 64, 256, 256
_SUBJECT = re.compile(r"(?P<subject>co\d(?P<kind>[ac])\d+)\.rd\.(?P<trial>\d+)(\.gz)?$")
_MAX = 64 << 20  # bytes of a trial, unpacked


@part
class Smni:
    """One item per trial: series (256, 64) in microvolts at 256 Hz, channels in the file's order. group = subject.

    Labels: alcoholic (yes, no: the fourth letter of the subject's name, a or c), condition (the stimulus: S1 obj, S2 match,
    S2 nomatch), subject. Trials of fewer samples or channels are broken.
    """

    def __init__(self) -> None:
        self.columns = [Column("eeg", "media", "series", shape=[SAMPLES, CHANNELS], rate=RATE)]

    def read(self, source: Source) -> Iterator[Item | Broken]:
        for file in source.files().each(lambda path: _SUBJECT.search(path) is not None):
            found = _SUBJECT.search(file.path)
            subject, kind, trial = (found["subject"], found["kind"], found["trial"]) if found else ("", "", "")
            try:
                eeg, condition = read_trial(file.read())
            except BadItem as error:
                yield Broken(file.path, str(error))
                continue
            labels = {"alcoholic": "yes" if kind == "a" else "no", "condition": condition, "subject": subject}
            yield Item(f"{subject}-{trial}", {"eeg": eeg}, labels, group=subject)


def read_trial(data: bytes) -> tuple[np.ndarray, str]:
    """The trial (256, 64) float32 in microvolts, and its condition. Raises BadItem.

    Lines: comments `# <condition> , trial <n>` and `# <channel> chan <i>`, then `<trial> <channel> <sample> <microvolts>`.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            text = packed.read(_MAX).decode("ascii")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        raise BadItem("damaged gzip text") from None
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
