"""Trains a corpus' tokenizer on its train split; it lies beside the shards as tokenizer.json, and encoders keep a copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.common import atomic
from stages.common.corpus import TOKENIZER, Card, Corpus
from stages.common.errors import UserError
from stages.common.media import SPECIAL
from stages.common.plan import TokenizerPlan


def train(folder: Path, card: Card, plan: TokenizerPlan) -> int:
    """Writes tokenizer.json into a corpus' folder whose shards are there. Returns the number of symbols.

    Every text begins with [CLS] and ends with [SEP]. Equal texts give equal files. Raises UserError where there is no text.
    """
    tokenizer = _untrained(plan)
    tokenizer.train_from_iterator(texts(folder, card, plan.columns), _trainer(plan))
    count: int = tokenizer.get_vocab_size()
    if count <= len(SPECIAL):
        raise UserError("the train split has no text to learn a tokenizer from", where="tokenizer", do="name other `columns`")
    atomic.write_text(folder / TOKENIZER, tokenizer.to_str())
    return count


def texts(folder: Path, card: Card, columns: list[str]) -> Iterator[str]:
    """The texts of the train split, of the named columns or of all text and molecule columns of the media."""
    known = [c.name for c in card.columns if c.role == "media" and c.kind in ("text", "molecule")]
    for name in columns:
        if card.column(name).kind not in ("text", "molecule", "string"):
            raise UserError(f"column {name!r} holds no text", where="tokenizer.columns", do=f"choose among {known}")
    chosen = columns or known
    if not chosen:
        raise UserError("the corpus has no text column", where="tokenizer", do="leave `tokenizer` out")
    for batch in Corpus.unsealed(folder, card).batches(chosen, ["train"]):
        for name in chosen:
            yield from (text for text in batch.column(name).to_pylist() if text)


def _untrained(plan: TokenizerPlan) -> Any:
    """The library's tokenizer. A lower-cased one takes accents off too, as BERT's uncased vocabulary does."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    model = {
        "words": lambda: models.WordLevel(unk_token="[UNK]"),
        "characters": lambda: models.WordLevel(unk_token="[UNK]"),
        "wordpiece": lambda: models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=200),
        "bpe": lambda: models.BPE(unk_token="[UNK]"),
        "unigram": lambda: models.Unigram(),
    }[plan.kind]
    tokenizer = Tokenizer(model())
    if plan.lowercase:
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])
    if plan.pattern:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(plan.pattern), "isolated")
    elif plan.kind == "characters":
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    elif plan.kind != "unigram":
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    ends = [(name, SPECIAL.index(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


def _trainer(plan: TokenizerPlan) -> Any:
    from tokenizers import trainers

    shared: dict[str, Any] = {"vocab_size": plan.vocabulary, "special_tokens": list(SPECIAL), "show_progress": False}
    match plan.kind:
        case "words" | "characters":
            return trainers.WordLevelTrainer(**shared)
        case "wordpiece":
            return trainers.WordPieceTrainer(**shared)
        case "bpe":
            return trainers.BpeTrainer(**shared)
    return trainers.UnigramTrainer(unk_token="[UNK]", **shared)
