"""Events from an embedding: a decoder foretells each event of a sequence from its vector and the events before."""

from __future__ import annotations

from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.pretrain.core.event_decoder import EventDecoder, padded
from stages.pretrain.core.objective import Batch, Objective


@part
class EventReconstruction(Objective):
    """Moskvoretskii et al. 2024, "Self-Supervised Learning in Event Sequences", arXiv:2401.15935, its generative part.

    total: code CE + value MSE + since MSE: cross entropy of each event's code, squared errors of its value and of its log time
    delta (see `reconstruction`), as a transformer decoder of `depth` blocks gives them from the embedding of the whole sequence
    and the events before. Values are those of the front end, sign(v) log(1 + |v|).

    code, value, since: weights of the three. Terms: total and the three, unweighted. Raises UserError for negative weights,
    ContractError for views without lengths.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        code: float = 1.0,
        value: float = 1.0,
        since: float = 1.0,
        dim: int = 128,
        depth: int = 3,
        heads: int = 8,
    ) -> None:
        super().__init__()
        if min(code, value, since) < 0:
            raise UserError("weights must not be negative", where="objective event_reconstruction")
        self.weights = {"code": code, "value": value, "since": since}
        self.decoder = EventDecoder(encoder, dim=dim, depth=depth, heads=heads)

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        x = padded(batch.views[0])
        terms = self.decoder.losses(encoder(x), x)
        total = (
            self.weights["code"] * terms["code"]
            + self.weights["value"] * terms["value"]
            + self.weights["since"] * terms["since"]
        )
        return {"total": total, **terms}
