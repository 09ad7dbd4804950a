"""Reconstruction: molecules written from corrupted strings, and how many of them are molecules, and the right ones."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from stages.common.errors import UserError
from stages.common.registry import part
from stages.common.symbols import SPECIAL
from stages.encoders.core.inputs import Padded
from stages.fit.core.head import Outcome, Problem
from stages.views.core.base import Key
from stages.views.core.infilling import check, infilled

HIGHER_IS_BETTER = {"validity": True, "recovery": True, "source_validity": True}
_ROWS = 64
_EXAMPLES = 5
_END = SPECIAL.index("[SEP]")


@part
class Reconstruction:
    """The encoder that the task's `support:` names reads test items with spans hidden and writes each symbol that is likeliest.

    validity: the share of the written strings that RDKit parses, as generation of SMILES is judged by. recovery: of those
    that are the same molecule as the original. source_validity: of the corrupted strings, their [MASK]s left out, that parse;
    what writing them off would give. Items whose original does not fit the front end's length are left out. The head needs no
    label and no features; nothing is fitted.

    items: test items at most. share, mean: of what is hidden, as in `span_infilling`. Raises UserError without RDKit, for an
    encoder that writes nothing, or values out of range.
    """

    label: Literal["class", "number", "text", "steps"] | None = None

    def __init__(self, *, items: int = 200, share: float = 0.3, mean: float = 3.0) -> None:
        check(share, mean, "head reconstruction")
        if items < 1:
            raise UserError("there is nothing to write", where="head reconstruction.items", do="write 1 or more")
        self.items, self.share, self.mean = items, share, mean

    def fit(self, problem: Problem) -> Outcome:
        encoder = problem.input.encoder()
        backbone: Any = encoder.backbone
        if not hasattr(backbone, "generate"):
            raise UserError("the encoder writes nothing", where="support", do="name one of backbone `bart`")
        ids = np.array(sorted(set(problem.split("test").ids.tolist())))
        media = problem.input.media(ids, encoder.frontend.contract)
        x = encoder.frontend(media.data, media.lengths)
        assert isinstance(x, Padded)
        length = x.x.shape[1]
        fits = torch.nonzero(x.lengths < length).flatten()  # one that fills the length may have been cut
        whole = fits[: self.items]
        x = Padded(x.x[whole], x.lengths[whole])
        read = infilled(x, Key(problem.seed, 0, whole), share=self.share, mean=self.mean)
        parts = [backbone.generate(_rows(read, i), length) for i in range(0, len(whole), _ROWS)]
        words = _words(encoder.frontend.contract["tokenizer"])
        originals, sources = _texts(x.x, words), _texts(read.x, words)
        found = [text for part in parts for text in _texts(part, words)]
        values = judged(originals, sources, found)
        details = {"examples": [list(t) for t in zip(originals, sources, found)][:_EXAMPLES], "too_long": len(ids) - len(fits)}
        return Outcome(values=values, items=len(whole), details=details)


def judged(originals: list[str], sources: list[str], found: list[str]) -> dict[str, float]:
    """The shares of `found` that are molecules, and the original's; of `sources` that are molecules. Raises UserError."""
    try:
        from rdkit import rdBase
    except ImportError:
        raise UserError(
            "validity is judged by RDKit, and it is not installed", where="head reconstruction", do="install it"
        ) from None
    with rdBase.BlockLogs():
        known, read, made = ([_canonical(t) for t in texts] for texts in (originals, sources, found))
    return {
        "validity": float(np.mean([m is not None for m in made])),
        "recovery": float(np.mean([m is not None and m == k for m, k in zip(made, known)])),
        "source_validity": float(np.mean([m is not None for m in read])),
    }


def _canonical(smiles: str) -> str | None:
    """RDKit's canonical SMILES; None where the string is no molecule, or empty."""
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles) if smiles else None
    return None if molecule is None else str(Chem.MolToSmiles(molecule))


def _rows(x: Padded, start: int) -> Padded:
    rows = slice(start, start + _ROWS)
    return Padded(x.x[rows], x.lengths[rows])


def _words(path: str) -> list[str]:
    """The text of each symbol of a tokenizer file; that of a special one is empty, so that masks vanish from what is read."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    words = [tokenizer.id_to_token(i) or "" for i in range(tokenizer.get_vocab_size())]
    return ["" if word in SPECIAL else word.removeprefix("##") for word in words]


def _texts(symbols: torch.Tensor, words: list[str]) -> list[str]:
    """symbols (B, T) up to the first [SEP] of each item, as texts."""
    texts = []
    for row in symbols.tolist():
        end = row.index(_END) if _END in row else len(row)
        texts.append("".join(words[s] if s < len(words) else "" for s in row[:end]))
    return texts
