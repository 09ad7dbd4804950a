"""The stages of a tiny plan on real digits, each run in a warm process of its own that can be killed at a known point.

A point is the number of a file operation (what Python's audit hooks see: opening for writing, renaming, removing, making
folders), so it is the same on a machine of any speed; a moment is a share of the time that the stage takes.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from flows import compose
from stages.common import atomic
from stages.common.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
NODES = {
    "ingest": "digits",
    "pretrain": "simclr",
    "extract": "simclr",
    "fit": "probe_simclr",
    "evaluate": "quickstart",
    "report": "report",
}
PLAN = "plan.json"
HUNG_S = 180.0  # a stage of the tiny plan that lasts so long hangs: it says where, and ends with code 1
_EVENTS = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate")
_context = multiprocessing.get_context("forkserver")


def write_plan(root: Path) -> None:
    """The quickstart, cut down: 120 digits, one encoder of one seed, its probe, no claims."""
    data = compose.make(ROOT, ["quickstart"])[0]
    kept: dict[str, Any] = {"corpora": ["digits"], "encoders": ["simclr"], "features": ["simclr"], "tasks": ["probe_simclr"]}
    small = {section: {name: data[section][name] for name in names} for section, names in kept.items()}
    small["corpora"]["digits"]["limit"] = {"train": 80, "valid": 20, "test": 20}
    small["encoders"]["simclr"] |= {"epochs": 2, "batch_size": 20, "seeds": [0], "snapshot_every": 2, "backbone": _NETWORK}
    small["encoders"]["simclr"]["monitor"] |= {"rows": 20, "k": 3}
    small["tasks"]["probe_simclr"] |= {"seeds": [0], "labels": ["all"]}
    small["systems"] = {"quickstart": {"title": "digits", "claims": {}}}
    atomic.write_json(root / PLAN, small)


_NETWORK = {"name": "resnet", "width": 4, "blocks": [1]}


@dataclass(frozen=True)
class Ended:
    """How a stage's process ended, and the file operations that were counted."""

    code: int
    operations: list[str]
    seconds: float


def warm() -> None:
    """Starts the server from which stages are forked, with what they import."""
    from multiprocessing import forkserver

    _context.set_forkserver_preload(["tests.faults.pipeline", "torch", "pyarrow.parquet", "stages.common.stage"])
    forkserver.ensure_running()


def run(
    root: Path,
    stage: str,
    *,
    operation: int = 0,
    named: str = "",
    after_s: float = 0.0,
    first: Callable[[], None] | None = None,
) -> Ended:
    """Runs a stage of the plan in `root`; `first` is called in its process before.

    It is killed with SIGKILL before its file operation of that number, or before the first whose name `named` is found in, or
    after so many seconds; by default not at all.
    """
    here, there = _context.Pipe(duplex=False)
    process = _context.Process(target=_stage, args=(str(root), stage, operation, named, there, first))
    started = time.monotonic()
    process.start()
    there.close()
    operations: list[str] = []
    while True:
        try:
            if after_s and not here.poll(max(0.0, after_s - (time.monotonic() - started))):
                os.kill(process.pid or 0, signal.SIGKILL)
                break
            operations.append(here.recv())
        except EOFError:
            break
    process.join()
    seconds = time.monotonic() - started
    assert seconds < HUNG_S, f"the stage hangs: {said(root).read_text()}"
    return Ended(process.exitcode or 0, operations, seconds)


def _stage(root: str, stage: str, operation: int, named: str, told: Connection, first: Callable[[], None] | None) -> None:
    from importlib import import_module

    os.chdir(root)
    os.dup2(os.open(said(Path(root)), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    faulthandler.dump_traceback_later(HUNG_S, exit=True)
    main: Callable[[list[str]], int] = import_module(f"stages.{stage}.__main__").main
    if first is not None:
        first()
    count, busy = 0, False

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count, busy
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if busy or not (writes or event in _EVENTS):
            return
        busy, count = True, count + 1
        name = f"{event} {_plain(args, root)}"
        told.send(name)
        if count == operation or (named and re.search(named, name)):
            os.kill(os.getpid(), signal.SIGKILL)
        busy = False

    sys.addaudithook(hook)
    key = [] if stage == "report" else [NODES[stage]]
    os._exit(main([*key, "--plan", PLAN]))


def said(root: Path) -> Path:
    """The file of what the stages said, outside of the workspace: its disk may be full."""
    return root.with_name(f"{root.name}.said")


def _plain(args: tuple[Any, ...], root: str) -> str:
    """The paths of an operation, without the workspace and process numbers."""
    paths = [os.fsdecode(a) for a in args if isinstance(a, (str, bytes, os.PathLike))]
    return re.sub(r"-\d+\b", "-PID", " ".join(path.removeprefix(root + os.sep) for path in paths))


def target(root: Path, stage: str) -> Path:
    """The folder that a stage makes."""
    workspace, key = Workspace(root), NODES[stage]
    made = {
        "ingest": workspace.corpus(key),
        "pretrain": workspace.encoder(key),
        "extract": workspace.features(key),
        "fit": workspace.task("quickstart", key),
        "evaluate": workspace.report(key),
        "report": workspace.page,
    }
    return made[stage]


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def clear(root: Path, stage: str) -> None:
    """Takes away what the stage made, as DVC does before it runs one."""
    for folder in made_by(root, stage):
        shutil.rmtree(folder, ignore_errors=True)


def made_by(root: Path, stage: str) -> list[Path]:
    """The folders that a stage makes: its output and, but for the report, its record."""
    return [target(root, stage), *([] if stage == "report" else [Workspace(root).record(stage, NODES[stage])])]


def completes(root: Path, stage: str, whole: dict[str, bytes], after: str) -> None:
    """Whatever is seen after the fault is whole; another run ends in the undisturbed bytes and leaves nothing behind."""
    for folder in made_by(root, stage):
        assert not folder.exists() or atomic.damaged(folder) == [], f"{folder} is partial after: {after}"
    assert run(root, stage).code == 0, f"after: {after}\n{said(root).read_text()}"
    assert content(target(root, stage)) == whole, f"other bytes after: {after}"
    assert strays(root) == [], f"left behind after: {after}"
    assert not list((root / ".prelude" / "resume").glob(f"{stage}/*")), f"state left after: {after}"


def strays(root: Path) -> list[str]:
    """Hidden names in data/: what a killed process left beside its target."""
    return [path.relative_to(root).as_posix() for path in (root / "data").rglob(".*")]
