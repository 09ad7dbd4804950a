"""`prelude run` beside `dvc repro`, with and without Prefect, and beside a plain script: whole processes with cold caches.

Every run starts in a fresh folder. Prefect's aim is 50 ms more than the 0.3 s of an instant stage.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks.core.case import Case, Line, Options, Run, Way, at_most

ROOT = Path(__file__).resolve().parents[1]
DVC = ["-m", "dvc", "repro", "-q"]
RUN = ["-m", "flows.cli", "run"]
PLAIN = ["-m", "benchmarks.plain"]
FEW, MANY = 16, 144  # instant stages: what a run costs however many there are falls out of the difference
RUNS = 20  # of instant stages at once, in which no lock may fail


def cases(options: Options) -> list[Case]:
    stages, slept, workers = (2, 0.1, 2) if options.quick else (8, 1, 8)
    sleeps = {"commands": [f"sleep {slept}"] * stages}
    alone = [*RUN, "--no-prefect", "--workers"]
    overhead, served = {"ours": Way("prelude run", instant, {"prefect": False})}, {}
    served["ours"] = Way("prelude run, Prefect's server running", instant, {"prefect": True})
    return [
        Case(
            "sleeps",
            {
                "ours": Way(f"prelude run, {workers} workers", stages_run, {**sleeps, "words": [*alone, str(workers)]}),
                "dvc": Way("dvc repro", stages_run, {**sleeps, "words": DVC}, ("dvc",)),
            },
            (
                Line(f"{stages} stages of {slept:g} s, {workers} workers", "ours", ("dvc",), "cost"),
                Line(f"{stages} stages of {slept:g} s, {workers} workers", "ours", (), "cost", at_most(1), limit=2.5),
            ),
            warm=0,
        ),
        Case(
            "locks",
            {"ours": Way("prelude run", locks)},
            (
                Line(
                    f"runs that fail in {RUNS} of {FEW} instant stages",
                    "ours",
                    (),
                    "cost",
                    at_most(0),
                    "failed",
                    limit=RUNS,
                    unit="runs",
                ),
            ),
            warm=0,
            rounds=1,
            slow=True,
        ),
        Case(
            "instant",
            {**overhead, "prefect": served["ours"]},
            (
                Line("an instant stage in a warm worker", "ours", (), "cost", at_most(1), "stage_s", limit=0.3),
                Line("an instant stage, Prefect's server running", "prefect", (), "cost", at_most(1), "stage_s", limit=0.35),
                Line("an instant stage, Prefect's server running", "prefect", ("ours",), "cost", None, "stage_s"),
            ),
            warm=0,
            slow=True,
        ),
        Case(
            "quickstart",
            {
                "ours": Way("prelude run, 2 workers", quickstart, {"words": [*RUN, "--workers", "2"]}),
                "dvc": Way("dvc repro", quickstart, {"words": DVC}, ("dvc",)),
                "plain": Way("its mathematics in a plain script", quickstart, {"words": PLAIN}),
            },
            (
                Line(
                    "quickstart, 2 workers",
                    "ours",
                    ("dvc",),
                    "cost",
                    at_most(0.6),
                    why="its mathematics alone, in one script, take 0.57 of that (docs/running.md)",
                ),
                Line(
                    "quickstart, 2 workers",
                    "ours",
                    ("plain",),
                    "cost",
                    at_most(1.3),
                    why="it keeps files, records, a report, a tracker and a server, as the script does not (docs/running.md)",
                ),
            ),
            warm=0,
            slow=True,
        ),
    ]


def stages_run(folder: Path, commands: list[str], words: list[str], address: str = "") -> Run:
    """A command in a fresh workspace of such stages; only the command is timed."""

    def run() -> dict[str, float]:
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as fresh:
            return {"seconds": seconds(words, project(Path(fresh) / "w", commands), address)}

    return run


def locks(folder: Path) -> Run:
    """How many runs fail where instant stages end at once."""
    once = stages_run(folder, ["true"] * FEW, [*RUN, "--no-prefect", "--workers", "8"])

    def run() -> dict[str, int]:
        failed = 0
        for _ in range(RUNS):
            try:
                once()
            except subprocess.CalledProcessError:
                failed += 1
        return {"failed": failed}

    return run


def instant(folder: Path, prefect: bool) -> Run:
    """stage_s: what one more instant stage adds to a run with one worker."""
    words = [*RUN, "--workers", "1", *([] if prefect else ["--no-prefect"])]

    def run() -> dict[str, float]:
        with contextlib.ExitStack() as stack:
            address = stack.enter_context(server(folder / "prefect")) if prefect else ""
            few, many = (stages_run(folder, ["true"] * n, words, address)() for n in (FEW, MANY))
        assert few is not None and many is not None
        return {"stage_s": (many["seconds"] - few["seconds"]) / (MANY - FEW)}

    return run


def quickstart(folder: Path, words: list[str]) -> Run:
    """A command in a fresh clone with the quickstart planned."""

    def run() -> dict[str, float]:
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as fresh:
            return {"seconds": seconds(words, copy(Path(fresh) / "w"))}

    return run


def project(folder: Path, commands: list[str]) -> Path:
    """A workspace of independent stages, one a command; nothing has run."""
    folder.mkdir(parents=True)
    stages = "".join(f"  s{i}:\n    cmd: {c} && echo {i} > out{i}\n    outs: [out{i}]\n" for i, c in enumerate(commands))
    (folder / "dvc.yaml").write_text(f"stages:\n{stages}")
    (folder / "params.yaml").write_text("systems: {}\n")
    (folder / "params/system").mkdir(parents=True)
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True, env=environment())
    return folder


def copy(folder: Path) -> Path:
    """The repository's committed files, with the quickstart planned; nothing has run."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    plan = [sys.executable, "-m", "flows.cli", "plan"]
    subprocess.run(plan, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment())
    return folder


def environment(server: str = "") -> dict[str, str]:
    ours = ("PREFECT", "OMP_", "OPENBLAS_", "MKL_")  # the harness' own limits are not the command's
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    extra = {"PATH": path, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1"}
    return {**kept, **extra, **({"PREFECT_API_URL": server} if server else {})}


def seconds(words: list[str], folder: Path, server: str = "") -> float:
    """Wall time of a command of this Python. Raises CalledProcessError where it fails."""
    begun = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, *words], cwd=folder, check=True, env=environment(server), **quiet)  # type: ignore[call-overload]
    return time.perf_counter() - begun


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """A Prefect server on loopback; yields its address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = ["server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", *words],
        env={**environment(), "PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}/api"
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/health", timeout=1).close()
                break
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()
