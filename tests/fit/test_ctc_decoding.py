"""Decoders of CTC against the sum over all paths."""

from __future__ import annotations

import numpy as np
import pytest

from stages.fit.core.ctc_decoding import greedy, prefix_beam
from tests.oracles import wav2vec2 as slow


def drawn(seed: int, frames: int = 5, symbols: int = 3, sharp: float = 1.5) -> np.ndarray:
    logits = sharp * np.random.default_rng(seed).normal(size=(frames, symbols))
    return np.asarray(logits - np.log(np.exp(logits).sum(1, keepdims=True)))


@pytest.mark.parametrize("seed", range(20))
def test_a_wide_beam_finds_the_likeliest_text_of_all(seed: int) -> None:
    log_probs = drawn(seed)
    every = slow.texts(log_probs)
    assert sum(every.values()) == pytest.approx(1)
    assert tuple(prefix_beam(log_probs, 1000)) == max(every, key=lambda text: every[text])


@pytest.mark.parametrize("seed", range(5))
def test_greedy_takes_the_likeliest_path(seed: int) -> None:
    log_probs = drawn(seed, frames=9)
    assert tuple(greedy(log_probs)) == slow.collapsed(tuple(log_probs.argmax(1).tolist()))


def test_a_text_may_be_likelier_than_the_one_of_the_likeliest_path() -> None:
    log_probs = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))  # blank blank: 0.36; the symbol once: 0.64
    assert greedy(log_probs) == []
    assert prefix_beam(log_probs, 4) == [1]


def test_a_doubled_symbol_needs_a_blank_between() -> None:
    sure = np.log(np.full((3, 2), 1e-9))
    for t, s in enumerate([1, 0, 1]):
        sure[t, s] = 0.0
    assert greedy(sure) == prefix_beam(sure, 3) == [1, 1]
    assert greedy(sure[[0, 0, 2]]) == prefix_beam(sure[[0, 0, 2]], 3) == [1]


def test_no_frames_give_no_text() -> None:
    assert greedy(np.empty((0, 3))) == [] == prefix_beam(np.empty((0, 3)), 2)
