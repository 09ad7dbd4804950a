"""What a run does with one node: up to date, restored from the cache, run, or failed; and whether trying again can help."""

from __future__ import annotations

import builtins
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from flows import worker
from flows.dag import Dag, Node
from flows.slots import Grant
from flows.strays import strays
from stages.common import atomic
from stages.common.errors import MAY_PASS, USER_MISTAKE, UserError
from stages.common.workspace import Workspace

State = Literal["cached", "restored", "ran", "failed", "skipped"]
Line = Callable[[str], None]
RETRIES, RETRY_DELAY_S = 2, 1.0
_PASSING = re.compile(r"ConnectionError|Timeout|IncompleteRead|BrokenProcessPool")


class StageFailed(Exception):
    """A stage's command failed. passing: it may succeed on another try (its process was killed, the disk or network failed)."""

    def __init__(self, name: str, text: str, *, passing: bool, log: Path | None = None) -> None:
        self.name, self.passing = name, passing
        self.text = text + (f"\n  log: {log}" if log else "")
        super().__init__(f"{name}: {self.text}")


@dataclass(frozen=True)
class Step:
    """What became of a node, and in how many seconds. peak_mb: memory that its command held at most."""

    name: str
    state: State
    seconds: float = 0.0
    error: str = ""
    peak_mb: float = 0.0


@dataclass
class Steps:
    """Takes the nodes of a run, each once; threads may share it.

    started: hears that a node's command starts; say: each line it prints; told: what became of a node. stop: once set, running
    commands are stopped and `worker.Stopped` is raised; `why_stopped` says on whose word.
    """

    dag: Dag
    workspace: Workspace
    nodes: list[Node]
    force: bool = False
    say: Callable[[str, str], None] = lambda name, line: None
    told: Callable[[Step], None] = lambda step: None
    started: Callable[[str], None] = lambda name: None
    retries: int = RETRIES
    retry_delay_s: float = RETRY_DELAY_S
    done: dict[str, Step] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    why_stopped: str = ""
    _stale: set[str] | None = None
    _because: dict[str, str] = field(default_factory=dict)  # the failed node that one which was skipped needs, by its name
    _peaks: dict[str, float] = field(default_factory=dict)
    _written: dict[str, float] = field(default_factory=dict)  # until when, by output: for ever while its stage is at work

    def pending(self) -> list[Node]:
        """The nodes that are not up to date, or that follow one that is not."""
        found: dict[str, Node] = {}
        for node in self.nodes:
            if self.force or found.keys() & set(node.upstream) or self.dag.changed(node):
                found[node.name] = node
        self._stale = set(found)
        return list(found.values())

    def up_to_date(self, node: Node) -> bool:
        """Whether `pending` found it so: taking it runs nothing."""
        return self._stale is not None and node.name not in self._stale

    def blocked(self, node: Node) -> str:
        """The name of a failed node that this one needs, directly or by way of skipped ones; or nothing."""
        for name in node.upstream:
            state = self.done[name].state if name in self.done else ""
            if state == "failed" or name in self._because:
                return self._because.get(name, name)
        return ""

    def take(self, node: Node, grant: Grant | None = None, say: Line = lambda line: None) -> Step:
        """Brings one node up to date. Raises StageFailed, worker.Stopped, or UserError where DVC cannot go on."""
        started = time.monotonic()
        state: State = "cached"
        if self.force or self.dag.changed(node):
            self._written.update(dict.fromkeys(node.outs, float("inf")))
            state = "restored" if self.dag.restore(node, force=self.force) else "ran"
            if state == "ran":
                self.command(node, grant or Grant(), say)
                self.dag.commit(node)
            self._written.update(dict.fromkeys(node.outs, time.time()))
        return self._done(Step(node.name, state, time.monotonic() - started, peak_mb=self._peaks.get(node.name, 0.0)))

    def command(self, node: Node, grant: Grant, say: Line = lambda line: None) -> None:
        """Runs the node's command in a warm worker. Raises StageFailed or worker.Stopped."""

        def heard(line: str) -> None:
            say(line)
            self.say(node.name, line)

        log = log_path(self.workspace, node.name)
        environment = {**self.dag.environment(node), **grant.environment()}
        self.started(node.name)
        began, root = time.time(), self.workspace.root
        with self.dag.busy(node):
            finished = worker.run(
                node.cmd or "", root, log, heard, environment, title=node.name, limit_s=grant.limit_s, stop=self.stop
            )
            beside = strays(self.workspace, began, dict(self._written))
        self._peaks[node.name] = finished.peak_mb
        if finished.code:
            passing, text = _why(finished, grant)
            raise StageFailed(node.name, text, passing=passing, log=log)
        if beside:
            text = f"its command wrote outside its outputs: {', '.join(beside)}\n  do: name the path in the stage's outs"
            raise StageFailed(node.name, text, passing=False, log=log)
        self._whole(node, log)

    def _whole(self, node: Node, log: Path) -> None:
        """Raises StageFailed if a stage of ours left an output without its manifest, or with files cut short."""
        if not worker.stage_of(node.cmd or ""):
            return
        for out in node.outs:
            try:
                atomic.manifest(self.workspace.root / out)
            except UserError as error:
                text = f"it ended well, but its output is not whole: {error.what}\n  where: {error.where}\n  do: see its log"
                raise StageFailed(node.name, text, passing=False, log=log) from None

    def fail(self, node: Node, error: StageFailed | UserError, seconds: float = 0.0) -> Step:
        text = error.text if isinstance(error, StageFailed) else str(error)
        return self._done(Step(node.name, "failed", seconds, text, self._peaks.get(node.name, 0.0)))

    def skip(self, node: Node, failed: str) -> Step:
        """Leaves out a node that needs the failed one, or that is not started after it failed."""
        why = f"not started after {failed} failed; --keep-going would"
        if self.blocked(node):
            self._because[node.name] = failed
            why = f"needs {failed}, which failed"
        return self._done(Step(node.name, "skipped", 0.0, why))

    def delays(self) -> list[float]:
        """Seconds before each retry."""
        return [self.retry_delay_s * 2**i for i in range(self.retries)]

    def _done(self, step: Step) -> Step:
        self.done[step.name] = step
        self.told(step)
        return step


