"""Units of a stream worked off by several processes: in their order, few at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from stages.common import process
from stages.common.errors import PassingError


def slower_at_first(n: int) -> tuple[int, int]:
    time.sleep(0.3 if n == 1 else 0)
    if n == 40:
        raise ValueError(f"unit {n}")
    if n == 41:
        os._exit(1)
    return n, os.getpid()


def test_answers_come_in_the_order_of_units_from_several_processes_and_few_wait() -> None:
    taken: list[int] = []

    def units() -> Iterator[int]:
        for n in range(20):
            taken.append(n)
            yield n

    found = []
    for n, owner in process.in_order(slower_at_first, units(), 2, alone_s=0):
        assert len(taken) - n <= 2 * 2 + 2
        found.append((n, owner))
    assert [n for n, _ in found] == list(range(20))
    assert found[0][1] == os.getpid() and os.getpid() not in {owner for _, owner in found[1:]}


def test_what_takes_less_than_a_process_costs_stays_here() -> None:
    assert {owner for _, owner in process.in_order(slower_at_first, range(5), 2, alone_s=60)} == {os.getpid()}
    assert {owner for _, owner in process.in_order(slower_at_first, range(5), 1, alone_s=0)} == {os.getpid()}


def test_an_error_arrives_whole_and_a_killed_process_may_be_tried_again() -> None:
    with pytest.raises(ValueError, match="unit 40"):
        list(process.in_order(slower_at_first, [0, 40, 2], 2, alone_s=0))
    with pytest.raises(PassingError, match="a worker process was killed"):
        list(process.in_order(slower_at_first, [0, 41, 2], 2, alone_s=0))
