"""Texts as rows of symbols under a tokenizer file."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.common.errors import ContractError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # symbols 0 .. 4 of every tokenizer
_KEPT = 1 << 18  # pieces remembered at most


class Symbols:
    """A tokenizer file's texts -> symbols. Raises ContractError where the file cannot be read.

    Where words end at spaces, each space-separated piece is asked of the library once and remembered: natural text repeats
    its words, and the library does not remember them. A piece that spells a special symbol is text like any other.
    """

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer  # only where text is read

        try:
            text = path.read_text(encoding="utf-8")
            self.tokenizer: Any = Tokenizer.from_str(text)
            self.by_word = json.loads(text)["pre_tokenizer"]["type"] == "BertPreTokenizer"
        except Exception as error:  # the library raises nothing more precise
            raise ContractError(f"the tokenizer cannot be read: {error}", where=path, do="run the ingest again") from None
        self.tokenizer.encode_special_tokens = True
        self._forget()

    def _forget(self) -> None:
        self.place: dict[str, int] = {}  # piece -> its number
        self.flat = np.empty(0, np.int32)  # symbols of all pieces, one after another
        self.start, self.count = np.empty(0, np.int64), np.empty(0, np.int64)

    def rows(self, texts: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
        """int32 (N, length) and the lengths (N,): [CLS], the first length - 2 symbols of each text, [SEP], then [PAD]."""
        pieces = [text.split(" ") for text in texts] if self.by_word else [[text] for text in texts]
        number = self._numbers([piece for some in pieces for piece in some])
        item = np.repeat(np.arange(len(pieces)), [len(some) for some in pieces])
        counts = self.count[number]
        own = np.bincount(item, counts, minlength=len(pieces)).astype(np.int64)
        symbols = self.flat[_ranges(self.start[number], counts)]
        place = _ranges(np.zeros(len(own), np.int64), own)  # within its text
        kept = place < length - 2
        data = np.zeros((len(pieces), length), np.int32)
        data[:, 0] = SPECIAL.index("[CLS]")
        data[np.repeat(np.arange(len(own)), own)[kept], place[kept] + 1] = symbols[kept]
        lengths = np.minimum(own + 2, length)
        data[np.arange(len(own)), lengths - 1] = SPECIAL.index("[SEP]")
        return data, lengths

    def _numbers(self, pieces: list[str]) -> np.ndarray:
        """The number (P,) of each piece; those not met before are learnt first."""
        if len(self.place) > _KEPT:
            self._forget()
        new = [piece for piece in dict.fromkeys(pieces) if piece not in self.place]
        if new:
            found = [e.ids for e in self.tokenizer.encode_batch_fast(new, add_special_tokens=False)]
            counts = np.array([len(ids) for ids in found], np.int64)
            self.place |= {piece: len(self.count) + i for i, piece in enumerate(new)}
            self.start = np.concatenate([self.start, len(self.flat) + np.cumsum(counts) - counts])
            self.count = np.concatenate([self.count, counts])
            self.flat = np.concatenate([self.flat, *(np.array(ids, np.int32) for ids in found)])
        return np.array([self.place[piece] for piece in pieces], np.int64)


def _ranges(start: np.ndarray, count: np.ndarray) -> np.ndarray:
    """start[0] .. start[0] + count[0] - 1, start[1] .., one after another."""
    ends = np.cumsum(count)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(start - (ends - count), count)


def symbols(path: str) -> Symbols:
    """The symbols of a tokenizer file, kept until the file is another one: a process may outlive a corpus made anew."""
    try:
        about = Path(path).stat()
    except OSError:
        raise ContractError("there is no tokenizer", where=path, do="run the ingest again") from None
    return _symbols(path, about.st_ino, about.st_mtime_ns, about.st_size)


@functools.lru_cache(maxsize=8)
def _symbols(path: str, *version: int) -> Symbols:
    return Symbols(Path(path))
