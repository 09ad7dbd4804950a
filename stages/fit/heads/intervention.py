"""Edits of the board in a network's states: do its next moves follow?"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stages.common import othello
from stages.common.errors import UserError, unknown
from stages.common.registry import part
from stages.fit.core import boards
from stages.fit.core.boards import Fitting, Games, Probe, Target
from stages.fit.core.head import Outcome, Problem

HIGHER_IS_BETTER = {"intervention_error": False}
_EDITS = ("probe", "random", "none")


@part
class Intervention:
    """One disc is turned in the states x of the encoder that `support:` names: x <- x + a r u, at the position after move t.

    Nanda, Lee and Wattenberg 2023, "Emergent Linear Representations", sec. 4; cases and error as in Li et al. 2023, "Emergent
    World Representations", sec. 4.2. u (D,) is the unit vector along which a linear probe of that block tells the disc's new
    owner from the old one, r the root of the mean squared distance of the train states from their mean, a of `scales` the one
    with the least error on as many cases of valid games. Of the edited board the rules give the N legal moves; the error of a
    case is the number of false positives and false negatives among the N likeliest moves.

    cases: of games, moves and occupied squares drawn evenly, alike for all seeds, such that the edited board leaves a move.
    layers: the blocks after which x is edited (default: all but the last, whose states are normed). target: of the probe, see
    `board_probe`. edit: `probe`; `random`: u drawn at random, of the same length; `none`: the null intervention.
    Figures: intervention_error (mean over cases), changed_error (over the cases whose legal moves the edit changes),
    followed (share of cases with less error than the null intervention).
    Raises UserError for arguments out of range or an encoder or corpus without Othello's moves, ContractError as `legal_moves`.
    """

    label: Literal["class", "number", "text", "steps"] | None = None

    def __init__(
        self,
        *,
        target: Target = "relative",
        edit: Literal["probe", "random", "none"] = "probe",
        layers: list[int] | None = None,
        scales: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8),
        cases: int = 500,
        epochs: int = 6,
        batch_size: int = 512,
        lr: float = 0.03,
        weight_decay: float = 0.01,
    ) -> None:
        where = "head intervention"
        for name, value, known in (("target", target, boards.CLASSES), ("edit", edit, _EDITS)):
            if value not in known:
                raise unknown(name, value, known, where=where)
        if cases < 1 or not scales or min(scales) <= 0:
            raise UserError("there must be a case at least, and scales above 0", where=where)
        self.target: Target = target
        self.edit, self.layers, self.scales, self.cases = edit, layers, tuple(scales), cases
        self.how = Fitting(epochs, batch_size, lr, weight_decay)

    def fit(self, problem: Problem) -> Outcome:
        encoder, backbone = boards.network(problem.input)
        output = boards.outputs(problem.input)
        played = {split: boards.games(problem, problem.split(split), encoder) for split in ("train", "valid", "test")}
        cases = {split: drawn(played[split], self.cases, split == "test") for split in ("valid", "test")}
        states = boards.states(encoder, backbone, played["train"])
        layers = list(range(len(states) - 1)) if self.layers is None else self.layers
        if not layers or not set(layers) < set(range(len(states))):
            raise UserError(f"layers must be among 0 .. {len(states) - 2}, got {layers}", where="head intervention.layers")

        def errors(split: str, shifts: dict[int, Tensor], scale: float) -> np.ndarray:
            made = cases[split]
            at = torch.from_numpy(made.move).to(made.games.symbols.device)
            each = torch.arange(len(at), device=at.device)

            def moved(layer: int) -> Any:
                def edit(x: Tensor, first: int) -> Tensor:
                    some = each[first : first + len(x)]
                    x = x.clone()
                    x[some - first, at[some]] += scale * shifts[layer][some]
                    return x

                return edit

            hidden = boards.run(encoder, backbone, made.games, {layer: moved(layer) for layer in shifts})
            last = torch.cat([batch[-1] for batch in hidden])[each, at]
            with torch.no_grad():
                return miscounted(boards.candidates(output(last)).cpu().numpy(), made.legal)

        null = errors("test", {}, 0.0)
        found, scale, valid = null, 0.0, {}
        if self.edit != "none":
            target = boards.boards(played["train"], self.target)
            shifts: dict[str, dict[int, Tensor]] = {"valid": {}, "test": {}}
            for layer in layers:
                x = states[layer]
                probe = boards.fit(x, target, self.how, problem.seed)
                reach = float((x - x.mean(0)).square().sum(1).mean().sqrt())
                for split, by_layer in shifts.items():
                    by_layer[layer] = reach * self._directions(probe, cases[split], problem.seed + layer)
            valid = {s: float(errors("valid", shifts["valid"], s).mean()) for s in self.scales}
            scale = min(valid, key=valid.__getitem__)
            found = errors("test", shifts["test"], scale)
        values = {
            "intervention_error": float(found.mean()),
            "changed_error": float(found[cases["test"].changed].mean()) if cases["test"].changed.any() else float("nan"),
            "followed": float((found < null).mean()),
        }
        details = {"scale": scale, "valid": {f"{s:g}": e for s, e in valid.items()}, "layers": layers}
        details |= {"cases": len(null), "changed": int(cases["test"].changed.sum()), **boards.described(self.how, played)}
        return Outcome(values=values, items=len(played["test"]), details=details)

    def _directions(self, probe: Probe, cases: Cases, seed: int) -> Tensor:
        """u (N, D) of each case."""
        device = probe.weight.device
        square = torch.from_numpy(cases.square).to(device)
        if self.edit == "random":
            draw = torch.randn(len(square), len(probe.mean), generator=torch.Generator().manual_seed(seed)).to(device)
            return torch.nn.functional.normalize(draw, dim=1)
        owner = torch.from_numpy(cases.colour if self.target == "colour" else cases.colour * cases.player).to(device)
        to_second, to_first = probe.direction(1, 2)[square], probe.direction(2, 1)[square]
        return torch.where((owner == 1)[:, None], to_second, to_first)


class Cases:
    """N edits: games (N of them, in this order), move t, square, colour of its disc before, player to move, each (N,).

    legal (N, side^2 - 4): the legal moves of the edited board; changed (N,): where they are not those of the board as it was.
    """

    def __init__(self, games: Games, move: np.ndarray, square: np.ndarray) -> None:
        each = np.arange(len(move))
        self.games, self.move, self.square = games, move, square
        board, self.player = games.replay.board[each, move], games.replay.player[each, move]
        self.colour = board[each, square]
        edited = board.copy()
        edited[each, square] *= -1
        legal = othello.legal(edited.reshape(len(move), games.side, games.side), self.player)
        self.changed = (legal != games.replay.legal[each, move]).any(1)
        self.legal = boards.legal_symbols(legal, games.side)

    def at(self, kept: np.ndarray) -> Cases:
        return Cases(chosen(self.games, kept), self.move[kept], self.square[kept])


def chosen(games: Games, index: np.ndarray) -> Games:
    """The games at `index` (N,), which may name one several times."""
    at = torch.from_numpy(index).to(games.symbols.device)
    r = games.replay
    part_of = othello.Replay(r.board[index], r.player[index], r.mover[index], r.legal[index], r.illegal[index])
    return Games(games.symbols[at], games.lengths[at], games.own[at], part_of, games.side)


def drawn(games: Games, count: int, test: bool) -> Cases:
    """`count` cases, fewer where too few of four times as many draws leave a move. Raises UserError where none does."""
    rng = np.random.default_rng(int(test))
    game, u, v = rng.integers(0, len(games), 4 * count), rng.random(4 * count), rng.random(4 * count)
    move = (u * games.lengths.cpu().numpy()[game]).astype(int)
    occupied = games.replay.board[game, move] != 0
    rank = (v * occupied.sum(1)).astype(int) + 1
    square = (occupied.cumsum(1) >= rank[:, None]).argmax(1)
    made = Cases(chosen(games, game), move, square)
    kept = np.flatnonzero(made.legal.any(1))[:count]
    if not len(kept):
        raise UserError("no edit of these games leaves a legal move", where="head intervention", do="use more games")
    return made.at(kept)


def miscounted(logits: np.ndarray, legal: np.ndarray) -> np.ndarray:
    """(N,): false positives and false negatives of the likeliest moves, as many as are legal; logits and legal (N, S)."""
    rank = (-logits).argsort(1, kind="stable").argsort(1, kind="stable")
    return ((rank < legal.sum(1, keepdims=True)) != legal).sum(1)
