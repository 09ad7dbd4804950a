"""Othello by walking along lines, one board and one square at a time; a causal transformer and its loss step by step."""

from __future__ import annotations

import math

import numpy as np

from tests.oracles.text import Weights, _linear, _norm, gelu

Board = dict[tuple[int, int], int]


def opening(side: int) -> Board:
    h = side // 2
    return {(h - 1, h - 1): -1, (h, h): -1, (h - 1, h): 1, (h, h - 1): 1}


def turned(board: Board, side: int, player: int, at: tuple[int, int]) -> list[tuple[int, int]]:
    """The discs that a move turns; none: the move is not legal."""
    found: list[tuple[int, int]] = []
    if at in board:
        return found
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            line, (r, c) = [], (at[0] + dr, at[1] + dc)
            while (dr or dc) and board.get((r, c)) == -player:
                line.append((r, c))
                r, c = r + dr, c + dc
            if board.get((r, c)) == player:
                found += line
    return found


def legal(board: Board, side: int, player: int) -> set[int]:
    return {r * side + c for r in range(side) for c in range(side) if turned(board, side, player, (r, c))}


def game(moves: list[int], side: int) -> list[tuple[list[int], int, set[int]]]:
    """After each move: the board by square, who moves next (0: nobody), and where. Stops before an illegal move."""
    board, player, states = opening(side), 1, []
    for move in moves:
        at = divmod(move, side)
        flips = turned(board, side, player, at)
        if not flips:
            break
        for square in [at, *flips]:
            board[square] = player
        player = -player
        if not legal(board, side, player):
            player = -player if legal(board, side, -player) else 0
        cells = [board.get(divmod(s, side), 0) for s in range(side * side)]
        states.append((cells, player, legal(board, side, player) if player else set()))
    return states


def causal(symbols: list[int], w: Weights, heads: int, depth: int) -> list[np.ndarray]:
    """Each block's states (n, dim), the last one normed: pre-norm blocks in which position i mixes positions 0 .. i."""
    t = np.array([w["symbols.weight"][s] + w["positions"][0, i] for i, s in enumerate(symbols)])
    n, dim = t.shape
    size, outputs = dim // heads, []
    for b in range(depth):
        name = f"blocks.{b}"
        qkv = _linear(_norm(t, w, f"{name}.norm1"), w, f"{name}.qkv")
        mixed = np.zeros((n, dim))
        for h in range(heads):
            q, k, v = (qkv[:, part * dim + h * size : part * dim + (h + 1) * size] for part in range(3))
            for i in range(n):
                scores = [math.exp(float(q[i] @ k[j]) / math.sqrt(size)) for j in range(i + 1)]
                mixed[i, h * size : (h + 1) * size] = sum(s * v[j] for j, s in enumerate(scores)) / sum(scores)
        t = t + _linear(mixed, w, f"{name}.out")
        t = t + _linear(gelu(_linear(_norm(t, w, f"{name}.norm2"), w, f"{name}.mlp.0")), w, f"{name}.mlp.2")
        outputs.append(t)
    return [*outputs[:-1], _norm(outputs[-1], w, "norm")]


def next_symbol_loss(logits: np.ndarray, symbols: list[list[int]]) -> float:
    """logits (B, T, V) and each item's own symbols: mean of -log p(next) over all but the first of each item."""
    losses = []
    for item, own in enumerate(symbols):
        for t in range(len(own) - 1):
            row = logits[item, t].tolist()
            losses.append(math.log(sum(math.exp(v) for v in row)) - row[own[t + 1]])
    return sum(losses) / len(losses) if losses else 0.0


def miscounted(logits: list[float], legal_moves: set[int]) -> int:
    """Of the len(legal_moves) likeliest moves: those that are not legal, and the legal ones that are not among them."""
    top = set(sorted(range(len(logits)), key=lambda i: -logits[i])[: len(legal_moves)])
    return len(top - legal_moves) + len(legal_moves - top)
