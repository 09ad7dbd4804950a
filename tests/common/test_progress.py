"""Progress: a bar on a terminal, plain lines elsewhere, not too many of either."""

from __future__ import annotations

import io

import pytest

from stages.common import progress
from stages.common.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_file_gets_whole_lines_at_most_every_so_often(clock: list[float]) -> None:
    stream = io.StringIO()
    shown = Progress("pretrain a", 100, every=10.0, stream=stream)
    for step in range(100):
        clock[0] += 0.5
        shown.at(step, loss=1.0)
    shown.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert lines[0] == "pretrain a: 19/100 steps  1.9/s  43 s left  loss 1"


def test_a_terminal_gets_one_line_that_is_written_over(clock: list[float]) -> None:
    stream = Terminal()
    shown = Progress("extract a", 40, "rows", stream=stream)
    for step in (10, 20):
        clock[0] += 1
        shown.at(step, loss=0.25)
    shown.close()
    text = stream.getvalue()
    assert "\n" not in text and text.count("\r") == 3 and text.endswith("\r\033[K")
    assert "[##########..........] 20/40 rows  5.0/s  4 s left  loss 0.25" in text


def test_the_rate_of_a_resumed_run_counts_only_its_own_steps(clock: list[float]) -> None:
    stream = io.StringIO()
    shown = Progress("pretrain a", 1000, every=10.0, stream=stream)
    shown.at(900)
    clock[0] += 10
    shown.at(910)
    assert stream.getvalue() == "pretrain a: 910/1000 steps  1.0/s  90 s left\n"


def test_no_rate_is_claimed_before_there_is_one(clock: list[float]) -> None:
    stream = io.StringIO()
    shown = Progress("pretrain a", 10, every=0.0, stream=stream)
    shown.at(0)
    assert stream.getvalue() == "pretrain a: 0/10 steps  0.0/s  ...\n"


def test_more_steps_than_foretold_do_not_break_the_bar(clock: list[float]) -> None:
    stream = Terminal()
    shown = Progress("ingest a", 10, "rows", stream=stream)
    shown.at(0)
    clock[0] += 1
    shown.at(20)
    assert "[####################] 20/20 rows  20.0/s  0 s left" in stream.getvalue()
