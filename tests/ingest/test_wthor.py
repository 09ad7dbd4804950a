"""The reader `wthor`: files written here byte by byte, and the real games, replayed by the rules."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from stages.common import othello
from stages.ingest.core.files import FolderFiles
from stages.ingest.core.item import BadItem, Broken, Item, Source
from stages.ingest.readers.wthor import Wthor, read_games
from tests.oracles import othello as slow


class Folder(Source):
    """The files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._files = FolderFiles(folder)

    def files(self) -> FolderFiles:
        return self._files


def record(squares: list[int], score: int = 32) -> bytes:
    """68 bytes: three numbers of tournament and players, two scores, moves as 10 * row + column, from 1."""
    moves = [10 * (s // 8 + 1) + s % 8 + 1 for s in squares]
    return struct.pack("<3H2B", 1, 2, 3, score, score) + bytes(moves + [0] * (60 - len(moves)))


def file(records: list[bytes], year: int = 2019, side: int = 8) -> bytes:
    return struct.pack("<4BIHH4B", 20, 20, 1, 2, len(records), 0, year, side, 0, 0, 0) + b"".join(records)


def played(count: int) -> list[list[int]]:
    moves = othello.random_games(np.random.default_rng(0).random((count, 60)), 8)
    return [[s for s in game.tolist() if s >= 0] for game in moves]


def read(folder: Path) -> list[Item | Broken]:
    return list(Wthor().read(Folder(folder)))


def test_games_become_symbols_and_carry_what_the_record_states(tmp_path: Path) -> None:
    games = played(5)
    (tmp_path / "WTH_2019.wtb").write_bytes(file([record(g, score=30 + i) for i, g in enumerate(games)]))
    (tmp_path / "WTHOR.JOU").write_bytes(b"players")
    found = read(tmp_path)
    assert [item.id for item in found if isinstance(item, Item)] == [f"WTH_2019-{i:05d}" for i in range(5)]
    for i, (item, game) in enumerate(zip(found, games, strict=True)):
        assert isinstance(item, Item)
        assert othello.squares(item.media["moves"], 8).tolist() == game
        winner = "white" if i < 2 else "draw" if i == 2 else "black"
        assert item.labels == {"score": 30 + i, "winner": winner, "year": 2019}


def test_the_first_move_of_the_literature_is_legal() -> None:
    assert slow.legal(slow.opening(8), 8, 1) == {19, 26, 37, 44}  # d3, c4, f5, e6
    assert [othello.names(8)[s] for s in othello.symbols(np.array([19, 26, 37, 44]), 8)] == ["d3", "c4", "f5", "e6"]


def test_games_against_the_rules_are_set_aside_with_the_move(tmp_path: Path) -> None:
    game = played(1)[0]
    passed = bytearray(record(game))
    passed[8 + 4] = 0
    outside = bytearray(record(game))
    outside[8 + 2] = 99
    wrong = [record([*game[:3], game[0]]), record([0]), record([]), bytes(passed), bytes(outside), record(game)]
    (tmp_path / "WTH_1.wtb").write_bytes(file(wrong))
    *broken, last = read(tmp_path)
    reasons = [b.reason for b in broken if isinstance(b, Broken)]
    first = 10 * (game[0] // 8 + 1) + game[0] % 8 + 1
    assert reasons == [
        f"move 4, {first}, is not legal",
        "move 1, 11, is not legal",
        "no moves",
        "a move is missing among its moves",
        "move 3, 99, is not legal",
    ]
    assert isinstance(last, Item)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"abc", "no header"),
        (file([record([19])])[:-1], "where 1 games take 84"),
        (file([record([19])], side=10), "board of side 10"),
    ],
)
def test_damaged_files_are_set_aside(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(BadItem, match=reason):
        read_games(data)
    (tmp_path / "a.wtb").write_bytes(data)
    (broken,) = read(tmp_path)
    assert isinstance(broken, Broken) and reason in broken.reason


@pytest.mark.mirror
def test_the_real_games_of_a_year_are_legal_and_end_as_they_state(mirror: Path) -> None:
    folder = mirror / "wthor-othello" / "wthor-database"
    year, records = read_games((folder / "WTH_2021.wtb").read_bytes())
    assert year == 2021
    stated = records[:, 8:].astype(int)
    moves = np.where(stated > 0, 8 * (stated // 10 - 1) + stated % 10 - 1, -1)
    replayed = othello.replay(moves, 8)
    assert len(moves) == 320 and (replayed.illegal == -1).all()
    over = replayed.player[:, -1] == 0
    black = (replayed.board[:, -1] == 1).sum(1) + np.where(
        replayed.board[:, -1].sum(1) > 0, (replayed.board[:, -1] == 0).sum(1), 0
    )
    assert over.mean() > 0.9 and (black == records[:, 6])[over].mean() > 0.95  # empty squares go to the winner
