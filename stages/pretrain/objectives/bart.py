"""BART's denoising: a corrupted text is read, the original is written."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.common.errors import UserError
from stages.common.registry import part
from stages.common.symbols import SPECIAL
from stages.encoders.core.decoder import cut, shifted
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Padded
from stages.pretrain.core.distributed import balance
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.precision import full_precision

_START = SPECIAL.index("[SEP]")


@part
class Denoising(Objective):
    """L = - mean over the original's symbols y_1 .. y_T of log p(y_t | y_1 .. y_t-1, corrupted text).

    Lewis et al. 2020, "BART", sec. 2; Chilingaryan et al. 2022, "BARTSmiles", sec. 3. Views are [corrupted, original], as
    `span_infilling` makes them. y is the whole of the original, [CLS] and [SEP] with it; the decoder is given [SEP] before y_1.
    The mean is over all symbols of the batch, so that a long text weighs more than a short one.

    Terms: total (cross entropy, nats a symbol), accuracy (of the likeliest symbol). Raises UserError for a backbone without a
    decoder, or views that are not two.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        if not all(hasattr(encoder.backbone, name) for name in ("decode", "logits", "alike")):
            raise UserError("the backbone has no decoder", where="objective bart", do="use the backbone `bart`")

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        if len(batch.views) != 2 or not all(isinstance(x, Padded) for x in batch.views):
            raise UserError("it takes a corrupted text and the original", where="objective bart", do="use views span_infilling")
        corrupted, original = batch.views
        assert isinstance(corrupted, Padded) and isinstance(original, Padded)
        backbone: Any = encoder.backbone
        logits, target = [], []
        for rows in backbone.alike(original.lengths):
            states, symbols = written(encoder, cut(corrupted, rows), cut(original, rows))
            logits.append(backbone.logits(states))
            target.append(symbols)
        found, symbols = torch.cat(logits), torch.cat(target)
        share = balance(len(symbols))
        return {"total": foretold(found, symbols) * share, "accuracy": (found.argmax(1) == symbols).float().mean() * share}


def written(encoder: Encoder, corrupted: Padded, original: Padded) -> tuple[Tensor, Tensor]:
    """The decoder's states (M, D) that foretell the M own symbols (M,) of the originals, item by item."""
    backbone: Any = encoder.backbone
    tokens = backbone.embed(corrupted)
    states = backbone.decode(shifted(original.x, _START), backbone.encode(tokens)[-1], tokens.own)[-1]
    own = original.own()
    return states[own], original.x[own]


@full_precision
def foretold(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over M symbols of the cross entropy of logits (M, V) and target (M,), in nats."""
    return F.cross_entropy(logits, target)
