"""Games of Othello as heads need them: an encoder's states after every move, the boards, linear probes of all squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.common import othello
from stages.common.errors import ContractError, UserError
from stages.common.othello import Replay
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder, TokenBackbone
from stages.encoders.core.inputs import Padded
from stages.encoders.core.projector import Projector
from stages.fit.core.head import Problem, Rows
from stages.fit.core.material import Material

Target = Literal["colour", "relative"]
CLASSES = {"colour": ["empty", "black", "white"], "relative": ["empty", "mine", "yours"]}
_GAMES = 256  # in the network at once


@dataclass(frozen=True)
class Games:
    """symbols (G, T) int64, lengths (G,), on the device; own (G, T) bool: where moves are; replay: what the rules say."""

    symbols: Tensor
    lengths: Tensor
    own: Tensor
    replay: Replay
    side: int

    def __len__(self) -> int:
        return len(self.symbols)

    def padded(self, start: int, stop: int) -> Padded:
        return Padded(self.symbols[start:stop], self.lengths[start:stop])


def games(problem: Problem, rows: Rows, encoder: Encoder) -> Games:
    """The games that feature rows are of, each once, in the order of their ids.

    Raises UserError for a corpus of no board's moves, ContractError for a game with an illegal move.
    """
    side = othello.side_of(encoder.frontend.vocabulary)
    ids = np.unique(rows.ids)
    media = problem.input.media(ids, encoder.frontend.contract)
    symbols, lengths = media.data.long(), media.lengths
    assert lengths is not None
    own = torch.arange(symbols.shape[1], device=symbols.device) < lengths[:, None]
    replayed = othello.replay(othello.squares(symbols.cpu().numpy(), side), side)
    wrong = np.flatnonzero(replayed.illegal >= 0)
    if len(wrong):
        raise ContractError(f"game {ids[wrong[0]]!r} has an illegal move, number {replayed.illegal[wrong[0]] + 1}")
    return Games(symbols, lengths, own, replayed, side)


def boards(played: Games, target: Target) -> Tensor:
    """int64 (M, side^2): what stands on each square after each move, game by game: 0 empty, 1 and 2 as in CLASSES.

    relative: mine is the colour that moves next; at the end, the one that did not move last.
    """
    board, replayed = played.replay.board, played.replay
    own = played.own.cpu().numpy()
    if target == "relative":
        mine = np.where(replayed.player != 0, replayed.player, -replayed.mover)
        board = board * mine[:, :, None]
    return torch.from_numpy(np.where(board < 0, 2, board)[own].astype(np.int64)).to(played.symbols.device)


def network(material: Material) -> tuple[Encoder, TokenBackbone]:
    """The encoder that the task's support names, and its backbone. Raises UserError for one without blocks of tokens."""
    encoder = material.encoder()
    backbone = encoder.backbone
    if not isinstance(backbone, TokenBackbone) or not isinstance(getattr(backbone, "blocks", None), nn.ModuleList):
        raise UserError("the encoder has no blocks whose states could be read", where="support", do="use the backbone gpt")
    return encoder, backbone


def outputs(material: Material) -> Projector:
    """The map from states to logits of the next symbol. Raises ContractError for an encoder that was not trained with one."""
    assert material.folder is not None  # the encoder was there
    return encoders.load_projector(material.folder / f"seed={material.card().seed}", material.device)


@torch.no_grad()
def run(
    encoder: Encoder, backbone: TokenBackbone, played: Games, edits: dict[int, Callable[[Tensor, int], Tensor]] | None = None
) -> list[list[Tensor]]:
    """hidden states by block, in batches of games: each (b, T, D).

    edits: {block: (its output (b, T, D), the first game's number) -> what the next block is given instead}.
    """
    found, blocks, first = [], backbone.get_submodule("blocks"), 0
    assert isinstance(blocks, nn.ModuleList)

    def hook(edit: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
        return lambda module, given, out: edit(out, first)

    handles = [blocks[layer].register_forward_hook(hook(edit)) for layer, edit in (edits or {}).items()]
    try:
        for first in range(0, len(played), _GAMES):
            batch = encoder.hidden(played.padded(first, first + _GAMES))  # the hooks read `first`
            found.append(batch)
    finally:
        for handle in handles:
            handle.remove()
    return found


def states(encoder: Encoder, backbone: TokenBackbone, played: Games) -> list[Tensor]:
    """Per block (M, D): the residual stream after each own move, game by game; the last block's is normed."""
    batches = run(encoder, backbone, played)
    return [torch.cat([b[layer] for b in batches])[played.own] for layer in range(len(batches[0]))]


def candidates(logits: Tensor) -> Tensor:
    """logits (..., side^2 - 3) without those of padding, which is no move: (..., side^2 - 4)."""
    return logits[..., 1:]


def legal_symbols(legal: np.ndarray, side: int) -> np.ndarray:
    """legal (..., side^2) by square -> (..., side^2 - 4) by symbol, padding left out."""
    found: np.ndarray = legal[..., othello.playable(side)]
    return found


@dataclass(frozen=True)
class Probe:
    """logits (N, S, 3) = z weight + bias, z = (x - mean) / std: one softmax of three classes for each of S squares.

    weight (D, S, 3), bias (S, 3), mean and std (D,).
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        d, s, c = self.weight.shape
        return (((x - self.mean) / self.std) @ self.weight.view(d, s * c)).view(-1, s, c) + self.bias

    def predict(self, x: Tensor) -> Tensor:
        """int64 (N, S)."""
        return torch.cat([self(part).argmax(-1) for part in x.split(8192)])

    def direction(self, of: int, to: int) -> Tensor:
        """(S, D): the unit vector in x along which each square's logit of class `to` gains most on that of `of`."""
        towards = (self.weight[:, :, to] - self.weight[:, :, of]).T / self.std
        return F.normalize(towards, dim=1)


@dataclass(frozen=True)
class Fitting:
    """How a probe is fitted: AdamW, cosine decay; epochs over the rows, rows of a step, rate, weight decay."""

    epochs: int = 6
    batch_size: int = 512
    lr: float = 0.03
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size) < 1 or self.lr <= 0 or self.weight_decay < 0:
            raise UserError("epochs, batch_size and lr must be positive, weight_decay not negative", where="head")


def fit(x: Tensor, target: Tensor, how: Fitting, seed: int) -> Probe:
    """The probe of x (N, D) for target (N, S): mean cross entropy over rows and squares, all squares at once."""
    mean, std = x.mean(0), x.std(0, correction=0).clamp_min(1e-6)
    squares = target.shape[1]
    weight = torch.zeros(x.shape[1], squares * 3, device=x.device, requires_grad=True)
    bias = torch.zeros(squares * 3, device=x.device, requires_grad=True)
    optimiser = torch.optim.AdamW([weight, bias], lr=how.lr, weight_decay=how.weight_decay)
    per_epoch = -(-len(x) // how.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, how.epochs * per_epoch)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(how.epochs):
        for rows in torch.randperm(len(x), generator=generator).to(x.device).split(how.batch_size):
            logits = torch.addmm(bias, (x[rows] - mean) / std, weight)
            loss = F.cross_entropy(logits.view(-1, 3), target[rows].view(-1))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    d = x.shape[1]
    return Probe(weight.detach().view(d, squares, 3), bias.detach().view(squares, 3), mean, std)


def described(how: Fitting, played: dict[str, Games]) -> dict[str, Any]:
    """For a task's details: the fitting, games and moves by split."""
    counts = {split: {"games": len(g), "moves": int(g.own.sum())} for split, g in played.items()}
    return {"fitting": how.__dict__, "boards": counts}
