"""`prelude serve`: registers the schedules on a Prefect server and runs what comes due, until it is stopped.

Each run is a process of its own (`python -m prefect.engine`) in the workspace's root; all are stopped with this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flows import schedules
from flows.schedules.deployments import Deployment, Wish, block_exists, register, unscheduled, wanted_by
from flows.server import SERVE_LOCK, Server
from stages.common.errors import UserError
from stages.common.workspace import Workspace

STOP_S = 20.0  # a run that is stopped may report for so long
UI_PORT = 4200
SCHEDULED_S = 75.0  # the server's scheduler looks every minute, after new deployments every 5 s


def serve(root: Path, wish: Wish, port: int = UI_PORT) -> int:
    """Serves until Ctrl+C or SIGTERM; returns the exit code. Raises UserError."""
    wanted = wanted_by(root, wish)
    if not wanted:
        raise UserError("the plan has no corpus whose source can change", where="params.yaml", do="leave out `watch`")
    workspace = Workspace(root)
    with _lock(workspace) as told:
        server = Server(workspace, ui=True, port=port)
        server.start()
        try:
            why = server.ready()
            if why:
                raise UserError(why, where=server.url, do="start it, or unset PREFECT_API_URL")
            told({"pid": os.getpid(), "url": server.url})
            os.environ[schedules.SERVING] = str(os.getpid())
            here = str(Path(__file__).resolve().parents[2])
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
            print(
                f"Prefect at {server.page}" + (f" (its state: {workspace.state / 'prefect'})" if server.own else ""), flush=True
            )
            if server.own:
                _bury(workspace)
            asyncio.run(_serve(wanted, wish))
        finally:
            server.stop()
    return 0


async def _serve(wanted: list[Deployment], wish: Wish) -> None:
    from prefect.runner import Runner

    runner, stopped = Runner(pause_on_shutdown=False, limit=None), asyncio.Event()
    loop = asyncio.get_running_loop()
    _hear_interrupts(lambda: loop.call_soon_threadsafe(stopped.set))
    if wish.notify:
        await block_exists(wish.notify)
    for one in wanted:
        print(await register(runner, one, wish.paused), flush=True)
    working = asyncio.create_task(runner.start())
    while not runner.started and not working.done():  # it sets a handler of its own, which ours replaces
        await asyncio.sleep(0.05)
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    print("serving; Ctrl+C stops it", flush=True)
    looking = asyncio.create_task(_look_whether_scheduled(wanted))
    waiting = asyncio.create_task(stopped.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        print("stopping", flush=True)
        await _stop_runs()
        await runner.astop()
    waiting.cancel()
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def _look_whether_scheduled(wanted: list[Deployment]) -> None:
    """Says it when the server schedules nothing: its scheduler may be off, or fail, and would leave us waiting for ever."""
    await asyncio.sleep(SCHEDULED_S)
    with contextlib.suppress(Exception):  # the server is away: the runner says so
        for name in await unscheduled([f"{one.flow}/{one.name}" for one in wanted]):
            print(
                f"note: the server has scheduled no run of {name}; see .prelude/logs/prefect.log, or the server's log",
                flush=True,
            )


def _hear_interrupts(heard: Callable[[], object]) -> None:
    """Calls back at Ctrl+C, which is kept from the runs that are started from now on: a terminal sends it to them as well.

    A blocked signal stays blocked in a new process, until that knows what to do with it (turns.follow_server).
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def wait() -> None:
        signal.sigwait({signal.SIGINT})
        heard()

    threading.Thread(target=wait, name="prelude-interrupt", daemon=True).start()
    signal.signal(signal.SIGINT, lambda number, frame: heard())  # where a thread that is older than this takes it


async def _stop_runs() -> None:
    """Terminates the flow runs, each once; each stops its stages, keeps what finished and says so to Prefect.

    One that came due meanwhile is terminated too: the runner still starts them.
    """
    import psutil

    loop, told = asyncio.get_running_loop(), set()
    until = loop.time() + STOP_S
    while loop.time() < until:
        runs = [child for child in psutil.Process().children() if _is_run(child)]
        if not runs:
            return
        for run in runs:
            if run.pid not in told:
                told.add(run.pid)
                with contextlib.suppress(psutil.NoSuchProcess):
                    run.terminate()
        await asyncio.sleep(0.1)


def _is_run(process: Any) -> bool:
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE and "prefect.engine" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def _bury(workspace: Workspace) -> None:
    """Runs that an earlier server of this workspace still shows as running died with it, if none is at work."""
    from flows import oversight
    from flows.alone import Busy, alone

    with contextlib.suppress(Busy), alone(workspace, "prelude serve"):
        oversight.bury_the_dead()


@contextlib.contextmanager
def _lock(workspace: Workspace) -> Iterator[Any]:
    """Holds the workspace for one `prelude serve`; yields what notes the server's address there, for `prelude run` to find."""
    path = workspace.state / "locks" / SERVE_LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("`prelude serve` is at work here already", where=workspace.root, do="stop it first") from None

        file.truncate(0)  # a process that was killed leaves its address

        def tell(what: dict[str, Any]) -> None:
            file.truncate(0)
            json.dump(what, file)
            file.flush()

        try:
            yield tell
        finally:
            file.truncate(0)
