"""Work that overlaps: what is needed next is made, and what is finished is put away, in background threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar, cast

S = TypeVar("S")
T = TypeVar("T")
_END: Any = object()


class Ahead(Iterator[T]):
    """The same items, made by one background thread, at most `depth` in advance. Its errors are raised here.

    waited: seconds in which the next item was not there yet.
    """

    def __init__(self, items: Iterator[T], depth: int = 2) -> None:
        self.waited = 0.0
        self._items = items
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._pending = deque(self._ask() for _ in range(depth))

    def _ask(self) -> Future[Any]:
        return self._thread.submit(next, self._items, _END)

    def __next__(self) -> T:
        began = time.monotonic()
        item: T = self._pending.popleft().result()
        self.waited += time.monotonic() - began
        if item is _END:
            self._shut()
            raise StopIteration
        self._pending.append(self._ask())
        return item

    def _shut(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Ends the threads before the items have ended, and closes the items if they are a generator."""
        for future in self._pending:
            future.cancel()
        self._shut()
        close = getattr(self._items, "close", None)
        if close is not None:
            close()


class Spread(Ahead[T]):
    """work(item) of each item, in the items' order: one thread makes the items, `threads` others do the work."""

    def __init__(self, work: Callable[[S], T], items: Iterator[S], threads: int = 1, depth: int = 2) -> None:
        self._work = work
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="spread")
        super().__init__(cast(Any, items), depth)

    def _ask(self) -> Future[Any]:
        return self._workers.submit(self._worked, super()._ask())

    def _worked(self, item: Future[Any]) -> Any:
        made = item.result()
        return made if made is _END else self._work(made)

    def _shut(self) -> None:
        self._workers.shutdown()
        super()._shut()


class Behind:
    """Calls, in order, in one background thread; `put` waits while `depth` are pending. Errors are raised at `put` or exit."""

    def __init__(self, depth: int = 2) -> None:
        self.depth, self._pending = depth, deque[Future[None]]()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="behind")

    def put(self, work: Callable[..., None], *args: Any) -> None:
        while len(self._pending) >= self.depth:
            self._pending.popleft().result()
        self._pending.append(self._thread.submit(work, *args))

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            for future in self._pending:
                future.result()
