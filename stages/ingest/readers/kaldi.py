"""Kaldi data folders: wav.scp, text, utt2spk and what goes with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Literal

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.audio import AudioRule, Samples
from stages.ingest.core.files import File, Files
from stages.ingest.core.item import BadItem, Broken, Item, Source

_TABLES = ("wav.scp", "text", "utt2spk", "spk2gender", "spk2age")
_HIGHEST = 1e300  # a mark above it, and NaN, is no mark
Tables = dict[str, dict[str, str]]


@part
class Kaldi:
    """One item per utterance of wav.scp; id = utterance, group = speaker, labels text, speaker, gender, age where known.

    folders: {split: data folder}. Waves are paths from the source's root; commands in wav.scp are refused. scores: {split:
    file} of lines `<utterance> <JSON>`; its lists of numbers (one per rater) become labels by their mean. missing: what to do
    with utterances whose wave is not among the files. rate, samples: see core/audio.py.
    """

    def __init__(
        self,
        *,
        folders: dict[str, str],
        scores: dict[str, str] | None = None,
        missing: Literal["quarantine", "skip"] = "quarantine",
        rate: int | None = None,
        samples: Samples = "int16",
    ) -> None:
        self.folders, self.scores, self.missing = folders, scores or {}, missing
        self.audio = AudioRule(rate, samples)
        self.columns: list[Column] = []

    def read(self, source: Source) -> Iterator[Item | Broken]:
        files = source.files()
        tables = {split: _tables(files, folder) for split, folder in self.folders.items()}
        scores = {u: s for path in self.scores.values() for u, s in _scores(files, path).items()}
        names = sorted({name for s in scores.values() for name in s})
        waves: dict[str, list[tuple[str, str]]] = {}
        for split, table in tables.items():
            for utterance, wave in table["wav.scp"].items():
                waves.setdefault(_relative(wave, split), []).append((split, utterance))
        met: set[str] = set()
        for file in files.each(lambda path: path in waves):
            met.add(file.path)
            for split, utterance in waves[file.path]:
                labels = _labels(tables[split], utterance) | {n: scores.get(utterance, {}).get(n) for n in names}
                try:
                    sound = self.audio.later(file.read())
                except BadItem as error:
                    yield Broken(utterance, str(error))
                    continue
                self.columns = self.columns or [Column("audio", "media", "waveform", rate=self.audio.rate)]
                yield Item(utterance, {"audio": sound}, labels, group=labels["speaker"], split=split)
        if self.missing == "quarantine":
            for path in sorted(waves.keys() - met):
                yield from (Broken(utterance, "its wave is not among the files") for _, utterance in waves[path])


def _tables(files: Files, folder: str) -> Tables:
    tables: Tables = {name: {} for name in _TABLES}
    wanted = {(PurePosixPath(folder) / name).as_posix(): name for name in _TABLES}
    found = set()
    for file in files.each(lambda path: path in wanted):
        found.add(wanted[file.path])
        for line in _text(file).splitlines():
            key, _, value = line.strip().replace("\t", " ", 1).partition(" ")
            if key:
                tables[wanted[file.path]][key] = value.strip()
    for name in ("wav.scp", "utt2spk"):
        if name not in found:
            raise UserError(f"the data folder has no {name}", where=folder, do="name Kaldi data folders in `folders`")
    return tables


def _labels(tables: Tables, utterance: str) -> dict[str, Any]:
    speaker = tables["utt2spk"].get(utterance, "")
    return {
        "text": tables["text"].get(utterance),
        "speaker": speaker,
        "gender": tables["spk2gender"].get(speaker),
        "age": tables["spk2age"].get(speaker),
    }


def _scores(files: Files, path: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for file in files.each(lambda p: p == path):
        for number, line in enumerate(_text(file).splitlines(), 1):
            utterance, _, text = line.replace("\t", " ", 1).partition(" ")
            try:
                scores = dict(json.loads(text).items())
            except (ValueError, AttributeError, RecursionError):
                raise UserError("a line is not `<utterance> <JSON>`", where=f"{path}, line {number}") from None
            found[utterance] = {
                name: sum(marks) / len(marks)
                for name, marks in scores.items()
                if isinstance(marks, list) and marks and all(isinstance(m, (int, float)) and abs(m) < _HIGHEST for m in marks)
            }
    if not found:
        raise UserError("the file of scores is missing or empty", where=path, do="correct `scores`")
    return found


def _text(file: File) -> str:
    try:
        return file.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"the file is not UTF-8 at byte {error.start}", where=file.path, do="save it as UTF-8") from None


def _relative(wave: str, split: str) -> str:
    if wave.endswith("|"):
        raise UserError("wav.scp holds a command, which is never run", where=f"folder of {split!r}", do="convert the waves")
    return wave.removeprefix("./")
