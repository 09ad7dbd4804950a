"""How objectives turn a batch of views into embeddings."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from stages.common.errors import UserError
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Input, join, tensor
from stages.pretrain.core.distributed import gather
from stages.pretrain.core.objective import Batch


def at_least_two(batch: Batch, objective: str) -> None:
    """Raises UserError where there is nothing to compare."""
    if len(batch.views) < 2:
        raise UserError(f"objective {objective!r} compares views, and there is one", do="choose views that make two or more")


def embed(encoder: Encoder, head: nn.Module, views: Sequence[Input]) -> list[Tensor]:
    """z_v = head(encoder(x_v)), (N, D) each; N counts the items of all ranks.

    Views of one shape pass the encoder together, so batch norm sees them together; others pass one by one.
    """
    if len({tensor(v).shape for v in views}) == 1:
        z = head(encoder(join(views)))
        return [gather(part) for part in z.chunk(len(views))]
    return [gather(head(encoder(v))) for v in views]
