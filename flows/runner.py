"""The parallel runner: each node starts as soon as what it needs is done and its slots are free."""

from __future__ import annotations

import contextvars
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from flows import worker
from flows.dag import Node
from flows.slots import Grant, Need, Slots
from flows.steps import Steps

Take = Callable[[Node, Grant], object]
_LOOK_S = 0.2
_WRITE_S = 2.0  # what was committed is in dvc.lock so many seconds later


@dataclass
class Runner:
    """Runs the nodes of `steps`. needs: what each takes, by name.

    keep_going: after a failure, go on with all that does not depend on it; else start nothing new and let finish what runs.
    """

    steps: Steps
    slots: Slots
    needs: dict[str, Need]
    keep_going: bool = False
    _ended: queue.SimpleQueue[tuple[Node, BaseException | None]] = field(default_factory=queue.SimpleQueue)
    _waiting: list[Node] = field(default_factory=list)
    _running: dict[str, Grant] = field(default_factory=dict)
    _pool: ThreadPoolExecutor | None = None

    def run(self, take: Take, until: Callable[[], bool] = lambda: False) -> None:
        """Calls `take(node, grant)` in a thread for each node; it leaves the node's step in `steps.done`.

        Returns when all that can be done is done; or as soon as `until` says so: what runs then goes on, and a further call
        takes the nodes that are left. When it is interrupted, `steps.stop` is set, or `take` raises, running commands are
        stopped first; then that, or worker.Stopped, is raised.
        """
        if self._pool is None:
            self._waiting = by_urgency(self.steps.nodes)
            self._pool = ThreadPoolExecutor(max(1, len(self._waiting)), thread_name_prefix="prelude-node")
        try:
            while self._waiting or self._running:
                self._go_on()
                if until():
                    return
                self._waiting = self._start(self._waiting, take)
                if self._running:
                    self._finish(until)
        except BaseException as error:
            self.steps.why_stopped = self.steps.why_stopped or _on_whose_word(error)
            self.steps.stop.set()
            self._close()
            raise
        self._close()

    def begun(self) -> list[Node]:
        """The nodes that were taken so far."""
        taken = self._running.keys() | {name for name, step in self.steps.done.items() if step.state != "skipped"}
        return [node for node in self.steps.nodes if node.name in taken]

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        self.steps.dag.flush()

    def _start(self, waiting: list[Node], take: Take) -> list[Node]:
        """Starts what can start and skips what cannot any more; returns what still waits."""
        failed = next((s.name for s in self.steps.done.values() if s.state == "failed"), "")
        left: list[Node] = []
        for node in waiting:
            needed = self.steps.blocked(node)
            if needed or (failed and not self.keep_going and not self.steps.up_to_date(node)):
                self.steps.skip(node, needed or failed)
            else:
                left.append(node)
        if len(left) < len(waiting):
            return self._start(left, take)  # a skipped one may block others
        names = {node.name for node in self.steps.nodes}
        ready = [n for n in left if all(up in self.steps.done for up in n.upstream if up in names)]
        for position, node in enumerate(ready):
            grant = self.slots.take(self.needs.get(node.name, Need()), waiting=len(ready) - position)
            if grant is None:
                continue
            self._running[node.name] = grant
            left.remove(node)
            context = contextvars.copy_context()  # Prefect finds the flow run there
            assert self._pool is not None
            self._pool.submit(context.run, self._taken, take, node, grant)
        return left

    def _taken(self, take: Take, node: Node, grant: Grant) -> None:
        try:
            take(node, grant)
        except BaseException as error:  # it is raised in the runner's own thread
            self._ended.put((node, error))
        else:
            self._ended.put((node, None))

    def _go_on(self) -> None:
        if self.steps.stop.is_set():
            raise worker.Stopped(self.steps.why_stopped)

    def _finish(self, until: Callable[[], bool]) -> None:
        """Waits for one node to end and takes its slots back; no longer than `until` allows."""
        while True:
            try:
                node, error = self._ended.get(timeout=_LOOK_S)
                break
            except queue.Empty:
                self.steps.dag.flush(_WRITE_S)
                self._go_on()
                if until():
                    return
        self.slots.give_back(self._running.pop(node.name))
        if error is not None:
            raise error


def by_urgency(nodes: list[Node]) -> list[Node]:
    """Nodes with the longest way to the end first: a short branch can wait, a long one cannot."""
    depth: dict[str, int] = {}
    for node in reversed(nodes):  # an order in which each comes after what it needs
        mine = depth.setdefault(node.name, 0)
        for up in node.upstream:
            depth[up] = max(depth.get(up, 0), mine + 1)
    return sorted(nodes, key=lambda node: -depth[node.name])


def _on_whose_word(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
