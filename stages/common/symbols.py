"""Texts as rows of symbols under a tokenizer file."""

from __future__ import annotations

import functools
import json
import threading
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.common.errors import ContractError, UserError

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
        self._learning = threading.Lock()  # several threads may decode texts of one corpus
        self._forget()

    def _forget(self) -> None:
        self.place: dict[str, int] = {}  # piece -> its number
        self.flat = np.empty(0, np.int32)  # symbols of all pieces, one after another
        self.start, self.count = np.empty(0, np.int64), np.empty(0, np.int64)

    def rows(self, texts: pa.Array, length: int) -> tuple[np.ndarray, np.ndarray]:
        """int32 (N, length) and the lengths (N,): [CLS], the first length - 2 symbols of each text, [SEP], then [PAD].

        texts: strings (N,); null is the empty text.
        """
        texts = texts.fill_null("") if texts.null_count else texts
        pieces, pieces_of = texts, np.ones(len(texts), np.int64)
        if self.by_word:
            words = pc.split_pattern(texts, " ")
            pieces, pieces_of = words.flatten(), np.diff(words.offsets.to_numpy())
        with self._learning:
            number = self._numbers(pieces)
            counts = self.count[number]
            symbols = self.flat[_ranges(self.start[number], counts)]
        ends = np.cumsum(pieces_of)
        upto = np.concatenate([[0], np.cumsum(counts)])  # symbols before each piece, and before the end
        first, own = upto[ends - pieces_of], upto[ends] - upto[ends - pieces_of]  # of each text
        kept = np.minimum(own, length - 2)
        if (kept < own).any():
            symbols = symbols[_ranges(first, kept)]
        data = np.zeros(len(texts) * length, np.int32)
        at = np.arange(len(texts)) * length
        data[at] = SPECIAL.index("[CLS]")
        data[_ranges(at + 1, kept)] = symbols
        data[at + kept + 1] = SPECIAL.index("[SEP]")
        return data.reshape(-1, length), kept + 2

    def _numbers(self, pieces: pa.Array) -> np.ndarray:
        """The number (P,) of each piece; those not met before are learnt first."""
        if len(self.place) > _KEPT:
            self._forget()
        coded = pieces.dictionary_encode()
        unique = coded.dictionary.to_pylist()
        number = np.fromiter(map(self.place.get, unique, repeat(-1)), np.int64, len(unique))
        unknown = np.flatnonzero(number < 0)
        if len(unknown):
            new = [unique[i] for i in unknown]
            found = [e.ids for e in self.tokenizer.encode_batch_fast(new, add_special_tokens=False)]
            counts = np.array([len(ids) for ids in found], np.int64)
            number[unknown] = np.arange(len(self.count), len(self.count) + len(new))
            self.place |= zip(new, number[unknown].tolist(), strict=True)
            self.start = np.concatenate([self.start, len(self.flat) + np.cumsum(counts) - counts])
            self.count = np.concatenate([self.count, counts])
            self.flat = np.concatenate([self.flat, np.array([i for ids in found for i in ids], np.int32)])
        return number[coded.indices.to_numpy()]


def _ranges(start: np.ndarray, count: np.ndarray) -> np.ndarray:
    """start[0] .. start[0] + count[0] - 1, start[1] .., one after another."""
    ends = np.cumsum(count)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(start - (ends - count), count)


def vocabulary(path: Path) -> int:
    """How many symbols a tokenizer file has, read without its library. Raises UserError where there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        listed = data["model"]["vocab"]
        pairs = listed.items() if isinstance(listed, dict) else ((text, i) for i, (text, _) in enumerate(listed))
        return 1 + max([i for _, i in pairs] + [added["id"] for added in data["added_tokens"]])
    except FileNotFoundError:
        raise UserError("the corpus has no tokenizer", where=path.parent, do="add `tokenizer:` to the corpus") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ContractError(f"the tokenizer cannot be read: {error}", where=path, do="run the ingest again") from None


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
