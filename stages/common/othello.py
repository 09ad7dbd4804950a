"""The rules of Othello on many boards at once, on squares of any even side from 4 (8: the common game). NumPy only.

Squares are numbered row by row, s = side * row + column. Black begins; in the middle, white holds (h - 1, h - 1) and (h, h),
h = side / 2, black the two others. A player without a legal move is passed over; the game ends when neither has one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.common.errors import UserError

BLACK, WHITE = 1, -1
_STEPS = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if r or c]


@dataclass(frozen=True)
class Position:
    """board (B, side, side) int8: 1 black, -1 white, 0 empty. player (B,) int8: who moves next; 0 where the game is over."""

    board: np.ndarray
    player: np.ndarray

    def __len__(self) -> int:
        return len(self.board)

    @property
    def side(self) -> int:
        return int(self.board.shape[1])


@dataclass(frozen=True)
class Replay:
    """Games of T moves, position t being that after move t; what follows a game's last or first illegal move stays as it was.

    board (B, T, side * side) int8; player (B, T) int8 who moves next, 0: nobody; mover (B, T) int8 who made move t, 0: nobody;
    legal (B, T, side * side) bool: the legal moves next. illegal (B,): the index of a game's first illegal move, -1 for none.
    """

    board: np.ndarray
    player: np.ndarray
    mover: np.ndarray
    legal: np.ndarray
    illegal: np.ndarray


def start(games: int, side: int) -> Position:
    """The opening position, `games` times. Raises UserError for a side that is no board."""
    if side < 4 or side % 2:
        raise UserError(f"a board has an even side of 4 or more, not {side}", where="othello")
    board, half = np.zeros((games, side, side), np.int8), side // 2
    board[:, half - 1, half - 1] = board[:, half, half] = WHITE
    board[:, half - 1, half] = board[:, half, half - 1] = BLACK
    return Position(board, np.full(games, BLACK, np.int8))


def legal(board: np.ndarray, player: np.ndarray) -> np.ndarray:
    """bool (B, side * side): where `player` (B,) may move on `board` (B, side, side). Nowhere for player 0."""
    own, other = _sides(board, player)
    empty, found = board == 0, np.zeros(board.shape, bool)
    for step in _STEPS:
        run = other & _moved(own, step)
        for _ in range(board.shape[1] - 3):
            run |= other & _moved(run, step)
        found |= empty & _moved(run, step)
    return found.reshape(len(board), -1) & (player != 0)[:, None]


def play(position: Position, square: np.ndarray) -> Position:
    """The positions after legal moves on `square` (B,); -1: none is made there, and nothing changes.

    Whether a move is legal is not checked: `legal` says it.
    """
    board, player = position.board, position.player
    placed = np.zeros((len(board), board.shape[1] ** 2), bool)
    placed[np.flatnonzero(square >= 0), square[square >= 0]] = True
    mark, turned = placed.reshape(board.shape), np.zeros(board.shape, bool)
    own, other = _sides(board, player)
    for step in _STEPS:
        run = other & _moved(mark, step)
        for _ in range(board.shape[1] - 3):
            run |= other & _moved(run, step)
        closed = (_moved(run, step) & own).any((1, 2))
        turned |= run & closed[:, None, None]
    after = np.where(mark | turned, player[:, None, None], board).astype(np.int8)
    return Position(after, np.where(square >= 0, next_player(after, -player), player).astype(np.int8))


def next_player(board: np.ndarray, due: np.ndarray) -> np.ndarray:
    """int8 (B,): `due` (B,) where it can move, else the other where that can, else 0."""
    may, other_may = legal(board, due).any(1), legal(board, -due).any(1)
    return np.where(may, due, np.where(other_may, -due, 0)).astype(np.int8)


def replay(moves: np.ndarray, side: int) -> Replay:
    """Games given as squares `moves` (B, T), -1 after a game's last move."""
    games, length = moves.shape
    position = start(games, side)
    board = np.zeros((games, length, side * side), np.int8)
    player, mover = np.zeros((2, games, length), np.int8)
    may_next, illegal = np.zeros((games, length, side * side), bool), np.full(games, -1)
    may = legal(position.board, position.player)
    for t in range(length):
        square = np.where(illegal < 0, moves[:, t], -1)
        inside = (square >= 0) & (square < side * side)
        wrong = (square >= 0) & ~(inside & may[np.arange(games), np.where(inside, square, 0)])
        illegal[wrong] = t
        square = np.where(wrong, -1, square)
        mover[:, t] = np.where(square >= 0, position.player, 0)
        position = play(position, square)
        may = legal(position.board, position.player)
        board[:, t], player[:, t], may_next[:, t] = position.board.reshape(games, -1), position.player, may
    return Replay(board, player, mover, may_next, illegal)


def random_games(uniform: np.ndarray, side: int) -> np.ndarray:
    """Squares (B, T) of games in which every legal move is as likely, -1 after the end; uniform (B, T) in [0, 1) decides."""
    position, moves = start(len(uniform), side), np.full(uniform.shape, -1)
    for t in range(uniform.shape[1]):
        may = legal(position.board, position.player)
        count = may.sum(1)
        rank = np.minimum((uniform[:, t] * count).astype(int), count - 1) + 1
        moves[:, t] = np.where(count > 0, (may.cumsum(1) >= rank[:, None]).argmax(1), -1)
        position = play(position, moves[:, t])
    return moves


def playable(side: int) -> np.ndarray:
    """The squares (side^2 - 4,) that a move can name, in order: all but the four in the middle. Symbol k is number k - 1."""
    return np.flatnonzero(start(1, side).board.reshape(-1) == 0)


def names(side: int) -> list[str]:
    """The symbols' names: `pad` for 0, then squares by column (a, b ...) and row (1, 2 ... from the top), such as `d3`."""
    return ["pad", *(f"{chr(ord('a') + s % side)}{s // side + 1}" for s in playable(side).tolist())]


def symbols(moves: np.ndarray, side: int) -> np.ndarray:
    """Squares (...) -> symbols 1 .. side^2 - 4; 0 for -1 and for the squares in the middle."""
    table = np.zeros(side * side + 1, np.int64)
    table[playable(side)] = np.arange(1, side * side - 3)
    return table[moves]


def squares(symbols: np.ndarray, side: int) -> np.ndarray:
    """Symbols (...) -> squares; -1 for symbol 0."""
    return np.concatenate([[-1], playable(side)])[symbols]


def side_of(vocabulary: int) -> int:
    """The side of the board whose moves have so many symbols, padding among them. Raises UserError where there is none."""
    side = round((vocabulary + 3) ** 0.5)
    if side * side - 3 != vocabulary or side < 4 or side % 2:
        raise UserError(
            f"{vocabulary} symbols are no moves of a board: there are side^2 - 3, such as 33 (6 x 6) and 61 (8 x 8)",
            where="othello",
            do="use a corpus of Othello games",
        )
    return side


def _sides(board: np.ndarray, player: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    relative = board * player[:, None, None]
    return relative == 1, relative == -1


def _moved(x: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """x (B, side, side) bool, each square's value carried one `step` on; what leaves the board is lost."""
    out, (row, column) = np.zeros_like(x), step
    to = [slice(max(d, 0), x.shape[1] + min(d, 0)) for d in (row, column)]
    of = [slice(max(-d, 0), x.shape[1] + min(-d, 0)) for d in (row, column)]
    out[:, to[0], to[1]] = x[:, of[0], of[1]]
    return out
