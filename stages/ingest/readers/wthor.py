"""Othello games in the WTHOR format of the French Othello federation: a header, then 68 bytes a game."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np

from stages.common import othello
from stages.common.corpus import Column
from stages.common.registry import part
from stages.ingest.core.item import BadItem, Broken, Item, Source

SIDE, HEADER, RECORD, MOVES = 8, 16, 68, 60
_BLOCK = 2048  # games replayed at once


@part
class Wthor:
    """One item per game of the `.wtb` files: tokens (T,), symbols as the simulator `othello` has them on 8 x 8.

    Labels: score (black's discs, as stated), winner (by that score: black, white, draw), year. Every game is replayed by the
    rules; one with an illegal move, without moves, or with a move after its end is broken, and the reason says which move.
    """

    def __init__(self) -> None:
        self.columns = [Column("moves", "media", "tokens", classes=othello.names(SIDE))]

    def read(self, source: Source) -> Iterator[Item | Broken]:
        for file in source.files().each(lambda path: path.endswith(".wtb")):
            try:
                year, records = read_games(file.read())
            except BadItem as error:
                yield Broken(file.path, str(error))
                continue
            name = PurePosixPath(file.path).stem
            for first in range(0, len(records), _BLOCK):
                yield from _games(records[first : first + _BLOCK], name, first, year)


def read_games(data: bytes) -> tuple[int, np.ndarray]:
    """The year of a file and its records (N, 68) of bytes. Raises BadItem.

    Header: four bytes of date, N as uint32, a count that is not used, the year as uint16, the board's side (0 stands for 8).
    """
    if len(data) < HEADER:
        raise BadItem(f"{len(data)} bytes are no header of {HEADER}")
    count, year, side = struct.unpack_from("<4xI2xHB", data)
    if side not in (0, SIDE):
        raise BadItem(f"games on a board of side {side}")
    if len(data) != HEADER + RECORD * count:
        raise BadItem(f"{len(data)} bytes, where {count} games take {HEADER + RECORD * count}")
    return year, np.frombuffer(data, np.uint8, offset=HEADER).reshape(count, RECORD)


def _games(records: np.ndarray, name: str, first: int, year: int) -> Iterator[Item | Broken]:
    scores, stated = records[:, 6], records[:, RECORD - MOVES :].astype(np.int64)
    row, column = stated // 10 - 1, stated % 10 - 1
    inside = (row >= 0) & (row < SIDE) & (column >= 0) & (column < SIDE)
    moves = np.where(stated == 0, -1, np.where(inside, SIDE * row + column, SIDE * SIDE))  # the last: no square
    lengths = (stated != 0).sum(1)
    gap = (stated[:, 1:] != 0) & (stated[:, :-1] == 0)
    illegal, symbols = othello.replay(moves, SIDE).illegal, othello.symbols(np.where(inside, moves, -1), SIDE)
    for i, length in enumerate(lengths.tolist()):
        item = f"{name}-{first + i:05d}"
        if not length:
            yield Broken(item, "no moves")
        elif gap[i].any():
            yield Broken(item, "a move is missing among its moves")
        elif illegal[i] >= 0:
            yield Broken(item, f"move {illegal[i] + 1}, {stated[i, illegal[i]]}, is not legal")
        else:
            score = int(scores[i])
            winner = "draw" if score == 32 else "black" if score > 32 else "white"
            labels = {"score": score, "winner": winner, "year": year}
            yield Item(item, {"moves": symbols[i, :length]}, labels)
