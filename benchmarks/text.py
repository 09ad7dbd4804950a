"""Text to symbols: a corpus' texts through `media.tokenised`, block by block, beside a Python loop over rows.

The rows are texts of words drawn by Zipf's law from a vocabulary of made-up words, tokenised by wordpiece. Two loops over rows:
BERT's tokenizer in plain Python (normalise, cut at spaces and punctuation, wordpiece), and the library called for each row. All
give the same symbols.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

ROWS, WORDS, LENGTH, REPEATS, AIM = 200_000, 20_000, 32, 3, 10.0
BLOCK = 1024  # rows decoded at a time in pretraining


def texts(rows: int = ROWS) -> list[str]:
    """3 to 20 words each."""
    rng = np.random.default_rng(0)
    syllables = np.array([a + b for a in "bcdfglmnprst" for b in ("a", "e", "i", "o", "on", "ar", "il")])
    words = ["".join(rng.choice(syllables, rng.integers(1, 5))) for _ in range(WORDS)]
    weight = 1 / np.arange(1, WORDS + 1)
    counts = rng.integers(3, 21, rows)
    drawn = rng.choice(WORDS, counts.sum(), p=weight / weight.sum())
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


def main() -> None:
    from stages.common.media import tokenised
    from stages.common.plan import TokenizerPlan
    from stages.common.symbols import _symbols
    from stages.ingest.core.tokenizer import trained

    rows = texts()
    stored = pa.array(rows)  # as a corpus' shard has them
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tokenizer = trained(lambda: iter(rows[:10_000]), TokenizerPlan(vocabulary=2000))
        path.write_text(tokenizer.to_str())
        tokenizer.enable_truncation(LENGTH)
        vocabulary = tokenizer.get_vocab()

        def ours() -> np.ndarray:
            _symbols.cache_clear()  # a new process remembers no word
            out = np.zeros((len(rows), LENGTH), np.int32)
            for i in range(0, len(rows), BLOCK):
                out[i : i + BLOCK] = tokenised(stored.slice(i, BLOCK), str(path), LENGTH).data
            return out

        def library() -> np.ndarray:
            out = np.zeros((len(rows), LENGTH), np.int32)
            for row, text in zip(out, stored.to_pylist(), strict=True):
                ids = tokenizer.encode(text).ids
                row[: len(ids)] = ids
            return out

        ways: dict[str, Callable[[], np.ndarray]] = {
            "media.tokenised": ours,
            "the library, row by row": library,
            "plain Python, row by row": lambda: plain(stored.to_pylist(), vocabulary),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(REPEATS):
            found = []
            for name, way in ways.items():
                began = time.process_time()
                found.append(way())
                seconds[name].append(time.process_time() - began)
            if not all(np.array_equal(found[0], other) for other in found[1:]):
                raise SystemExit("the ways do not give the same symbols")
    ours_s = statistics.median(seconds["media.tokenised"])
    print(f"{ROWS} texts of 3 to 20 words, median of {REPEATS}, seconds of CPU over all threads")
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        note = "" if name == "media.tokenised" else f"   ratio {middle / ours_s:5.1f} (aim {AIM:g})"
        print(f"  {name:26} {1e6 * middle / ROWS:7.2f} us/row{note}")


if __name__ == "__main__":
    main()
