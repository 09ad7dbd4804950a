"""Text to symbols: a corpus' texts through `media.tokenised`, block by block, beside a Python loop over rows.

The rows are texts of words drawn by Zipf's law from a vocabulary of made-up words, tokenised by wordpiece. Two loops over rows:
BERT's tokenizer in plain Python (normalise, cut at spaces and punctuation, wordpiece), and the library called for each row. All
give the same symbols.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.core.case import Case, Line, Options, Run, Way, at_least
from benchmarks.core.values import digest

WORDS, LENGTH = 20_000, 32
BLOCK = 1024  # rows decoded at a time in pretraining


def cases(options: Options) -> list[Case]:
    rows = 1000 if options.quick else 200_000
    made = {"rows": rows, "words": 500 if options.quick else WORDS}
    ways = {
        "ours": Way("media.tokenised", ours, made, items=rows),
        "library": Way("the library, row by row", library, made, ("tokenizers",), rows),
        "loop": Way("plain Python, row by row", loop, made, items=rows),
    }
    what = f"{rows} texts of 3 to 20 words to symbols"
    lines = tuple(Line(what, "ours", (peer,), aim=at_least(10), measure="cpu_s") for peer in ("library", "loop"))
    return [Case("tokenise", ways, lines, same=("digest",))]


def texts(rows: int, count: int) -> list[str]:
    """3 to 20 words each."""
    rng = np.random.default_rng(0)
    syllables = np.array([a + b for a in "bcdfglmnprst" for b in ("a", "e", "i", "o", "on", "ar", "il")])
    words = ["".join(rng.choice(syllables, rng.integers(1, 5))) for _ in range(count)]
    weight = 1 / np.arange(1, count + 1)
    counts = rng.integers(3, 21, rows)
    drawn = rng.choice(count, counts.sum(), p=weight / weight.sum())
    return [" ".join(words[i] for i in part) for part in np.split(drawn, np.cumsum(counts)[:-1])]


def words_of(text: str) -> list[str]:
    """Lower case without accents, cut at spaces and around each punctuation mark (Devlin et al. 2019, their code)."""
    words, word = [], ""
    for character in unicodedata.normalize("NFD", text).lower():
        kind = unicodedata.category(character)
        if kind == "Mn":
            continue
        if character.isspace() or kind.startswith("P"):
            words += [w for w in (word, character.strip()) if w]
            word = ""
        else:
            word += character
    return [*words, word] if word else words


def wordpiece(word: str, vocabulary: dict[str, int]) -> list[int]:
    """The longest known piece from the left, again and again; [UNK] where there is none."""
    start, pieces = 0, []
    while start < len(word):
        end = len(word)
        while start < end and (("##" if start else "") + word[start:end]) not in vocabulary:
            end -= 1
        if start == end:
            return [1]
        pieces.append(vocabulary[("##" if start else "") + word[start:end]])
        start = end
    return pieces


def plain(rows: list[str], vocabulary: dict[str, int]) -> np.ndarray:
    out = np.zeros((len(rows), LENGTH), np.int32)
    for row, text in zip(out, rows, strict=True):
        ids = [2, *(i for word in words_of(text) for i in wordpiece(word, vocabulary))]
        ids = [*ids[: LENGTH - 1], 3]
        row[: len(ids)] = ids
    return out


def prepared(folder: Path, rows: int, words: int) -> tuple[pa.Array, Path, Any]:
    """The texts as a corpus' shard has them, their tokenizer's file and the tokenizer."""
    from stages.common.plan import TokenizerPlan
    from stages.ingest.core.tokenizer import trained

    found = texts(rows, words)
    path = folder / f"tokenizer-{id(found)}.json"  # each way has its own
    tokenizer = trained(lambda: iter(found[:10_000]), TokenizerPlan(vocabulary=2000))
    path.write_text(tokenizer.to_str())
    tokenizer.enable_truncation(LENGTH)
    return pa.array(found), path, tokenizer


def ours(folder: Path, rows: int, words: int) -> Run:
    from stages.common.media import tokenised
    from stages.common.symbols import _symbols

    stored, path, _ = prepared(folder, rows, words)

    def run() -> dict[str, Any]:
        _symbols.cache_clear()  # a new process remembers no word
        out = np.zeros((rows, LENGTH), np.int32)
        for i in range(0, rows, BLOCK):
            out[i : i + BLOCK] = tokenised(stored.slice(i, BLOCK), str(path), LENGTH).data
        return {"digest": lambda: digest(out)}

    return run


def library(folder: Path, rows: int, words: int) -> Run:
    stored, _, tokenizer = prepared(folder, rows, words)

    def run() -> dict[str, Any]:
        out = np.zeros((rows, LENGTH), np.int32)
        for row, text in zip(out, stored.to_pylist(), strict=True):
            ids = tokenizer.encode(text).ids
            row[: len(ids)] = ids
        return {"digest": lambda: digest(out)}

    return run


def loop(folder: Path, rows: int, words: int) -> Run:
    stored, _, tokenizer = prepared(folder, rows, words)
    vocabulary = tokenizer.get_vocab()

    def run() -> dict[str, Any]:
        out = plain(stored.to_pylist(), vocabulary)
        return {"digest": lambda: digest(out)}

    return run
