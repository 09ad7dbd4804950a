"""DVC's graph, driven in process: DVC stays the cache and the truth, and one writer does all its operations.

What `dvc repro` does to a stage, in steps, so that the command between them can run elsewhere:

    changed(node)   does anything differ from dvc.lock?
    restore(node)   outputs removed; brought back from the run cache if these inputs were seen before
    ...             the command runs, outside DVC
    commit(node)    outputs into the cache
    flush()         dvc.lock written

It leaves the dvc.lock that `dvc repro` leaves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows import lockfile, rwlock
from flows.differences import differences
from flows.objects import unaltered
from stages.common.errors import UserError

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

WAIT_FOR_LOCK_S = 60.0


@dataclass(frozen=True)
class Node:
    """A stage of the graph. upstream: names of the stages whose outputs it reads; cmd: None for a file added with `dvc add`."""

    name: str
    cmd: str | None
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    upstream: tuple[str, ...]


class Dag:
    """The stages below a folder with dvc.yaml. Calls are serialised, so threads may share it. Raises UserError."""

    def __init__(self, root: Path = Path()) -> None:
        os.environ.setdefault("DVC_NO_ANALYTICS", "1")
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        logging.getLogger("dvc").setLevel(logging.ERROR)  # no progress bars between the stages' own lines
        self.root, self._lock = root.absolute(), threading.RLock()
        self._unwritten: dict[str, Stage] = {}  # whose entry in dvc.lock is not up to date yet
        self._waiting_since = 0.0
        if why := lockfile.problem(lock := self.root / "dvc.lock"):
            raise UserError(why, where=lock, do="`prelude verify --repair`; the next run restores it from DVC's run cache")
        try:
            self.repo: Repo = Repo(str(self.root))
            with self._dvc():
                self._graph = self.repo.index.graph
                self._stages: dict[str, Stage] = {stage.addressing: stage for stage in self._graph}
        except DvcException as error:
            raise UserError(f"DVC cannot read the graph: {error}", where=self.root / "dvc.yaml", do=_remedy(error)) from None

    def stages(self, targets: Iterable[str] | None = None) -> list[Node]:
        """The targets (a stage, a foreach group, an output; None: all) and what they need, in `dvc repro`'s order."""
        from dvc.exceptions import DvcException
        from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

        with self._dvc():
            try:
                wanted = collect_stages(self.repo, list(targets or ["dvc.yaml"]))
            except DvcException as error:
                raise UserError(f"{error}", where=self.root / "dvc.yaml", do="`dvc stage list` shows the stages") from None
            active = get_active_graph(self._graph)
            ordered = plan_repro(active, [self._stages[s.addressing] for s in wanted])
            return [self._node(stage, [s.addressing for s in active.successors(stage)]) for stage in ordered]

    def changed(self, node: Node) -> bool:
        """Whether command, parameters, inputs or outputs differ from dvc.lock."""
        with self._dvc(node.name):
            return bool(self._stages[node.name].changed())

    def why(self, node: Node) -> list[str]:
        """What differs from dvc.lock, in words: `objective.temperature: 0.5 -> 0.2`, `data/corpora/digits: modified`."""
        from dvc.dependency import ParamsDependency

        stage, found = self._stages[node.name], []
        with self._dvc(node.name):
            if not any(item.hash_info for item in (*stage.deps, *stage.outs)):
                return ["it never ran"]
            if stage.changed_stage():
                found.append("its command or its list of inputs and outputs changed")
            for dep in stage.deps:
                if isinstance(dep, ParamsDependency):
                    found += differences(dict(dep.hash_info.value or {}), dep.read_params())
                else:
                    found += [f"{path}: {state}" for path, state in dep.status().items()]
            for out in stage.outs:
                found += [f"{path}: {state}" for path, state in out.status().items()]
        return found

    def in_run_cache(self, node: Node) -> bool:
        """Whether the outputs of these very inputs can be brought back without running the command."""
        from dvc.stage.cache import RunCacheNotFoundError
        from dvc_data.hashfile.hash_info import HashInfo

        stage = self._stages[node.name]
        with self._dvc(node.name):
            if stage.changed_deps():  # a dry restore looks for the inputs of dvc.lock, unless these are forgotten
                stage.save_deps()
                for out in stage.outs:
                    out.hash_info = HashInfo()
            try:
                self.repo.stage_cache.restore(stage, dry=True)
            except (RunCacheNotFoundError, FileNotFoundError):
                return False
            return True

    def pull_run_cache(self) -> None:
        """Brings here what DVC's default remote knows of finished runs. Raises UserError where it cannot."""
        from dvc.config import NoRemoteError
        from dvc.stage.cache import RunCacheNotSupported

        with self._dvc():
            where = self.root / ".dvc" / "config"
            try:
                self.repo.cloud.get_remote(command="pull")
                with contextlib.suppress(RunCacheNotSupported):  # a remote behind HTTP has none; dvc.lock may do
                    self.repo.stage_cache.pull(None)
            except NoRemoteError:
                raise UserError("DVC has no default remote", where=where, do="`dvc remote add -d NAME URL`") from None
            except Exception as error:  # DVC's, or of the library that speaks to the remote
                raise UserError(f"DVC's remote cannot be read: {error}", where=where, do="see docs/remote.md") from None

    def restore(self, node: Node, *, force: bool = False, pull: bool = False) -> bool:
        """Removes the outputs, and brings them back from the run cache (not with `force`). Whether it could.

        pull: outputs that the cache lacks come from DVC's remote.
        """
        stage = self._stages[node.name]
        with self._dvc(node.name):
            missing = [str(dep) for dep in stage.deps if not dep.exists]
            if missing:
                raise UserError(f"an input is missing: {', '.join(missing)}", where=f"dvc.yaml: {node.name}: deps")
            if stage.cmd is None or stage.frozen:
                return self._without_command(stage)
            stage.remove_outs(ignore_remove=False, force=False)
            if not force and self._brought_back(stage, pull):
                self._save(stage)
                return True
            stage.save_deps()  # as they are before the command: an input that changes while it runs makes its result stale
            return False

    def _brought_back(self, stage: Stage, pull: bool) -> bool:
        """By what dvc.lock names; where the cache has no such thing, as after a fault, by what the run cache knows."""
        from dvc.stage.cache import RunCacheNotFoundError
        from dvc_data.hashfile.hash_info import HashInfo

        for named in (True, False):
            if not named:
                for out in stage.outs:
                    out.hash_info = HashInfo()
            with contextlib.suppress(RunCacheNotFoundError):
                self.repo.stage_cache.restore(stage, pull=pull)
                return True
        return False

    def commit(self, node: Node) -> None:
        """Takes the outputs of a finished command into the cache. Raises UserError if one is missing.

        dvc.lock is written by `flush`: it is read and written whole, 0.4 s at 30 stages, so stages share a writing. A run that
        is killed before finds these stages in the run cache.
        """
        with self._dvc(node.name):
            self._save(self._stages[node.name])

    def lost(self, node: Node) -> bool:
        """Whether an output that dvc.lock knows is gone from the workspace or from the cache."""
        with self._dvc(node.name):
            outs = [out for out in self._stages[node.name].outs if out.hash_info]
            return any(not out.exists or (out.use_cache and out.changed_cache()) for out in outs)

    def put_back(self, node: Node) -> list[str]:
        """Takes outputs that the cache has lost into it again, where the workspace holds what dvc.lock says. Returns these."""
        found = []
        with self._dvc(node.name):
            for out in self._stages[node.name].outs:
                if not (out.hash_info and out.use_cache and out.exists and out.changed_cache()):
                    continue
                recorded = out.hash_info
                out.save()
                if out.hash_info == recorded and unaltered(out):
                    out.commit()
                    found.append(str(out))
                out.hash_info = recorded
        return found

    def flush(self, older_than: float = 0.0) -> None:
        """Writes dvc.lock, if something has waited for it for so many seconds."""
        if not self._unwritten or time.monotonic() - self._waiting_since < older_than:
            return
        with self._dvc("dvc.lock"):
            by_file: dict[Path, list[Stage]] = {}
            for stage in self._unwritten.values():
                by_file.setdefault(Path(stage.path).with_suffix(".lock"), []).append(stage)
            for path, stages in by_file.items():
                lockfile.write(self.repo, path, stages)
            self._unwritten.clear()

    @contextlib.contextmanager
    def busy(self, node: Node) -> Iterator[None]:
        """While a command runs: a `dvc repro` of another process waits for these inputs and outputs instead of mixing in."""
        from dvc.exceptions import DvcException
        from dvc.rwlock import rwlock as locked

        stage = self._stages[node.name]
        reads, writes = [d.fs_path for d in stage.deps], [o.fs_path for o in stage.outs]
        who = f"{Path(sys.argv[0]).name} {node.name}"  # each node by a name of its own: it lets go of no more than it holds
        held = locked(self.repo.tmp_dir, self.repo.fs, who, reads, writes, False)
        with self._lock:  # the file of locks is no place for two threads
            try:
                held.__enter__()
            except DvcException as error:
                raise UserError(f"{error}", where=node.name, do="wait for the other run to end") from None
        try:
            yield
        finally:
            with self._lock:
                held.__exit__(None, None, None)

    def environment(self, node: Node) -> dict[str, str]:
        """What DVC sets for a command."""
        return {"DVC_ROOT": str(self.root), "DVC_STAGE": node.name}

    def _save(self, stage: Stage) -> None:
        """What DVC's `Stage.save` does, but for hashing the inputs again: they are those that the command was given."""
        stage.save_outs()
        stage.md5 = stage.compute_md5()
        if all(o.use_cache for o in stage.outs if not (o.is_metric or o.is_plot)):
            self.repo.stage_cache.save(stage)
        stage.commit()
        if not self._unwritten:
            self._waiting_since = time.monotonic()
        self._unwritten[stage.addressing] = stage

    def _without_command(self, stage: Stage) -> bool:
        """Files added with `dvc add`, imports and frozen stages: DVC's own way, there is no command to run elsewhere."""
        if stage.reproduce():
            stage.dump(update_pipeline=False)
        return True

    def _node(self, stage: Stage, upstream: list[str]) -> Node:
        deps, outs = (tuple(str(item) for item in items) for items in (stage.deps, stage.outs))
        cmd = "\n".join(stage.cmd) if isinstance(stage.cmd, list) else stage.cmd
        return Node(stage.addressing, cmd, deps, outs, tuple(upstream))

    @contextlib.contextmanager
    def _dvc(self, where: str = "") -> Iterator[None]:
        """Holds DVC's lock, waiting for another DVC process to let go of it. The current folder is the workspace's root.

        With `where`, what DVC refuses there is raised as UserError.
        """
        from dvc.exceptions import DvcException
        from dvc.lock import LockError
        from dvc.repo import lock_repo

        with self._lock, contextlib.chdir(self.root):
            until = time.monotonic() + WAIT_FOR_LOCK_S
            while True:
                stack = contextlib.ExitStack()
                try:
                    stack.enter_context(lock_repo(self.repo))
                    break
                except LockError as error:
                    if time.monotonic() > until:
                        raise UserError(f"{error}", where=self.root, do="wait for the other DVC process to end") from None
            with stack, self.repo.scm_context(quiet=True):
                rwlock.mend(self.repo)
                try:
                    yield
                except DvcException as error:
                    if not where:
                        raise
                    do = "wait for the other DVC process to end" if isinstance(error, LockError) else None
                    raise UserError(f"DVC: {error}", where=f"dvc.yaml: {where}", do=do) from None


def _remedy(error: BaseException) -> str:
    text = str(error)
    if "not inside of a DVC repository" in text or "cannot find" in text.lower():
        return "run this in the folder with dvc.yaml, after `git init` and `dvc init`"
    return "write the plan with `prelude plan`, then look at dvc.yaml"
