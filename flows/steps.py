"""What a run does with one node: up to date, restored from the cache, run, or failed; and whether trying again can help."""

from __future__ import annotations

import builtins
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from flows import worker
from flows.dag import Dag, Node
from stages.common.errors import USER_MISTAKE, UserError
from stages.common.workspace import Workspace

State = Literal["cached", "restored", "ran", "failed", "skipped"]
Line = Callable[[str], None]
RETRIES = 1
_PASSING = re.compile(r"ConnectionError|Timeout|IncompleteRead|BrokenProcessPool")


class StageFailed(Exception):
    """A stage's command failed. passing: it may succeed on another try (its process was killed, the disk or network failed)."""

    def __init__(self, name: str, text: str, *, passing: bool, log: Path | None = None) -> None:
        self.name, self.text, self.passing, self.log = name, text, passing, log
        super().__init__(f"{name}: {text}" + (f"\n  log: {log}" if log else ""))


@dataclass(frozen=True)
class Step:
    """What became of a node, and in how many seconds."""

    name: str
    state: State
    seconds: float = 0.0
    error: str = ""


@dataclass
class Steps:
    """Takes the nodes of a run, each once. say: hears each line of a command's output; told: hears what became of a node."""

    dag: Dag
    workspace: Workspace
    nodes: list[Node]
    force: bool = False
    say: Callable[[str, str], None] = lambda name, line: None
    told: Callable[[Step], None] = lambda step: None
    done: dict[str, Step] = field(default_factory=dict)

    def pending(self) -> list[Node]:
        """The nodes that are not up to date, or that follow one that is not."""
        found: dict[str, Node] = {}
        for node in self.nodes:
            if self.force or found.keys() & set(node.upstream) or self.dag.changed(node):
                found[node.name] = node
        return list(found.values())

    def blocked(self, node: Node) -> str:
        """The name of a failed or skipped node that this one needs, or nothing."""
        bad = (n for n in node.upstream if n in self.done and self.done[n].state in ("failed", "skipped"))
        return next(bad, "")

    def take(self, node: Node, say: Line = lambda line: None) -> Step:
        """Brings one node up to date. Raises StageFailed, or UserError where DVC cannot go on."""
        started = time.monotonic()
        state: State = "cached"
        if self.force or self.dag.changed(node):
            state = "restored" if self.dag.restore(node, force=self.force) else "ran"
            if state == "ran":
                self.command(node, say)
                self.dag.commit(node)
        return self._done(Step(node.name, state, time.monotonic() - started))

    def command(self, node: Node, say: Line = lambda line: None) -> None:
        """Runs the node's command in a warm worker. Raises StageFailed."""

        def heard(line: str) -> None:
            say(line)
            self.say(node.name, line)

        log = log_path(self.workspace, node.name)
        with self.dag.busy(node):
            finished = worker.run(node.cmd or "", self.workspace.root, log, heard, self.dag.environment(node))
        if finished.code:
            text = finished.error or f"its command ended with code {finished.code}"
            if finished.code < 0:
                text = f"its process was ended by signal {-finished.code}\n  do: see whether memory ran out"
            passing = finished.code < 0 or (finished.code != USER_MISTAKE and is_passing(finished.error))
            raise StageFailed(node.name, text, passing=passing, log=log)

    def fail(self, node: Node, error: StageFailed | UserError, seconds: float = 0.0) -> Step:
        return self._done(Step(node.name, "failed", seconds, str(error)))

    def skip(self, node: Node, needed: str) -> Step:
        return self._done(Step(node.name, "skipped", 0.0, f"needs {needed}, which failed"))

    def _done(self, step: Step) -> Step:
        self.done[step.name] = step
        self.told(step)
        return step


def plainly(steps: Steps) -> None:
    """Takes all nodes without Prefect: in the graph's order; what follows a failed node is skipped, the rest goes on."""
    for node in steps.nodes:
        needed = steps.blocked(node)
        if needed:
            steps.skip(node, needed)
        else:
            attempt(steps, node)


def attempt(steps: Steps, node: Node) -> Step:
    """`take`, tried again where that can help."""
    started = time.monotonic()
    for left in reversed(range(RETRIES + 1)):
        try:
            return steps.take(node)
        except StageFailed as error:
            if not (error.passing and left):
                return steps.fail(node, error, time.monotonic() - started)
        except UserError as error:
            return steps.fail(node, error, time.monotonic() - started)
    raise AssertionError("unreachable")


def is_passing(error: str) -> bool:
    """Whether the last line of a traceback names an error of the system or the network."""
    name = error.strip().splitlines()[-1].partition(":")[0].strip() if error.strip() else ""
    kind = getattr(builtins, name, None)
    return (isinstance(kind, type) and issubclass(kind, OSError)) or bool(_PASSING.search(name))


def log_path(workspace: Workspace, name: str) -> Path:
    """`pretrain@simclr` writes to .prelude/logs/pretrain/simclr.log."""
    stage, _, key = name.rpartition("@")
    return workspace.state / "logs" / (stage or key) / f"{key}.log"
