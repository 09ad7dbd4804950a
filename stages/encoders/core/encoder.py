"""The encoder: front end (stored media -> x), standardisation, backbone (x -> embeddings); saved without pickles.

seed=<s>/encoder.safetensors, seed=<s>/encoder.json (parts and arguments, input contract, lineage), seed=<s>/history.parquet;
where there are such, seed=<s>/projector.safetensors and the files that the front end keeps, such as tokenizer.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.common import atomic, registry
from stages.common.corpus import Column
from stages.common.errors import ContractError
from stages.common.schema import Part, build
from stages.encoders.core.inputs import Graph, Input, Padded, Tokens, pooled
from stages.encoders.core.projector import Projector

CARD, WEIGHTS, HISTORY = "encoder.json", "encoder.safetensors", "history.parquet"
PROJECTOR = "projector.safetensors"


class Frontend:
    """Stored media to network input, without learnt weights. Made as `part(column, assets, **arguments)`.

    column: the media column. assets: the folder of the corpus, later of the encoder, in which files that it needs lie beside
    the media, such as a tokenizer. keeps: {name: path} of those that are to be saved with the encoder.
    contract: what `stages.common.media.decode` is asked for. shape: of one item of x, such as (C, H, W), (C, T) or (T,).
    channels: how many of x are standardised, along its second axis; 0: x is taken as it is (tokens).
    vocabulary: how many symbols there are where x holds symbols. Raises ContractError where it does not fit the column's kind.
    """

    contract: dict[str, Any]
    shape: tuple[int, ...]
    vocabulary: int = 0
    keeps: Mapping[str, Path] = {}

    @property
    def channels(self) -> int:
        return self.shape[0]

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Input:
        """data (B, ...) as decoded, lengths (B,) -> x (B, *shape); `Padded` where lengths differ and matter; or `Graph`."""
        raise NotImplementedError(f"{type(self).__name__}.__call__")


class Backbone(nn.Module):
    """x (B, *shape) -> h (B, width). Made as `part(frontend, **arguments)`; `width` is the size of an embedding.

    `hidden(x)` gives one (B, N, D_l) tensor per layer: N patches, frames or tokens in raster or time order.
    heeds_length: it takes `Padded` as it is; other backbones are handed its values, padding included.
    """

    width: int
    heeds_length = False

    def hidden(self, x: Any) -> list[Tensor]:
        raise ContractError(f"backbone {type(self).__name__} has no patch or frame rows", do="use `rows: clip`")


class TokenBackbone(Backbone):
    """A backbone of two halves, between which masked objectives hide, drop or exchange tokens."""

    def embed(self, x: Any) -> Tokens:
        """x (B, *shape) -> N tokens per item, with positions added where these are absolute."""
        raise NotImplementedError(f"{type(self).__name__}.embed")

    def encode(self, tokens: Tokens) -> list[Tensor]:
        """All or some tokens of each item -> one (B, N, D) per layer, the last one normed; no class token among them."""
        raise NotImplementedError(f"{type(self).__name__}.encode")

    def forward(self, x: Any) -> Tensor:
        """h (B, width): by default the mean over each item's own tokens after the last layer."""
        tokens = self.embed(x)
        return pooled(self.encode(tokens)[-1], tokens.own)

    def hidden(self, x: Any) -> list[Tensor]:
        return self.encode(self.embed(x))


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
    projector: dict[str, Any] | None = None  # arguments of the objective's projector, whose weights lie beside the encoder's
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
        self.register_buffer("mean", torch.zeros(frontend.channels))
        self.register_buffer("std", torch.ones(frontend.channels))

    @property
    def width(self) -> int:
        return self.backbone.width

    def standardise(self, x: Input) -> Input:
        """x (B, C, ...) -> (x - mean) / std, channel by channel; padding becomes 0. As it is where there are no channels."""
        if isinstance(x, Graph) or not len(self.mean):
            return x
        if isinstance(x, Padded):
            within = x.own().view(len(x), *(1,) * (x.x.dim() - 2), -1)
            return x.map(lambda values: self._standardised(values) * within)
        return self._standardised(x)

    def _standardised(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)

    def prepared(self, x: Input) -> Any:
        """What the backbone takes: x standardised, its lengths left out where the backbone does not heed them."""
        x = self.standardise(x)
        return x.x if isinstance(x, Padded) and not self.backbone.heeds_length else x

    def forward(self, x: Input) -> Tensor:
        """x (B, *shape) as the front end (and views) give it -> h (B, width)."""
        h: Tensor = self.backbone(self.prepared(x))
        return h

    def hidden(self, x: Input) -> list[Tensor]:
        """One (B, N, D_l) tensor per layer."""
        return self.backbone.hidden(self.prepared(x))


def new(frontend: Part, backbone: Part, column: Column, assets: Path) -> Encoder:
    """A new encoder, its weights drawn from torch's global generator: seed it first."""
    front: Frontend = registry.make("frontend", frontend, column, assets)
    return Encoder(front, registry.make("backbone", backbone, front))


def save(folder: Path, encoder: Encoder, card: EncoderCard, projector: Projector | None = None) -> None:
    """Writes weights and card into an existing folder, with the projector's weights and the files that the front end keeps."""
    from stages.common.schema import as_plain

    _write(folder / WEIGHTS, encoder)
    if projector is not None:
        _write(folder / PROJECTOR, projector)
    for name, path in encoder.frontend.keeps.items():
        (folder / name).write_bytes(path.read_bytes())
    atomic.write_json(folder / CARD, as_plain(card))


def _write(path: Path, module: nn.Module) -> None:
    from safetensors.torch import save as serialised  # not its save_file, whose errors do not say that a disk is full

    path.write_bytes(serialised({k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}))


def load_card(folder: Path) -> EncoderCard:
    """encoder.json of one seed's folder. Raises UserError where it is missing, damaged or has keys that it should not."""
    return build(EncoderCard, atomic.read_json(folder / CARD), str(folder / CARD))


def load(folder: Path, device: str | torch.device = "cpu") -> tuple[Encoder, EncoderCard]:
    """The encoder of one seed's folder, in eval mode. Raises ContractError where weights and card do not fit."""
    card = load_card(folder)
    encoder = new(card.frontend, card.backbone, card.column, folder)
    _read(folder / WEIGHTS, encoder)
    return encoder.to(device).eval(), card


def load_projector(folder: Path, device: str | torch.device = "cpu") -> Projector:
    """The projector that one seed's encoder was trained with, in eval mode. Raises ContractError where there is none."""
    card = load_card(folder)
    if card.projector is None:
        raise ContractError(f"objective {card.objective!r} has no projector", where=folder, do="extract `output: embedding`")
    projector = Projector(**card.projector)
    _read(folder / PROJECTOR, projector)
    return projector.to(device).eval()


def _read(path: Path, module: nn.Module) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(str(path)), strict=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ContractError(f"the weights do not load: {error}", where=path, do="run the pretraining again") from None


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
