"""The rules of Othello: counts of lines of play from the literature, and games against a walk along lines."""

from __future__ import annotations

import numpy as np
import pytest

from stages.common import othello
from stages.common.errors import UserError
from stages.common.othello import Position
from tests.oracles import othello as slow


def perft(depth: int, side: int) -> list[int]:
    """How many lines of play there are of 1 .. depth moves, each counted however it is reached."""
    position, counts = othello.start(1, side), []
    for _ in range(depth):
        game, square = np.nonzero(othello.legal(position.board, position.player))
        position = othello.play(Position(position.board[game], position.player[game]), square)
        counts.append(len(position))
    return counts


def games(count: int, side: int, seed: int = 0) -> np.ndarray:
    return othello.random_games(np.random.default_rng(seed).random((count, side * side - 4)), side)


def test_lines_of_play_are_as_many_as_the_literature_counts() -> None:
    assert perft(7, 8) == [4, 12, 56, 244, 1396, 8200, 55092]


@pytest.mark.parametrize(("side", "count"), [(4, 200), (6, 60), (8, 15)])
def test_games_are_what_a_walk_along_lines_makes_of_them(side: int, count: int) -> None:
    moves = games(count, side)
    replayed = othello.replay(moves, side)
    passes = 0
    for game, own in enumerate(moves):
        states = slow.game([m for m in own.tolist() if m >= 0], side)
        assert len(states) == (own >= 0).sum()  # every move was legal
        assert states[-1][1] == 0 or len(states) == moves.shape[1]  # and it was played to the end
        for t, (cells, player, legal) in enumerate(states):
            assert replayed.board[game, t].tolist() == cells
            assert replayed.player[game, t] == player
            assert set(np.flatnonzero(replayed.legal[game, t]).tolist()) == legal
            passes += t > 0 and replayed.mover[game, t] == replayed.mover[game, t - 1]
    assert passes > 0  # passes occurred
    assert (replayed.illegal == -1).all()


def test_every_legal_move_is_drawn_as_often() -> None:
    drawn = games(4000, 6)
    first, counts = np.unique(drawn[:, 0], return_counts=True)
    assert len(first) == 4 and np.abs(counts - 1000).max() < 4 * (4000 * 0.25 * 0.75) ** 0.5
    replayed = othello.replay(drawn, 6)
    rank = []
    for t in range(1, 20):
        legal, on = replayed.legal[:, t - 1], drawn[:, t] >= 0
        before = (legal.cumsum(1) - legal)[np.arange(len(drawn)), drawn[:, t]]
        rank.append(((before + 0.5) / np.maximum(legal.sum(1), 1))[on])
    assert np.concatenate(rank).mean() == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("wrong", [[0], [14, 14], [14, 15], [99]])
def test_a_replay_names_the_first_illegal_move_and_stops_there(wrong: list[int]) -> None:
    fine = games(1, 6)[0]
    moves = np.stack([fine, fine])
    moves[1, 3 : 3 + len(wrong)] = wrong
    replayed = othello.replay(moves, 6)
    assert replayed.illegal[0] == -1 and replayed.illegal[1] >= 3
    at = replayed.illegal[1]
    assert (replayed.board[1, at:] == replayed.board[1, at - 1]).all()
    assert len(slow.game(moves[1].tolist(), 6)) == at


def test_a_player_without_a_move_is_passed_over_and_nobody_moves_when_it_is_over() -> None:
    board = np.zeros((2, 4, 4), np.int8)
    board[0, 0] = [0, -1, 1, 0]  # white can take along the row, black too
    board[1, 0] = [1, 1, 0, 0]
    assert othello.next_player(board, np.array([1, 1], np.int8)).tolist() == [1, 0]
    assert othello.next_player(board, np.array([-1, -1], np.int8)).tolist() == [-1, 0]
    board[0, 0, 0] = -1  # now black alone has no move: white takes by the right corner
    assert othello.next_player(board, np.array([1, 1], np.int8)).tolist() == [-1, 0]


def test_symbols_name_the_squares_that_can_be_played() -> None:
    assert othello.names(6)[:4] == ["pad", "a1", "b1", "c1"] and len(othello.names(8)) == 61
    assert not {"d4", "e4", "d5", "e5"} & set(othello.names(8))
    moves = games(20, 8)
    symbols = othello.symbols(moves, 8)
    assert symbols.max() == 60 and ((symbols == 0) == (moves == -1)).all()
    assert (othello.squares(symbols, 8) == moves).all()
    assert othello.side_of(33) == 6 and othello.side_of(61) == 8


@pytest.mark.parametrize("vocabulary", [0, 32, 46, 60])
def test_a_vocabulary_of_no_board_is_refused(vocabulary: int) -> None:
    with pytest.raises(UserError, match="no moves of a board"):
        othello.side_of(vocabulary)


@pytest.mark.parametrize("side", [2, 5])
def test_a_side_of_no_board_is_refused(side: int) -> None:
    with pytest.raises(UserError, match="even side"):
        othello.start(1, side)
