from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from stages.common.overlap import Ahead, Behind, Spread


def test_items_come_in_order_and_end() -> None:
    assert list(Ahead(iter(range(100)))) == list(range(100))
    assert list(Ahead(iter(()))) == []


def test_at_most_depth_items_are_made_in_advance() -> None:
    made: list[int] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            if i == 3:
                third.set()
            yield i

    ahead = Ahead(items(), depth=3)
    assert next(ahead) == 0
    assert third.wait(5)
    assert not wait_for_more(made, 4)


def wait_for_more(made: list[int], size: int) -> bool:
    threading.Event().wait(0.05)
    return len(made) > size


def test_items_are_made_while_the_last_one_is_used() -> None:
    """The second item needs what only happens after the first was handed out: without a thread this would hang."""
    first_in_use, second_made = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        assert first_in_use.wait(5)
        second_made.set()
        yield 1

    for item in Ahead(items()):
        if item == 0:
            first_in_use.set()
            assert second_made.wait(5)


def test_an_error_while_making_an_item_is_raised_where_it_is_used() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("broken")

    ahead = Ahead(items())
    assert next(ahead) == 0
    with pytest.raises(ValueError, match="broken"):
        next(ahead)


def test_closing_ends_the_threads_though_items_are_left() -> None:
    before = set(threading.enumerate())  # those of other tests may be about to end
    closed: list[int] = []

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(1)

    for make in (lambda: Ahead(items()), lambda: Spread(str, items(), threads=3, depth=5)):
        ahead = make()
        next(ahead)
        started = set(threading.enumerate()) - before
        assert started and all(thread.is_alive() for thread in started)
        ahead.close()
        ahead.close()
        assert not any(thread.is_alive() for thread in started)
    assert len(closed) == 2


def test_work_is_spread_over_threads_and_comes_back_in_order() -> None:
    """The first item's work needs the second's to have begun: one thread alone would hang."""
    both = threading.Barrier(2, timeout=5)

    def work(item: int) -> int:
        if item < 2:
            both.wait()
        return item * item

    assert list(Spread(work, iter(range(50)), threads=2, depth=3)) == [i * i for i in range(50)]
    assert list(Spread(work, iter(()), threads=2)) == []


def test_errors_of_the_work_and_of_its_items_are_raised_where_they_are_used() -> None:
    def items() -> Iterator[int]:
        yield 2
        yield 0
        raise ValueError("broken")

    spread = Spread(lambda item: 2 // item, items(), threads=2)
    assert next(spread) == 1
    with pytest.raises(ZeroDivisionError):
        next(spread)
    with pytest.raises(ValueError, match="broken"):
        next(spread)


def test_calls_are_made_in_order_and_all_before_the_end() -> None:
    seen: list[int] = []
    with Behind() as behind:
        for i in range(50):
            behind.put(seen.append, i)
    assert seen == list(range(50))


def test_an_error_in_a_call_is_raised() -> None:
    def fail() -> None:
        raise ValueError("disk full")

    with pytest.raises(ValueError, match="disk full"), Behind() as behind:
        behind.put(fail)
    with pytest.raises(ValueError, match="disk full"), Behind(depth=1) as behind:
        for _ in range(3):
            behind.put(fail)


def test_no_more_than_depth_calls_wait() -> None:
    free = threading.Event()
    accepted: list[int] = []

    def submit(behind: Behind) -> None:
        for i in range(4):
            behind.put(free.wait, 5)
            accepted.append(i)

    with Behind(depth=2) as behind:
        thread = threading.Thread(target=submit, args=(behind,))
        thread.start()
        thread.join(0.1)
        assert accepted == [0, 1]
        free.set()
        thread.join()
    assert accepted == [0, 1, 2, 3]
