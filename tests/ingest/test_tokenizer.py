"""Tokenizers learnt at ingest: each kind, the ends of a text, and the same file from the same texts in every process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from stages.common.corpus import TOKENIZER, Corpus
from stages.common.errors import UserError
from stages.common.media import SPECIAL, tokenised
from stages.common.plan import TokenizerPlan, load, validate
from stages.ingest.core.tokenizer import trained
from tests.ingest.making import ingest, put

ROOT = Path(__file__).parents[2]
KINDS = ["words", "characters", "wordpiece", "bpe"]
WORDS = [
    "ataxia",
    "atrophy",
    "carcinoma",
    "congenital",
    "disease",
    "dystrophy",
    "familial",
    "hereditary",
    "lung",
    "muscular",
    "renal",
    "syndrome",
    "type",
]
TEXTS = [f"{a.title()} {b}, {c} {i}" for i, (a, b, c) in enumerate(zip(WORDS, WORDS[3:], WORDS[6:]))] + ["Naïve (café)"]


def plan(path: Path, texts: list[str] = TEXTS, **tokenizer: Any) -> dict[str, Any]:
    """A corpus of one text a row; rows of odd number are of the test split."""
    rows = [{"said": t, "note": t, "split": ("train", "test")[i % 2], "n": i} for i, t in enumerate(texts)]
    put(path, {"a.jsonl": "\n".join(json.dumps(r) for r in rows)})
    return {
        "source": {"name": "folder", "path": str(path)},
        "reader": {
            "name": "table",
            "media": {"said": {"kind": "text", "column": "said"}},
            "split": "split",
            "labels": {"n": "n"},
            "meta": ["note"],
        },
        "labels": {"n": {"kind": "number"}},
        "split": {"by": "declared"},
        "tokenizer": {"kind": "wordpiece", "vocabulary": 80, **tokenizer},
    }


def symbols(corpus: Corpus) -> dict[str, int]:
    found: dict[str, int] = json.loads((corpus.folder / TOKENIZER).read_text())["model"]["vocab"]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_gets_a_tokenizer_of_its_kind_whose_first_symbols_are_the_special_ones(tmp_path: Path, kind: str) -> None:
    corpus = ingest(tmp_path / "w", plan(tmp_path / "f", kind=kind))
    found = symbols(corpus)
    assert [found[name] for name in SPECIAL] == [0, 1, 2, 3, 4]
    assert corpus.card.vocabulary == len(found) == 1 + max(found.values()) <= 80
    got = tokenised(pa.array(["ataxia atrophy"], pa.string()), str(corpus.folder / TOKENIZER), 32)
    names = {i: name for name, i in found.items()}
    own = [names[i] for i in got.data[0, : got.lengths[0]]]
    assert (own[0], own[-1]) == ("[CLS]", "[SEP]") and not got.data[0, got.lengths[0] :].any()
    between = {"words": " ", "characters": "", "wordpiece": " ", "bpe": ""}[kind]
    spelt = between.join(own[1:-1]).replace(" ##", "")
    assert spelt == {"bpe": "ataxiaatrophy", "words": "ataxia [UNK]"}.get(kind, "ataxia atrophy")


def test_only_the_train_split_is_learnt_from(tmp_path: Path) -> None:
    found = symbols(ingest(tmp_path / "w", plan(tmp_path / "f", ["alpha", "beta", "gamma", "delta"], kind="words")))
    assert set(found) == {*SPECIAL, "alpha", "gamma"}


def test_letter_case_and_accents_are_kept_or_not_as_told(tmp_path: Path) -> None:
    texts = ["Naïve Café", "x"]
    assert {"naive", "cafe"} <= set(symbols(ingest(tmp_path / "w", plan(tmp_path / "f", texts, kind="words"))))
    kept = symbols(ingest(tmp_path / "v", plan(tmp_path / "g", texts, kind="words", lowercase=False)))
    assert {"Naïve", "Café"} <= set(kept)


def test_a_pattern_cuts_texts_into_the_pieces_that_are_looked_up(tmp_path: Path) -> None:
    given = plan(tmp_path / "f", ["CCl(Br)C", "x"], kind="words", lowercase=False, pattern="Cl|Br|[A-Z()]")
    corpus = ingest(tmp_path / "w", given)
    assert set(symbols(corpus)) == {*SPECIAL, "C", "Cl", "Br", "(", ")"}
    got = tokenised(pa.array(["ClC"], pa.string()), str(corpus.folder / TOKENIZER), 8)
    assert got.lengths.tolist() == [4]


def test_another_column_may_be_learnt_from_and_one_without_text_is_refused(tmp_path: Path) -> None:
    assert "familial" in symbols(ingest(tmp_path / "w", plan(tmp_path / "f", kind="words", columns=["note"])))
    with pytest.raises(UserError, match="'n' holds no text"):
        ingest(tmp_path / "v", plan(tmp_path / "g", columns=["n"]))
    with pytest.raises(UserError, match="unknown column 'absent'"):
        ingest(tmp_path / "u", plan(tmp_path / "h", columns=["absent"]))


def test_a_vocabulary_without_room_for_a_symbol_is_refused(tmp_path: Path) -> None:
    given = {"corpora": {"c": {"title": "t", **plan(tmp_path, vocabulary=5)}}}
    (tmp_path / "params.json").write_text(json.dumps(given))
    with pytest.raises(UserError, match="vocabulary"):
        validate(load(tmp_path / "params.json"))


LEARN = """
import hashlib
from stages.common.plan import TokenizerPlan
from stages.ingest.core.tokenizer import trained
from tests.ingest.test_tokenizer import KINDS, TEXTS
for kind in KINDS:
    text = trained(lambda: iter(TEXTS * 3), TokenizerPlan(kind, 80)).to_str()
    print(kind, hashlib.sha256(text.encode()).hexdigest())
"""


def test_equal_texts_give_equal_files_in_every_process() -> None:
    """The library goes by hash tables whose order differs between processes: within one, nothing would be seen."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    runs = [subprocess.Popen([sys.executable, "-c", LEARN], stdout=subprocess.PIPE, env=environment) for _ in range(3)]
    printed = [run.communicate()[0].decode() for run in runs]
    assert [line.split()[0] for line in printed[0].splitlines()] == KINDS
    assert printed[0] == printed[1] == printed[2]


def test_wordpiece_takes_the_longest_known_piece_and_numbers_inner_letters_by_the_alphabet() -> None:
    tokenizer = trained(lambda: iter(["banana bandana"] * 4), TokenizerPlan("wordpiece", 40))
    found = tokenizer.get_vocab()
    inner = [name for name, i in sorted(found.items(), key=lambda pair: pair[1]) if name.startswith("##") and len(name) == 3]
    assert inner == ["##a", "##d", "##n"]
    text, own = "banab", []
    while text:  # greedily, from the left: Wu et al. 2016, as BERT does
        piece = max((p for p in found if text.startswith(p.removeprefix("##")) and p.startswith("##") == bool(own)), key=len)
        own.append(piece)
        text = text[len(piece.removeprefix("##")) :]
        if text == "b":
            break  # no word has a b inside: the whole word is unknown
    assert tokenizer.encode("banab", add_special_tokens=False).tokens == ["[UNK]"]
    assert tokenizer.encode("bana", add_special_tokens=False).tokens == own
