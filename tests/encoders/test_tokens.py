"""The front end `tokens`: text under the corpus' tokenizer, which the encoder keeps and takes to another corpus."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer

from stages.common import registry, symbols
from stages.common.corpus import TOKENIZER, Column
from stages.common.errors import ContractError, UserError
from stages.common.media import decode, tokenised
from stages.common.plan import TokenizerPlan
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Padded
from stages.ingest.core.tokenizer import trained

TEXT, NUMBERS = Column("said", "media", "text"), Column("symbols", "media", "tokens")
TEXTS = ["renal failure", "acute renal failure, type 2", "", "Sjögren's syndrome\tof  the eye", "[MASK] [SEP] renal"]


def front(folder: Path, column: Column = TEXT, **arguments: Any) -> Frontend:
    made: Frontend = registry.make("frontend", Part("tokens", arguments), column, folder)
    return made


def learn(folder: Path, kind: str = "wordpiece", texts: list[str] = TEXTS, **changes: Any) -> Path:
    """A folder with a tokenizer learnt from texts."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = TokenizerPlan(kind, 60, **changes)  # type: ignore[arg-type]
    (folder / TOKENIZER).write_text(trained(lambda: iter(texts), plan).to_str())
    return folder


@pytest.mark.parametrize("length", [3, 6, 40])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [("words", {}), ("characters", {}), ("wordpiece", {}), ("bpe", {}), ("bpe", {"lowercase": False, "pattern": r"\w+|\s"})],
)
def test_symbols_are_those_of_the_library_cut_between_the_ends_and_padded(
    tmp_path: Path, kind: str, changes: dict[str, Any], length: int
) -> None:
    path = learn(tmp_path, kind, **changes) / TOKENIZER
    library = Tokenizer.from_file(str(path))
    library.encode_special_tokens = True
    library.enable_truncation(length)
    texts = TEXTS * 2 + ["nothing that was there", "x y", "é"]
    for chosen in (texts, texts[::-1]):  # what was remembered from the first call serves the second
        got = tokenised(pa.array(chosen, pa.string()), str(path), length)
        assert got.data.shape == (len(texts), length) and got.data.dtype == np.int32 and got.lengths is not None
        for row, own, text in zip(got.data, got.lengths, chosen, strict=True):
            assert row[:own].tolist() == library.encode(text).ids and not row[own:].any()


def test_a_text_begins_with_cls_and_ends_with_sep_whatever_its_length(tmp_path: Path) -> None:
    got = tokenised(pa.array([*TEXTS, None], pa.string()), str(learn(tmp_path) / TOKENIZER), 5)  # type: ignore[list-item]
    assert got.lengths is not None and (got.data[:, 0] == 2).all()
    assert (got.data[np.arange(len(got)), got.lengths - 1] == 3).all()
    assert got.lengths.tolist() == [4, 5, 2, 5, 5, 2]


def test_special_symbols_that_a_text_spells_are_text(tmp_path: Path) -> None:
    got = tokenised(pa.array(["[MASK] [SEP]"], pa.string()), str(learn(tmp_path) / TOKENIZER), 40)
    assert not np.isin(got.data[0, 1 : got.lengths[0] - 1], [0, 2, 3, 4]).any()  # type: ignore[index]


def test_no_texts_give_no_rows(tmp_path: Path) -> None:
    got = tokenised(pa.array([], pa.string()), str(learn(tmp_path) / TOKENIZER), 7)
    assert got.data.shape == (0, 7) and len(got) == 0


def test_a_tokenizer_that_was_made_anew_is_read_anew_and_what_is_remembered_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = learn(tmp_path, "words", ["one two"]) / TOKENIZER
    first = tokenised(pa.array(["two"], pa.string()), str(path), 4).data
    os.replace(learn(tmp_path / "new", "words", ["a two b", "two"]) / TOKENIZER, path)
    second = tokenised(pa.array(["two"], pa.string()), str(path), 4).data
    assert first.tolist() == [[2, 6, 3, 0]] and second.tolist() == [[2, 5, 3, 0]]
    monkeypatch.setattr(symbols, "_KEPT", 1)
    kept = symbols.symbols(str(path))
    for text in ("a two", "b a", "two", "a"):
        assert (
            kept.rows(pa.array([text]), 6)[0].tolist() == tokenised(pa.array([text], pa.string()), str(path), 6).data.tolist()
        )
        assert len(kept.place) <= 3


