"""The network of ranks that each hold a part of it: FSDP2."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from stages.encoders.core.decoder import DecoderBlock
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.projector import Projector
from stages.encoders.core.transformer import Block
from stages.pretrain.core import shard
from stages.pretrain.core.distributed import world
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.replicas import Replicas


class Shards(Replicas):
    """Zhao et al. 2023, "PyTorch FSDP: experiences on scaling fully sharded data parallel" (torch's second form of it).

    A rank holds its rows of every weight, gradient and optimiser's tensor, of the encoder, the objective's networks and its
    teachers. Weights come together for a forward and backward pass: each transformer block's when it is reached, all others' at
    its start. Scalars (a learnt temperature) and buffers (queues, batch norm's statistics) are whole on every rank.
    """

    def __init__(self, encoder: Encoder, objective: Objective) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        self._whole_encoder = _Hollow(encoder) if world().leads else None
        projector = getattr(objective, "projector", None)
        self._whole_projector = _Hollow(projector) if world().leads and projector is not None else None
        self._joint = _Joint(encoder, objective)
        kept = {p for p in self._joint.parameters() if not p.dim()}
        mesh = init_device_mesh(next(self._joint.parameters()).device.type, (world().size,))
        for module in _units(self._joint):
            fully_shard(module, mesh=mesh)
        fully_shard(self._joint, mesh=mesh, ignored_params=kept)
        super().__init__(encoder, objective)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        return self._joint(batch)

    def clip(self, most: float) -> None:
        gradients = {n: p.grad for n, p in self.parameters.items() if p.grad is not None}
        cut = [shard.local(g) for g in gradients.values() if shard.cut(g)]
        plain = [g for g in gradients.values() if not shard.cut(g)]
        squares = torch.stack([*shard.norms(cut), *(g.norm() for g in plain)]).square().sum()
        torch._foreach_mul_([*cut, *plain], (most / (squares.sqrt() + 1e-6)).clamp_max(1.0))

    def state(self, module: nn.Module) -> dict[str, Tensor]:
        return {name: shard.whole(shard.local(x), x) for name, x in module.state_dict().items()}

    @torch.no_grad()
    def load(self, module: nn.Module, state: dict[str, Any]) -> None:
        for name, x in module.state_dict().items():
            shard.local(x).copy_(shard.part(state[name], x))

    @contextlib.contextmanager
    def exported(self) -> Iterator[tuple[Encoder, Projector | None]]:
        encoder: Any = self.objective.exported(self.encoder)
        projector: Any = getattr(self.objective, "projector", None)
        with _filled(self._whole_encoder, encoder) as net, _filled(self._whole_projector, projector) as head:
            yield net, head


class _Joint(nn.Module):
    """Encoder and objective as one module: FSDP gathers weights where a module's forward begins."""

    def __init__(self, encoder: Encoder, objective: Objective) -> None:
        super().__init__()
        self.encoder, self.objective = encoder, objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        terms = self.objective(self.encoder, batch)
        return {name: value.clone() for name, value in terms.items()}  # FSDP warns of views


def _units(module: nn.Module) -> list[nn.Module]:
    """Transformer blocks, each to be gathered alone; a decoder's block calls methods of the block within, so it is one unit."""
    decoders = [m for m in module.modules() if isinstance(m, DecoderBlock)]
    within = {id(inner) for decoder in decoders for inner in decoder.modules()}
    return [*decoders, *(m for m in module.modules() if isinstance(m, Block) and id(m) not in within)]


class _Hollow:
    """A copy of a module that is not sharded; its weights take memory only while they are wanted."""

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module)
        self.empty()

    def empty(self) -> None:
        for parameter in self.module.parameters():
            parameter.data = parameter.new_empty(0)

    @torch.no_grad()
    def fill(self, name: str, x: Tensor) -> None:
        self.module.get_parameter(name).data = x

    @torch.no_grad()
    def take_buffers(self, module: nn.Module) -> None:
        for mine, now in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(now)


@contextlib.contextmanager
def _filled(hollow: _Hollow | None, module: nn.Module | None) -> Iterator[Any]:
    """The plain copy of a sharded module with its weights, on rank 0; the sharded module itself elsewhere, not to be run."""
    if module is None:
        yield None
        return
    for name, x in module.named_parameters():
        found = shard.whole(shard.local(x), x)
        if hollow is not None:
            hollow.fill(name, found.to(x.device).clone())
    if hollow is None:
        yield module
        return
    hollow.take_buffers(module)
    try:
        yield hollow.module
    finally:
        hollow.empty()
