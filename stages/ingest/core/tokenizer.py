"""Trains a corpus' tokenizer on its train split; it lies beside the shards as tokenizer.json, and encoders keep a copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stages.common import atomic
from stages.common.corpus import TOKENIZER, Card, Corpus
from stages.common.errors import UserError
from stages.common.media import SPECIAL
from stages.common.plan import TokenizerPlan

_INNER = "##"  # begins what goes on inside a word
_ALPHABET = 1000  # most characters of a wordpiece tokenizer, as in BERT's
_LONGEST = 200  # characters of a word, above which wordpiece takes it as unknown


def train(folder: Path, card: Card, plan: TokenizerPlan) -> int:
    """Writes tokenizer.json into a corpus' folder whose shards are there. Returns the number of symbols.

    Every text begins with [CLS] and ends with [SEP]. Equal texts give equal files. Raises UserError where there is no text.
    """
    chosen = columns(card, plan.columns)
    tokenizer = trained(lambda: texts(folder, card, chosen), plan)
    count: int = tokenizer.get_vocab_size()
    if count <= len(SPECIAL):
        raise UserError("the train split has no text to learn a tokenizer from", where="tokenizer", do="name other `columns`")
    atomic.write_text(folder / TOKENIZER, tokenizer.to_str())
    return count


def columns(card: Card, named: list[str]) -> list[str]:
    """The columns to learn from: the named ones, or all text and molecule columns of the media. Raises UserError."""
    known = [c.name for c in card.columns if c.role == "media" and c.kind in ("text", "molecule")]
    for name in named:
        if card.column(name).kind not in ("text", "molecule", "string"):
            raise UserError(f"column {name!r} holds no text", where="tokenizer.columns", do=f"choose among {known}")
    if not named and not known:
        raise UserError("the corpus has no text column", where="tokenizer", do="leave `tokenizer` out")
    return named or known


def texts(folder: Path, card: Card, chosen: list[str]) -> Iterator[str]:
    """The texts of the train split, column by column within blocks of rows."""
    for batch in Corpus.unsealed(folder, card).batches(chosen, ["train"]):
        for name in chosen:
            yield from (text for text in batch.column(name).to_pylist() if text)


def trained(read: Callable[[], Iterator[str]], plan: TokenizerPlan) -> Any:
    """The library's tokenizer, learnt from the texts that `read` gives; it may be called twice."""
    tokenizer = _untrained(plan)
    trainer = _trainer(plan, _inner(read(), tokenizer) if plan.kind == "wordpiece" else [])
    tokenizer.train_from_iterator(read(), trainer)
    return _with_model(plan, tokenizer.get_vocab()) if plan.kind == "wordpiece" else tokenizer


def _inner(found: Iterator[str], tokenizer: Any) -> list[str]:
    """The characters that stand inside words, as wordpiece writes them, sorted; of very many the most frequent.

    The library would number them in the order of a hash table, another one in each process, and ties between pieces go by
    number: it is told of them beforehand instead.
    """
    counts: Counter[str] = Counter()
    for text in found:
        normal = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal):
            counts.update(word[1:])
    kept = sorted(counts, key=lambda c: (-counts[c], c))[:_ALPHABET]
    return [_INNER + c for c in sorted(kept)]


def _untrained(plan: TokenizerPlan, model: Any = None) -> Any:
    """The library's tokenizer. A lower-cased one takes accents off too, as BERT's uncased vocabulary does."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    empty = {
        "words": lambda: models.WordLevel(unk_token="[UNK]"),
        "characters": lambda: models.WordLevel(unk_token="[UNK]"),
        "wordpiece": lambda: models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=_LONGEST),
        "bpe": lambda: models.BPE(unk_token="[UNK]"),
    }[plan.kind]
    tokenizer = Tokenizer(model or empty())
    if plan.lowercase:
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])
    if plan.pattern:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(plan.pattern), "isolated")
    elif plan.kind == "characters":
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(name, SPECIAL.index(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


def _with_model(plan: TokenizerPlan, vocabulary: dict[str, int]) -> Any:
    """A wordpiece tokenizer of a vocabulary, in which the characters inside words are symbols like any other."""
    from tokenizers import models

    model = models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=_LONGEST)
    tokenizer = _untrained(plan, model)
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _trainer(plan: TokenizerPlan, inner: list[str]) -> Any:
    from tokenizers import trainers

    shared: dict[str, Any] = {"vocab_size": plan.vocabulary, "special_tokens": [*SPECIAL, *inner], "show_progress": False}
    match plan.kind:
        case "words" | "characters":
            return trainers.WordLevelTrainer(**shared)
        case "wordpiece":
            return trainers.WordPieceTrainer(**shared, limit_alphabet=_ALPHABET, continuing_subword_prefix=_INNER)
    return trainers.BpeTrainer(**shared)
