"""Text, molecule strings and sequences of symbols, as whole numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from stages.common.corpus import TOKENIZER, Column
from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.common.symbols import vocabulary
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input, Padded


@part
class Tokens(Frontend):
    """int32 (B, T) -> int64 (B, T) with the items' lengths; 0 follows an item's own symbols.

    Text becomes symbols under the tokenizer that lies with the corpus (or with the parent encoder); the encoder keeps a copy.
    Symbols 0 to 4 are then [PAD], [UNK], [CLS], [SEP], [MASK]. A column of tokens is taken as stored.
    length: T, symbols of an item, [CLS] and [SEP] among them. symbols: how many there are in a column of tokens (default: those
    the column names).

    Raises ContractError for a column of another kind, UserError where there is no tokenizer or `symbols` is not known.
    """

    def __init__(self, column: Column, assets: Path, *, length: int = 64, symbols: int | None = None) -> None:
        if length < 3:
            raise UserError(
                "an item has [CLS], a symbol and [SEP] at least", where="front end tokens.length", do="write 3 or more"
            )
        self.shape: tuple[int, ...] = (length,)
        path: Path | None = None
        if column.kind in ("text", "molecule", "string"):
            path = assets / TOKENIZER
            self.keeps, self.vocabulary = {TOKENIZER: path}, vocabulary(path)
        elif column.kind == "tokens":
            self.vocabulary = symbols or len(column.classes or ())
            if not self.vocabulary:
                raise UserError(
                    f"how many symbols column {column.name!r} has is not known", do="set `symbols` of the front end"
                )
        else:
            raise ContractError(
                f"column {column.name!r} holds {column.kind}, the front end `tokens` takes text, molecule or tokens",
                do="choose another `media:` column or the front end of its kind",
            )
        self.contract: dict[str, Any] = {"kind": "tokens", "length": length, "tokenizer": str(path) if path else None}

    @property
    def channels(self) -> int:
        return 0

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Input:
        return data.long() if lengths is None else Padded(data.long(), lengths)