def attempt(steps: Steps, node: Node, grant: Grant | None = None) -> Step:
    """`take`, tried again where that can help. Raises worker.Stopped."""
    started = time.monotonic()
    for delay in [*steps.delays(), None]:
        try:
            return steps.take(node, grant)
        except StageFailed as error:
            if delay is None or not error.passing:
                return steps.fail(node, error, time.monotonic() - started)
            steps.say(node.name, f"tried again in {delay:g} s: {error.text.splitlines()[0]}")
            if steps.stop.wait(delay):
                raise worker.Stopped(node.name) from None
        except UserError as error:
            return steps.fail(node, error, time.monotonic() - started)
    raise AssertionError("unreachable")


def _why(finished: worker.Finished, grant: Grant) -> tuple[bool, str]:
    """(whether another try may succeed, what happened and what to do)."""
    held = f"its processes held {finished.peak_mb:.0f} MiB at most"
    if finished.overtime:
        return True, f"it was stopped at its time limit of {grant.limit_s:g} s\n  do: raise compute.needs.<stage>.time_limit_s"
    if finished.starved:
        do = "give it less at once (a smaller batch, fewer seeds: compute.jobs) or raise compute.needs.<stage>.memory_gb"
        return True, f"the kernel killed it for want of memory; {held}\n  do: {do}"
    if finished.lost:
        said = f": {finished.error}" if finished.error else ""
        return True, f"its process was lost (code {finished.code}){said}\n  do: see its log, and whether memory ran out"
    if finished.code < 0:
        return True, f"its process was ended by signal {-finished.code}; {held}\n  do: see its log"
    passing = finished.code == MAY_PASS or (finished.code != USER_MISTAKE and is_passing(finished.error))
    return passing, finished.error or f"its command ended with code {finished.code}"


def is_passing(error: str) -> bool:
    """Whether the last line of a traceback names an error of the system or the network."""
    name = error.strip().splitlines()[-1].partition(":")[0].strip() if error.strip() else ""
    kind = getattr(builtins, name, None)
    return (isinstance(kind, type) and issubclass(kind, OSError)) or bool(_PASSING.search(name))


def log_path(workspace: Workspace, name: str) -> Path:
    """`pretrain@simclr` writes to .prelude/logs/pretrain/simclr.log."""
    stage, _, key = name.rpartition("@")
    return workspace.state / "logs" / (stage or key) / f"{key}.log"
