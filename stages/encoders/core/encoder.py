"""The encoder: front end (stored media -> x), standardisation, backbone (x -> embeddings); saved without pickles.

seed=<s>/encoder.safetensors, seed=<s>/encoder.json (parts and arguments, input contract, lineage), seed=<s>/history.parquet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stages.common import atomic, registry
from stages.common.corpus import Column
from stages.common.errors import ContractError
from stages.common.schema import Part, build

CARD, WEIGHTS, HISTORY = "encoder.json", "encoder.safetensors", "history.parquet"


class Frontend(Protocol):
    """Stored media to network input, without learnt weights. Made as `part(column, **arguments)`.

    contract: what `stages.common.media.decode` is asked for. shape: of one item of x, such as (C, H, W), (C, T) or (D,).
    Raises ContractError where it does not fit the column's kind.
    """

    contract: dict[str, Any]
    shape: tuple[int, ...]

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Tensor:
        """data (B, ...) as decoded, lengths (B,) -> x (B, *shape), float32."""


class Backbone(nn.Module):
    """x (B, *shape) -> h (B, width). Made as `part(shape, **arguments)`; `width` is the size of an embedding.

    `hidden(x)` gives one (B, N, D_l) tensor per layer: N patches, frames or tokens in raster or time order.
    """

    width: int

    def hidden(self, x: Tensor) -> list[Tensor]:
        raise ContractError(f"backbone {type(self).__name__} has no patch or frame rows", do="use `rows: clip`")


@dataclass(frozen=True)
class EncoderCard:
    """encoder.json: enough to build the encoder again and to trace it."""

    frontend: Part
    backbone: Part
    column: Column  # the media column it was made for
    corpus: str
    corpus_digest: str
    split_digest: str
    objective: str
    seed: int
    steps: int
    width: int
    parent: str | None = None
    parameters: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    code: str = ""  # digest of the front end's and backbone's source: a change of theirs must reach the features


def code_digest(frontend: str, backbone: str) -> str:
    """SHA-256 over the source files that an encoder's outputs depend on beside its weights."""
    folder = Path(__file__).resolve().parents[1]
    files = [*sorted((folder / "core").glob("*.py")), folder / f"frontends/{frontend}.py", folder / f"backbones/{backbone}.py"]
    return atomic.digest_json([atomic.digest_file(file) for file in files])


class Encoder(nn.Module):
    """forward: standardised x -> h (B, D). `mean`, `std` (C,) standardise x per channel; they are saved with the weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, frontend: Frontend, backbone: Backbone) -> None:
        super().__init__()
        self.frontend, self.backbone = frontend, backbone
        channels = frontend.shape[0]
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    @property
    def width(self) -> int:
        return self.backbone.width

    def standardise(self, x: Tensor) -> Tensor:
        """x (B, C, ...) -> (x - mean) / std, channel by channel."""
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, *shape) as the front end (and views) give it -> h (B, width)."""
        h: Tensor = self.backbone(self.standardise(x))
        return h

    def hidden(self, x: Tensor) -> list[Tensor]:
        """One (B, N, D_l) tensor per layer."""
        return self.backbone.hidden(self.standardise(x))


def new(frontend: Part, backbone: Part, column: Column) -> Encoder:
    """A new encoder, its weights drawn from torch's global generator: seed it first."""
    front: Frontend = registry.make("frontend", frontend, column)
    return Encoder(front, registry.make("backbone", backbone, front.shape))


def save(folder: Path, encoder: nn.Module, card: EncoderCard) -> None:
    """Writes weights and card into an existing folder."""
    from safetensors.torch import save as serialised

    from stages.common.schema import as_plain

    tensors = {k: v.detach().cpu().contiguous() for k, v in encoder.state_dict().items()}
    (folder / WEIGHTS).write_bytes(serialised(tensors))  # not its save_file, whose errors do not say that a disk is full
    atomic.write_json(folder / CARD, as_plain(card))


def load_card(folder: Path) -> EncoderCard:
    """encoder.json of one seed's folder. Raises UserError where it is missing, damaged or has keys that it should not."""
    return build(EncoderCard, atomic.read_json(folder / CARD), str(folder / CARD))


def load(folder: Path, device: str | torch.device = "cpu") -> tuple[Encoder, EncoderCard]:
    """The encoder of one seed's folder, in eval mode. Raises ContractError where weights and card do not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    card = load_card(folder)
    encoder = new(card.frontend, card.backbone, card.column)
    try:
        encoder.load_state_dict(load_file(str(folder / WEIGHTS)), strict=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ContractError(
            f"the weights do not load: {error}", where=folder / WEIGHTS, do="run the pretraining again"
        ) from None
    return encoder.to(device).eval(), card


def seeds(folder: Path) -> list[int]:
    """The seeds an encoder node was trained with."""
    return sorted(int(p.name.removeprefix("seed=")) for p in folder.glob("seed=*"))


def fits(card: EncoderCard, column: Column, where: str) -> None:
    """Raises ContractError unless the corpus' media column fits the encoder's input contract."""
    mine = card.column
    images = {"image", "pixels"}
    same_kind = mine.kind == column.kind or {mine.kind, column.kind} <= images
    if not same_kind or mine.rate != column.rate:
        raise ContractError(
            f"the encoder takes {mine.kind} ({mine.rate or 'no'} Hz), column {column.name!r} holds {column.kind} "
            f"({column.rate or 'no'} Hz)",
            where=where,
            do="choose a corpus that fits, or pretrain an encoder on this one",
        )
