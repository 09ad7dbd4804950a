"""Games of Othello in which every legal move is as likely: the synthetic games of Othello-GPT."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stages.common import othello
from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.item import Item

_BLOCK = 2048  # games played at once


@part
class Othello:
    """`games` random legal games on a board of `side` x `side` (Li et al. 2023, "Emergent World Representations", sec. 2.1).

    media: `moves`, tokens (T,), T <= side^2 - 4: symbol k is the k-th square that a move can name, row by row (60 of them on
    8 x 8, as in the paper); 0 is left for padding. Passes take no symbol. Labels: winner (black, white, draw), length (moves).
    Game i depends on (seed, i) alone, so a larger corpus begins with the smaller one. Raises UserError for a side that is no
    board, or no games.
    """

    def __init__(self, *, games: int = 1000, side: int = 8, seed: int = 0) -> None:
        if games < 1:
            raise UserError("there is a game at least", where="simulator othello.games")
        self.count, self.side, self.seed = games, side, seed
        self.columns = [Column("moves", "media", "tokens", classes=othello.names(side))]

    def __iter__(self) -> Iterator[Item]:
        for block in range(-(-self.count // _BLOCK)):
            draw = np.random.default_rng([self.seed, block]).random((_BLOCK, self.side**2 - 4))
            yield from self._played(draw[: self.count - block * _BLOCK], block * _BLOCK)

    def _played(self, draw: np.ndarray, first: int) -> Iterator[Item]:
        moves = othello.random_games(draw, self.side)
        discs = othello.replay(moves, self.side).board[:, -1].sum(1, dtype=int)
        for i, (game, symbols) in enumerate(zip(moves, othello.symbols(moves, self.side), strict=True)):
            length = int((game >= 0).sum())
            winner = "draw" if not discs[i] else "black" if discs[i] > 0 else "white"
            yield Item(f"game-{first + i:08d}", {"moves": symbols[:length]}, {"winner": winner, "length": length})
