"""A way's process: prepares once, then runs and measures whenever it is asked."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.core.case import Run, Way

Measured = dict[str, Any]
_PRELOAD = ["numpy", "pyarrow", "pyarrow.parquet", "torch"]
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class WayFailed(RuntimeError):
    """A way's process ended or raised; the message holds its traceback."""


class Session:
    """A process of a way. clean: it starts from a new interpreter, not from one that has torch loaded."""

    def __init__(self, way: Way, folder: Path, *, clean: bool) -> None:
        context: Any = multiprocessing.get_context("spawn" if clean else "forkserver")
        if not clean:
            context.set_forkserver_preload(_PRELOAD)
        self.label, self.cpu = way.label, 0.0  # cpu: seconds that it took in all, known when it has ended
        self.pipe, child = context.Pipe()
        self.process = context.Process(target=_serve, args=(child, way, folder))
        with _threads_in_environment(way.threads):
            self.process.start()
        child.close()

    def ready(self) -> None:
        """Waits until it has prepared itself. Raises WayFailed."""
        self._answer()

    def run(self) -> Measured:
        """One run's {"seconds", "cpu_s", "peak_mb", and what it returns}. Raises WayFailed."""
        self.pipe.send("run")
        found: Measured = self._answer()
        return found

    def close(self) -> None:
        with contextlib.suppress(OSError, EOFError, WayFailed):
            self.pipe.send("end")
            self.cpu = float(self._answer())
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _answer(self) -> Any:
        try:
            kind, found = self.pipe.recv()
        except EOFError:
            self.process.join(5)  # else there is no exit code yet
            raise WayFailed(f"{self.label}: its process ended with {self.process.exitcode}") from None
        if kind == "failed":
            raise WayFailed(f"{self.label}: {found}")
        return found


@contextlib.contextmanager
def _threads_in_environment(count: int) -> Any:
    """Libraries read it when they are loaded: it holds for a clean process, others are told by `limit`."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _serve(pipe: Connection, way: Way, folder: Path) -> None:
    from stages.common import process

    process.die_with_owner()
    try:
        limit(way.threads)
        run = way.make(folder, **way.arguments)
        limit(way.threads)  # libraries that have come since
        pipe.send(("ready", None))
        while pipe.recv() == "run":
            pipe.send(("ran", measured(run)))
        pipe.send(("ended", sum(os.times()[:4])))
    except (EOFError, KeyboardInterrupt):
        return
    except BaseException:
        pipe.send(("failed", traceback.format_exc()))


def limit(threads: int) -> None:
    """Sets the threads of torch, BLAS and OpenMP, as far as they are loaded."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if "numpy" in sys.modules or "faiss" in sys.modules:
        import threadpoolctl

        threadpoolctl.threadpool_limits(threads)


def measured(run: Run) -> Measured:
    """Runs once; values that are functions are asked for afterwards.

    peak_mb: MiB that this process held at most in the run, what it held before included, or a child.
    """
    _forget_peak()
    children = _children()
    wall, cpu = time.perf_counter(), time.process_time()
    found: Mapping[str, Any] = run() or {}
    seconds, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    return {"seconds": seconds, "cpu_s": cpu_s, "peak_mb": peak_mb(children)} | {
        name: value() if callable(value) else value for name, value in found.items()
    }


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")  # VmHWM starts again from what is held now


def _children() -> int:
    """KiB of the largest child that has ended so far."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def peak_mb(before: int) -> float:
    """VmHWM, not ru_maxrss: that of a new process begins with what its parent held. A child counts if it is larger than those
    before (KiB).
    """
    try:
        held = next(int(line.split()[1]) for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(held, ended if (ended := _children()) > before else 0) / 1024
