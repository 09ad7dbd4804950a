"""`prelude run` beside `dvc repro`, with and without Prefect, and beside a plain script. Whole processes, medians, in turns.

    python -m benchmarks.orchestration [--rounds 5] [--quickstart 5]

--quickstart 0 leaves out the quickstart, of which a round takes minutes. Every run starts in a fresh folder with a cold cache.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DVC = [sys.executable, "-m", "dvc", "repro", "-q"]
RUN = [sys.executable, "-m", "flows.cli", "run"]
PLAIN = [sys.executable, "-m", "benchmarks.plain"]
FEW, MANY = 16, 144  # instant stages: what a run costs however many there are falls out of the difference
Task = Callable[[], float]


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
    subprocess.run(
        [sys.executable, "-m", "flows.cli", "plan"], cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment()
    )
    return folder


def environment(server: str = "") -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    extra = {"PATH": path, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1"}
    return {**kept, **extra, **({"PREFECT_API_URL": server} if server else {})}


def seconds(command: list[str], folder: Path, server: str = "") -> float:
    """Wall time of a process. Raises CalledProcessError where it fails."""
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment(server))
    return time.perf_counter() - begun


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """A Prefect server on loopback; yields its address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = ["server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    quiet = {"PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", *words],
        env={**environment(), **quiet},
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


class Table:
    """Measures tasks in turns and prints a line for each figure."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.made = scratch, 0
        print(f"{'what':58} {'median':>8} {'min':>7} {'max':>7} {'aim':>7}")

    def fresh(self) -> Path:
        self.made += 1
        return self.scratch / str(self.made)

    def in_turns(self, tasks: dict[str, Task], rounds: int) -> dict[str, list[float]]:
        times: dict[str, list[float]] = {name: [] for name in tasks}
        for _ in range(rounds):
            for name, task in tasks.items():
                times[name].append(task())
        return times

    def line(self, what: str, values: list[float], aim: str = "", unit: str = "s") -> None:
        shown = [f"{f(values):.3g}" for f in (statistics.median, min, max)]
        print(f"{what + ', ' + unit:58} {shown[0]:>8} {shown[1]:>7} {shown[2]:>7} {aim:>7}", flush=True)

    def ran(self, command: list[str], commands: list[str], address: str = "") -> Task:
        """Times a command in a fresh workspace of such stages."""

        def task() -> float:
            folder = project(self.fresh(), commands)
            try:
                return seconds(command, folder, address)
            finally:
                shutil.rmtree(folder)

        return task


def sleeps(table: Table, rounds: int) -> None:
    commands = ["sleep 1"] * 8
    alone = [*RUN, "--workers", "8", "--no-prefect"]
    times = table.in_turns({"dvc": table.ran(DVC, commands), "prelude": table.ran(alone, commands)}, rounds)
    table.line("8 stages of 1 s, dvc repro", times["dvc"])
    table.line("8 stages of 1 s, prelude run, 8 workers", times["prelude"], "2.5")
    table.line("  ratio", [p / d for p, d in zip(times["prelude"], times["dvc"], strict=True)], unit="of dvc repro")


def locks(table: Table, runs: int = 20) -> None:
    failed = 0
    task = table.ran([*RUN, "--workers", "8", "--no-prefect"], ["true"] * FEW)
    for _ in range(runs):
        try:
            task()
        except subprocess.CalledProcessError:
            failed += 1
    print(
        f"{f'failures in {runs} runs of {FEW} instant stages, 8 workers':58} {failed:>8} {'':>7} {'':>7} {'0':>7}", flush=True
    )


def overheads(table: Table, rounds: int) -> None:
    one, alone = [*RUN, "--workers", "1"], [*RUN, "--workers", "1", "--no-prefect"]
    with server(table.scratch / "prefect") as address:
        tasks = {
            (kind, n): table.ran(command, ["true"] * n, address if kind == "prefect" else "")
            for n in (FEW, MANY)
            for kind, command in (("prefect", one), ("alone", alone))
        }
        times = table.in_turns(tasks, rounds)  # type: ignore[arg-type]
    per = {
        kind: [(many - few) / (MANY - FEW) for few, many in zip(times[kind, FEW], times[kind, MANY], strict=True)]  # type: ignore[index]
        for kind in ("alone", "prefect")
    }
    table.line("an instant stage in a warm worker, one after another", per["alone"], "0.3")
    added = [(p - a) * 1000 for p, a in zip(per["prefect"], per["alone"], strict=True)]
    table.line("  added by Prefect, its server running", added, "50", "ms")


def quickstart(table: Table, rounds: int) -> None:
    def cold(command: list[str]) -> Task:
        def task() -> float:
            folder = copy(table.fresh())
            try:
                return seconds(command, folder)
            finally:
                shutil.rmtree(folder)

        return task

    tasks = {"dvc": cold(DVC), "prelude": cold([*RUN, "--workers", "2"]), "plain": cold(PLAIN)}
    times = table.in_turns(tasks, rounds)
    table.line("quickstart, dvc repro", times["dvc"])
    table.line("quickstart, prelude run, 2 workers", times["prelude"])
    table.line("quickstart's mathematics, plain script", times["plain"])
    table.line("  ratio", [p / d for p, d in zip(times["prelude"], times["dvc"], strict=True)], "0.6", "of dvc repro")
    table.line("  ratio", [p / d for p, d in zip(times["prelude"], times["plain"], strict=True)], "1.3", "of the plain script")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quickstart", type=int, default=5, metavar="ROUNDS")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prelude-bench-") as scratch:
        table = Table(Path(scratch))
        sleeps(table, args.rounds)
        locks(table)
        overheads(table, args.rounds)
        if args.quickstart:
            quickstart(table, args.quickstart)


if __name__ == "__main__":
    main()
