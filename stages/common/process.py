"""Processes: a child dies with its parent; seeds of a node run side by side in fresh, warm processes."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from types import FrameType
from typing import Any, TypeVar

from stages.common.errors import PassingError

R = TypeVar("R")
U = TypeVar("U")
PEAKS: list[int] = []  # KiB that seeds' workers held at most: they are the forkserver's children, so the system does not tell
_PRELOAD = ["numpy", "pyarrow", "pyarrow.parquet", "torch"]


def die_with_parent(parent: int | None = None) -> None:
    """Asks the kernel to kill this process when its parent dies, so that no orphan writes into a later run (Linux).

    parent: its process id, if it is known; it may have died before this process asked.
    """
    if sys.platform == "linux":
        parent = parent or os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """In this block SIGTERM does what Ctrl+C does, so that children are stopped and what finished is kept."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """In this block the variables are set, for children to inherit; those that were set before get their values back."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def set_threads(count: int) -> None:
    """The threads of this process's maths. Sums depend on it, so it is a parameter of the node."""
    import torch

    torch.set_num_threads(count)
    with contextlib.suppress(RuntimeError):  # may be set once only
        torch.set_num_interop_threads(1)
    set_numpy_threads(count)
    _keep_freed_memory()


def set_numpy_threads(count: int) -> None:
    """The threads of NumPy's and SciPy's matrix products, without importing torch."""
    os.environ["OPENBLAS_NUM_THREADS"] = str(count)  # for what is loaded later
    with contextlib.suppress(ImportError):  # pretraining and extraction run without it, too
        from threadpoolctl import threadpool_limits

        threadpool_limits(count, user_api="blas")


def _keep_freed_memory() -> None:
    """Has glibc reuse blocks of up to 1 GiB instead of handing each back to the kernel and faulting it in again.

    Activations of some megabytes otherwise cost more in page faults than in arithmetic on a CPU: a ResNet of width 16 at 32 px
    trains 1.6 times as fast at batch 256 and infers twice as fast at batch 512, at the same peak memory.
    """
    with contextlib.suppress(AttributeError):  # another libc
        libc = ctypes.CDLL(None)
        mmap_threshold, trim_threshold = -3, -1
        if libc.mallopt(mmap_threshold, 1 << 30):
            libc.mallopt(trim_threshold, (1 << 31) - 1)


def keep_pandas_out() -> None:
    """Has pyarrow do without pandas in this process.

    Where pandas is installed, pyarrow imports it at the first list it makes an array of, to see whether the list is a series:
    0.2 s and 45 MB of each stage, none of which has a data frame. It asks once; who imports pandas later gets it.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    sys.meta_path.insert(0, _WithoutPandas)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(_WithoutPandas)


class _WithoutPandas:
    """A finder by which pandas is not installed."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def warm_up() -> None:
    """Starts the server from which seeds' processes are forked: it imports torch while the caller does other things."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOAD)
    forkserver.ensure_running()


def cores() -> int:
    """The cores that this process may use: what the runner gave it (PRELUDE_CORES), else all it can be scheduled on."""
    return int(os.environ.get("PRELUDE_CORES") or len(os.sched_getaffinity(0)))


def at_once(seeds: Sequence[int], jobs: int | None = None, threads: int = 1) -> int:
    """How many seeds `per_seed` runs side by side."""
    return min(len(seeds), jobs or max(1, cores() // threads))


def per_seed(work: Callable[..., R], seeds: Sequence[int], *args: Any, jobs: int | None = None, threads: int = 1) -> list[R]:
    """[work(seed, *args) for seed in seeds], up to `jobs` at once in forkserver processes (default: `cores() // threads`).

    With one job the work runs here, so a device is initialised once. The first error stops the rest and is raised.
    Numbers do not depend on `jobs`: each seed has its own process state and `threads` threads.
    """
    jobs = at_once(seeds, jobs, threads)
    if jobs <= 1:
        set_threads(threads)
        return [work(seed, *args) for seed in seeds]
    warm_up()
    with _pool(jobs, f"seeds {list(seeds)}", _start, threads) as pool:
        futures = [pool.submit(_measured, work, seed, *args) for seed in seeds]
        PEAKS.extend(future.result()[1] for future in as_completed(futures))
    return [future.result()[0] for future in futures]


def in_order(work: Callable[[U], R], units: Iterable[U], jobs: int, alone_s: float = 2.0) -> Generator[R, None, None]:
    """work(unit) of each unit, in their order: here at first, by `jobs` processes once it took `alone_s` seconds of a core.

    Few units wait at a time, so that memory does not grow with their number. The first error stops the rest and is raised.
    """
    began, ahead = time.process_time(), iter(units)
    for unit in ahead:
        yield work(unit)
        if jobs > 1 and time.process_time() - began >= alone_s:  # starting processes costs a second: small work never needs it
            break
    else:
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOAD[:2])
    with _pool(jobs, work.__name__, _begin) as pool:
        waiting: deque[Future[tuple[R, int]]] = deque()
        for unit in ahead:
            waiting.append(pool.submit(_measured, work, unit))
            if len(waiting) > 2 * jobs:
                yield _noted(waiting.popleft())
        while waiting:
            yield _noted(waiting.popleft())


@contextlib.contextmanager
def _pool(jobs: int, where: str, initializer: Callable[..., None], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """Forkserver processes that are killed where the block fails. Raises PassingError where one of them was killed."""
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=initializer, initargs=arguments)
    try:
        yield pool
    except BaseException as error:
        workers = list(pool._processes.values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.kill()
        if isinstance(error, BrokenProcessPool):
            raise PassingError("a worker process was killed", where=where, do="see whether memory ran out") from None
        raise
    pool.shutdown()


def _noted(future: Future[tuple[R, int]]) -> R:
    answer, peak = future.result()
    PEAKS[:] = [max([peak, *PEAKS])]
    return answer


def _measured(work: Callable[..., R], *args: Any) -> tuple[R, int]:
    return work(*args), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def die_with_owner() -> None:
    """Ends this forkserver child, and the group it leads, when the process that asked for it ends.

    The kernel watches only the parent, here the forkserver, and that lives as long as its workers do: each of them holds
    the pipe by which it would learn of its own owner's end.
    """
    owner = multiprocessing.parent_process()
    if owner is not None:
        threading.Thread(target=_follow, args=(owner.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    if os.getpgrp() == os.getpid():  # as leader of its group it takes the group along
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _start(threads: int) -> None:
    _begin()
    set_threads(threads)


def _begin() -> None:
    die_with_owner()
    keep_pandas_out()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stage is interrupted too, and ends us
