"""MLEM: an encoder of events that keeps reconstructing them is aligned to a contrastive one, as though to another modality."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.pretrain.core.distributed import gather
from stages.pretrain.core.event_decoder import EventDecoder, padded
from stages.pretrain.core.items import Source
from stages.pretrain.core.objective import Batch, Objective, Still
from stages.pretrain.core.precision import full_precision


@part
class MLEM(Objective):
    """Moskvoretskii et al. 2024, "Self-Supervised Learning in Event Sequences", arXiv:2401.15935: its hybrid, later MLEM.

    The parent (`use: teacher`), an encoder that CoLES trained, stays frozen: g. total: align * SigLIP(f(s), g(s)) + reconstruct
    * L_rec, L_rec that of `event_reconstruction` at weights of 1. Temperature and bias of SigLIP are learnt, from
    `temperature` 10 and `bias` -10 (Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", sec. 3.2).

    Terms: total, align, reconstruction, temperature. Raises UserError without a teacher, with one of other events or another
    width, for negative weights; ContractError for views without lengths.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        align: float = 1.0,
        reconstruct: float = 1.0,
        temperature: float = 10.0,
        bias: float = -10.0,
        dim: int = 128,
        depth: int = 3,
        heads: int = 8,
    ) -> None:
        super().__init__()
        if min(align, reconstruct) < 0 or temperature <= 0:
            raise UserError("weights must not be negative, the temperature must be above 0", where="objective mlem")
        self.align, self.reconstruct = align, reconstruct
        self.scale = nn.Parameter(torch.tensor(math.log(temperature)))
        self.bias = nn.Parameter(torch.tensor(bias))
        self.decoder = EventDecoder(encoder, dim=dim, depth=depth, heads=heads)
        self.teacher: nn.Module | None = None

    def prepare(self, encoder: Encoder, items: Source, teacher: Encoder | None) -> None:
        where = "objective mlem"
        if teacher is None:
            raise UserError("there is no encoder to align to", where=where, do="name a `parent:` and write `use: teacher`")
        if teacher.frontend.contract != encoder.frontend.contract or teacher.width != encoder.width:
            raise UserError(
                f"the teacher has other events or another width ({teacher.width}, the encoder {encoder.width})",
                where=where,
                do="give both the same front end, corpus and width",
            )
        self.teacher = Still(teacher)

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        if self.teacher is None:
            raise UserError("there is no encoder to align to", where="objective mlem", do="prepare it with a teacher")
        x = padded(batch.views[0])
        h = encoder(x)
        with torch.no_grad():
            target = self.teacher(x)
        losses = self.decoder.losses(h, x)
        rebuilt = losses["code"] + losses["value"] + losses["since"]
        align = siglip(gather(h), gather(target), self.scale.exp(), self.bias)
        total = self.align * align + self.reconstruct * rebuilt
        return {"total": total, "align": align, "reconstruction": rebuilt, "temperature": self.scale.exp().detach(), **losses}


@full_precision
def siglip(f: Tensor, g: Tensor, temperature: Tensor, bias: Tensor) -> Tensor:
    """f, g (N, D) -> -1/N sum_ij log sigmoid(z_ij (t cos(f_i, g_j) + b)), z_ij = 1 where i = j, else -1.

    Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", eq. 1 and algorithm 1.
    """
    logits = temperature * (normalize(f, dim=1) @ normalize(g, dim=1).T) + bias
    z = 2 * torch.eye(len(f), dtype=logits.dtype, device=f.device) - 1
    return -logsigmoid(z * logits).sum(1).mean()
