"""The simulator `othello`: its games are legal, depend on (seed, i) alone, and say who won."""

from __future__ import annotations

import numpy as np
import pytest

from stages.common import othello, registry
from stages.common.errors import UserError
from stages.common.schema import Part
from tests.oracles import othello as slow


def items(**arguments: int) -> list[tuple[list[int], str, int]]:
    made = registry.make("simulator", Part("othello", arguments))
    return [(item.media["moves"].tolist(), item.labels["winner"], item.labels["length"]) for item in made]


@pytest.mark.parametrize("side", [4, 6, 8])
def test_each_game_is_legal_to_its_end_and_its_winner_has_more_discs(side: int) -> None:
    winners = set()
    for moves, winner, length in items(games=12, side=side):
        squares = othello.squares(np.array(moves), side).tolist()
        states = slow.game(squares, side)
        assert len(states) == length == len(moves) and min(moves) >= 1
        assert not states[-1][1]
        total = sum(states[-1][0])
        assert winner == ("black" if total > 0 else "white" if total < 0 else "draw")
        winners.add(winner)
    assert len(winners) > 1


def test_a_larger_corpus_begins_with_the_smaller_one_and_another_seed_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.ingest.simulators.othello._BLOCK", 16)
    assert items(games=40, side=4)[:20] == items(games=20, side=4)
    assert items(games=20, side=4, seed=1) != items(games=20, side=4)
    assert len(items(games=33, side=4)) == 33


def test_no_games_and_no_boards_are_refused() -> None:
    with pytest.raises(UserError, match="there is a game at least"):
        items(games=0)
    with pytest.raises(UserError, match="even side"):
        items(games=1, side=7)
