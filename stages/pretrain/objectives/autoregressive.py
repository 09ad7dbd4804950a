"""Language modelling from left to right: each symbol is foretold from those before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder, TokenBackbone
from stages.encoders.core.inputs import Padded, tensor
from stages.encoders.core.projector import Projector
from stages.pretrain.core.distributed import balance
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.precision import full_precision

_NONE = -100  # the target of a position after which nothing of the item follows


@part
class Autoregressive(Objective):
    """-log p(x_{t+1} | x_1 .. x_t), mean over all own symbols but each item's first (Radford et al. 2018, "GPT", eq. 1).

    p is the softmax of a linear map of the last layer's state at t (after the norm). The map is the projector: it is saved
    beside the encoder, so `output: projection` gives what would come next as logits (V,), and heads can read them.

    Terms: total (cross entropy, nats), accuracy (share of symbols that were the likeliest). Raises UserError for an encoder
    without symbols, or whose states know what follows them.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        where = "objective autoregressive"
        if not isinstance(encoder.backbone, TokenBackbone) or not encoder.frontend.vocabulary:
            raise UserError("symbols are foretold, and this encoder has none", where=where, do="use tokens and gpt")
        if not getattr(encoder.backbone, "causal", False):
            raise UserError(
                f"the states of {type(encoder.backbone).__name__} know what follows them, so there is nothing to foretell",
                where=where,
                do="use the backbone gpt",
            )
        self.projector = Projector("linear", encoder.width, encoder.width, encoder.frontend.vocabulary)
        for layer in self.projector:
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        x, backbone = batch.views[0], encoder.backbone
        assert isinstance(backbone, TokenBackbone)
        h = backbone.encode(backbone.embed(encoder.prepared(x)))[-1]
        logits, target = self.projector(h), following(tensor(x), x.own() if isinstance(x, Padded) else None)
        known = target != _NONE
        right = (logits.argmax(-1) == target) & known
        share = balance(known.sum())
        return {"total": foretold(logits, target) * share, "accuracy": right.sum() / known.sum().clamp_min(1) * share}


def following(symbols: Tensor, own: Tensor | None) -> Tensor:
    """symbols (B, T) -> the target (B, T) of each position: the next symbol; -100 at an item's last one and in its padding."""
    target = torch.full_like(symbols, _NONE)
    target[:, :-1] = symbols[:, 1:]
    if own is not None:
        target[:, :-1] = target[:, :-1].masked_fill(~own[:, 1:], _NONE)
    return target


@full_precision
def foretold(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross entropy of logits (B, T, V) and target (B, T), where that is not -100; 0 where nothing follows anything."""
    total = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum", ignore_index=_NONE)
    return total / (target != _NONE).sum().clamp_min(1)
