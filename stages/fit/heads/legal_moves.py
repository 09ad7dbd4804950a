"""Whether a network that was trained on games foretells moves that the rules allow."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from stages.common.errors import UserError
from stages.common.registry import part
from stages.fit.core import boards
from stages.fit.core.head import Outcome, Problem


@part
class LegalMoves:
    """The network that `support:` names, asked after every move of the test games that leaves a legal one.

    Li et al. 2023, "Emergent World Representations", sec. 2.3. Figures: legal_rate, the share of positions whose likeliest next
    move is legal; legal_mass, the mean probability that the legal moves have together; any_empty, the share of legal ones among
    the empty squares, which is the rate of a guess. A warning says where the rate is below `needed`: what a probe then finds
    says nothing of a network that plays by the rules.
    Raises UserError for an encoder or a corpus without Othello's moves, or a `needed` that is no share, ContractError for an
    encoder without logits (objective `autoregressive` saves them) or an illegal game.
    """

    label: Literal["class", "number", "text", "steps"] | None = None

    def __init__(self, *, needed: float = 0.95) -> None:
        if not 0 <= needed <= 1:
            raise UserError(f"needed must be a share, not {needed:g}", where="head legal_moves")
        self.needed = needed

    @torch.no_grad()
    def fit(self, problem: Problem) -> Outcome:
        encoder, backbone = boards.network(problem.input)
        output = boards.outputs(problem.input)
        games = boards.games(problem, problem.split("test"), encoder)
        last = torch.cat([batch[-1] for batch in boards.run(encoder, backbone, games)])
        asked = games.replay.legal.any(2) & games.own.cpu().numpy()
        logits = boards.candidates(output(last[torch.from_numpy(asked).to(last.device)])).double()
        allowed = boards.legal_symbols(games.replay.legal[asked], games.side)
        top = logits.argmax(1).cpu().numpy()
        rate = float(allowed[np.arange(len(top)), top].mean())
        empty = (games.replay.board[asked] == 0).sum(1)
        values = {
            "legal_rate": rate,
            "legal_mass": float((logits.softmax(1).cpu().numpy() * allowed).sum(1).mean()),
            "any_empty": float((allowed.sum(1) / empty).mean()),
        }
        below = f"{rate:.1%} of the likeliest moves are legal, below {self.needed:.0%}: claims on the board are not testable"
        return Outcome(
            values=values,
            items=len(games),
            details={"positions": len(top), "needed": self.needed, "testable": rate >= self.needed},
            warnings=[below] if rate < self.needed else [],
        )