def test_several_threads_may_learn_words_of_one_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would take the next number for its new word: the one that remembers first waits for the other, at first in vain."""
    words = [f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
    path = str(learn(tmp_path, "words", [" ".join(words)]) / TOKENIZER)
    expected = [tokenised(pa.array([w]), path, 3).data.tolist() for w in words]
    kept = symbols.Symbols(Path(path))
    both = threading.Barrier(2)

    class Slow(dict[str, int]):
        def __ior__(self, other: Any) -> Self:  # type: ignore[override,misc]
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.05)
            self.update(other)
            return self

    monkeypatch.setattr(kept, "place", Slow())
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda w: kept.rows(pa.array([w]), 3)[0].tolist(), words))
    assert found == expected


def test_the_front_end_gives_whole_numbers_with_lengths_and_knows_its_vocabulary(tmp_path: Path) -> None:
    tokens = front(learn(tmp_path), length=9)
    stored = decode(pa.array(TEXTS), TEXT, tokens.contract)
    assert stored.lengths is not None
    x = tokens(torch.from_numpy(stored.data), torch.from_numpy(stored.lengths))
    assert isinstance(x, Padded) and x.x.dtype == torch.int64 and x.x.shape == (5, 9)
    assert x.own().sum(1).tolist() == stored.lengths.tolist()
    assert (tokens.shape, tokens.channels) == ((9,), 0)
    assert tokens.vocabulary == Tokenizer.from_file(str(tmp_path / TOKENIZER)).get_vocab_size()


def test_a_column_of_symbols_is_taken_as_stored(tmp_path: Path) -> None:
    tokens = front(tmp_path, NUMBERS, length=4, symbols=9)
    stored = decode(pa.array([[8, 1, 7], [5] * 6], pa.list_(pa.int32())), NUMBERS, tokens.contract)
    assert stored.data.tolist() == [[8, 1, 7, 0], [5, 5, 5, 5]] and stored.lengths.tolist() == [3, 4]  # type: ignore[union-attr]
    assert tokens.vocabulary == 9 and not tokens.keeps
    with pytest.raises(UserError, match="how many symbols"):
        front(tmp_path, NUMBERS)


def test_what_is_missing_or_damaged_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tokenizer"):
        front(tmp_path)
    (tmp_path / TOKENIZER).write_text("{}")
    with pytest.raises(ContractError, match="cannot be read"):
        front(tmp_path)
    with pytest.raises(ContractError, match="cannot be read"):
        tokenised(pa.array(["a"], pa.string()), str(tmp_path / TOKENIZER), 4)
    with pytest.raises(ContractError, match="no tokenizer"):
        tokenised(pa.array(["a"], pa.string()), str(tmp_path / "absent.json"), 4)
    with pytest.raises(UserError, match="3 or more"):
        front(learn(tmp_path), length=2)


def test_an_encoder_keeps_its_tokenizer_and_reads_another_corpus_by_it(tmp_path: Path) -> None:
    home, saved = learn(tmp_path / "home"), tmp_path / "saved"
    parts = (Part("tokens", {"length": 8}), Part("text_transformer", {"dim": 8, "depth": 1, "heads": 2}), TEXT)
    torch.manual_seed(0)
    net = encoders.new(*parts, home).eval()
    saved.mkdir()
    encoders.save(saved, net, encoders.EncoderCard(*parts, "c", "c", "c", "none", 0, 0, net.width))
    assert (saved / TOKENIZER).read_bytes() == (home / TOKENIZER).read_bytes()
    (home / TOKENIZER).unlink()
    loaded, card = encoders.load(saved)
    encoders.fits(card, Column("other", "media", "text"), "corpus d")
    stored = decode(pa.array(["renal syndrome"]), TEXT, loaded.frontend.contract)
    assert json.loads((saved / TOKENIZER).read_text())["model"]["vocab"]["renal"] in stored.data[0]
    x = loaded.frontend(torch.from_numpy(stored.data), torch.from_numpy(stored.lengths))  # type: ignore[arg-type]
    with torch.inference_mode():
        assert torch.equal(loaded(x), net(x)) and loaded(x).shape == (1, 8)


def test_a_backbone_is_told_how_many_symbols_there_are(tmp_path: Path) -> None:
    made = registry.make(
        "backbone", Part("text_transformer", {"dim": 8, "heads": 2}), SimpleNamespace(shape=(8,), vocabulary=7)
    )
    assert made.symbols.num_embeddings == 7
