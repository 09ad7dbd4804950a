"""A Ray cluster of several nodes on this machine, and stages run on it as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.common import atomic

ROOT = Path(__file__).parents[2]
STORE = 100 << 20  # the least that Ray takes, nearly
_HOOK = """
import os, re, sys, time
def hook(event, args):
    if event == "os.rename" and re.search({pattern!r}, os.fspath(args[1])):
        time.sleep({seconds})  # first: who is killed here has renamed nothing
        with open({log!r}, "a") as file:
            file.write(os.path.basename(os.path.dirname(args[1])) + "/" + os.path.basename(args[1]) + "\\n")
sys.addaudithook(hook)
"""


def patiently(start: Callable[[], Any], tries: int = 4) -> Any:
    """What `start` gives. Ray waits half a minute for a node, which a busy machine may not start in that time."""
    for left in reversed(range(tries)):
        try:
            return start()
        except Exception as error:
            if not left or "timed out during startup" not in str(error):
                raise
    return None


class Nodes:
    """A head without cores and nodes of one core each; `kill` ends one as a machine ends that loses its power."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
        self.cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
        self.alive: list[Any] = []

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self, count: int) -> None:
        for _ in range(count):
            self.alive.append(patiently(lambda: self.cluster.add_node(num_cpus=1, object_store_memory=STORE)))

    def kill(self) -> None:
        self.cluster.remove_node(self.alive.pop(0), allow_graceful=False)

    def end(self) -> None:
        self.cluster.shutdown()


@pytest.fixture(scope="module")
def _nodes() -> Iterator[Nodes]:
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # servers on loopback alone; read on import, by what we start too
    pytest.importorskip("ray", reason="needs the extra: pip install -e '.[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # its 15 would be added to that of a run in the background
    nodes = Nodes()
    try:
        yield nodes
    finally:
        nodes.end()


@pytest.fixture
def nodes(_nodes: Nodes) -> Iterator[Nodes]:
    """Nodes to be added; they are gone after the test."""
    yield _nodes
    while _nodes.alive:
        _nodes.kill()


class Running:
    """A stage at work in a workspace; every process that it reaches notes and slows down the renames to `pattern`."""

    def __init__(self, root: Path, stage: str, key: str, plan: dict[str, Any], pattern: str, seconds: float) -> None:
        self.root, self.log, hooks = root, root / "renamed.log", root / "hooks"
        hooks.mkdir(parents=True, exist_ok=True)
        hook = _HOOK.format(pattern=pattern, log=str(self.log.absolute()), seconds=seconds)
        (hooks / "sitecustomize.py").write_text(hook)
        atomic.write_json(root / "plan.json", plan)
        path = os.pathsep.join([str(hooks.absolute()), str(ROOT), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", f"stages.{stage}", key, "--plan", "plan.json"]
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)

    @property
    def renamed(self) -> Counter[str]:
        """How often each file was written whole."""
        return Counter(self.log.read_text().split()) if self.log.exists() else Counter()

    def wait_until(self, what: Callable[[], bool], seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while not what():
            assert self.process.poll() is None, self.errors()
            assert time.monotonic() < until, "it did not come to that in time"
            time.sleep(0.02)

    def kill(self) -> None:
        """Ends the stage's own process at once."""
        self.process.kill()
        self.process.communicate()

    def errors(self) -> str:
        return self.process.communicate(timeout=240)[1]


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """start(root, stage, key, plan, pattern): a stage that runs; what is still running at the end is killed."""
    running: list[Running] = []

    def begin(
        root: Path, stage: str, key: str, plan: dict[str, Any], pattern: str = r"part-\d+\.parquet$", seconds: float = 0.2
    ) -> Running:
        running.append(Running(root, stage, key, plan, pattern, seconds))
        return running[-1]

    yield begin
    for one in running:
        if one.process.poll() is None:
            one.kill()
