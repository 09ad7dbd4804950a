"""Masked autoencoder: from a quarter of a picture's patches, the pixels of the others."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder, TokenBackbone
from stages.encoders.core.transformer import Block, initialise, sinusoids
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.precision import full_precision
from stages.views.core import random

_WHERE = "objective mae"
_MASK = 0x6D6165  # names the draw of what is visible
_EPSILON = 1e-6  # of the layer norm and of pixels' variance


@part
class MaskedAutoencoder(Objective):
    """He et al. 2022, "Masked autoencoders are scalable vision learners", sec. 3.

    Of the N patches of a picture round(`hidden` N), drawn evenly, are dropped; the encoder sees the rest, (B, V, D). A decoder
    of `decoder_depth` pre-norm blocks of `decoder_dim` takes its outputs, mapped linearly, and one learnt token for each
    dropped patch, all with fixed 2-D positions, and gives C * height * width numbers for each patch. total: the mean squared
    error over the dropped patches; with `normalise` each patch's pixels are less their mean, by their deviation. The class
    token, if the encoder has one, does not pass to the decoder. Masks depend on (seed, epoch, item); views: one.

    Also logged: visible, the share of patches that are. Raises ContractError for a backbone without a grid of patches and for
    views of another size, UserError for arguments out of range and for several views.
    """

    positions: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        hidden: float = 0.75,
        normalise: bool = True,
        decoder_dim: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
    ) -> None:
        super().__init__()
        grid, patch = (getattr(encoder.backbone, name, None) for name in ("grid", "patch"))
        if not isinstance(encoder.backbone, TokenBackbone) or not isinstance(grid, tuple) or not isinstance(patch, tuple):
            raise ContractError(
                f"backbone {type(encoder.backbone).__name__} has no grid of patches", where=_WHERE, do="use backbone vit"
            )
        if not 0 < hidden < 1 or decoder_dim % decoder_heads or decoder_dim % 4 or decoder_depth < 1:
            raise UserError(
                f"hidden {hidden:g} is a share between 0 and 1, decoder_dim {decoder_dim} a multiple of decoder_heads "
                f"({decoder_heads}) and of 4, decoder_depth 1 or more",
                where=_WHERE,
            )
        self.patch, self.normalise = patch, normalise
        self.patches = grid[0] * grid[1]
        self.visible = min(max(self.patches - round(hidden * self.patches), 1), self.patches - 1)
        self.map = nn.Linear(encoder.width, decoder_dim)
        self.mask = nn.Parameter(torch.empty(decoder_dim).normal_(0, 0.02))
        self.blocks = nn.ModuleList(Block(decoder_dim, decoder_heads, 4 * decoder_dim) for _ in range(decoder_depth))
        self.norm = nn.LayerNorm(decoder_dim, eps=_EPSILON)
        self.out = nn.Linear(decoder_dim, encoder.frontend.shape[0] * patch[0] * patch[1])
        place = torch.arange(self.patches)
        halves = [sinusoids(axis, decoder_dim // 2) for axis in (place // grid[1], place % grid[1])]
        self.register_buffer("positions", torch.cat(halves, 1), persistent=False)  # (N, decoder_dim)
        initialise(self)

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        if len(batch.views) != 1:
            raise UserError(f"mae takes one view, not {len(batch.views)}", where=_WHERE, do="choose views that make one")
        net = encoder.backbone
        assert isinstance(net, TokenBackbone)
        x = encoder.prepared(batch.views[0])
        tokens = net.embed(x)
        if tokens.h.shape[1] != self.patches:
            raise ContractError(
                f"a view has {tokens.h.shape[1]} patches, the encoder {self.patches}",
                where=_WHERE,
                do="choose views that keep the picture's height and width",
            )
        order = self.draw(batch)
        seen, asked = order[:, : self.visible], order[:, self.visible :]
        predicted = self.decode(net.encode(tokens.at(seen))[-1], seen, asked)
        wanted = pixels(x, self.patch, normalise=self.normalise)
        wanted = wanted.gather(1, asked.unsqueeze(-1).expand(-1, -1, wanted.shape[-1]))
        share = torch.tensor(self.visible / self.patches, device=x.device)
        return {"total": error(predicted, wanted), "visible": share}

    def draw(self, batch: Batch) -> Tensor:
        """All patches (B, N) in an order that the key fixes: the visible ones first."""
        state = random.stream(batch.key.seed, batch.key.epoch, batch.key.sample, _MASK)
        return random.bits(state, self.patches).argsort(dim=1, stable=True)

    def decode(self, h: Tensor, seen: Tensor, asked: Tensor) -> Tensor:
        """h (B, V, D) of the patches `seen` (B, V) -> pixels (B, T, C * height * width) of those `asked` (B, T)."""
        t = torch.cat([self.map(h) + self.positions[seen], self.mask + self.positions[asked]], 1)
        for block in self.blocks:
            t = block(t)
        found: Tensor = self.out(self.norm(t[:, seen.shape[1] :]))
        return found


@full_precision
def pixels(x: Tensor, patch: tuple[int, int], *, normalise: bool) -> Tensor:
    """x (B, C, H, W) -> (B, N, C * height * width); normalised: each patch less its mean, by its deviation (over n - 1)."""
    pieces = F.unfold(x, patch, stride=patch).transpose(1, 2)
    if not normalise:
        return pieces
    return (pieces - pieces.mean(-1, keepdim=True)) / (pieces.var(-1, keepdim=True) + _EPSILON).sqrt()


@full_precision
def error(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Scalar: the mean squared difference of two tensors (B, T, P)."""
    return F.mse_loss(predicted, wanted)
