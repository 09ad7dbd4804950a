"""Work that overlaps: what is needed next is made, and what is finished is put away, in a background thread each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

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
        self._pending = deque(self._thread.submit(next, items, _END) for _ in range(depth))

    def __next__(self) -> T:
        began = time.monotonic()
        item: T = self._pending.popleft().result()
        self.waited += time.monotonic() - began
        if item is _END:
            self._thread.shutdown()
            raise StopIteration
        self._pending.append(self._thread.submit(next, self._items, _END))
        return item


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
