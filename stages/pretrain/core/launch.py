"""Starts ranks on this machine through torch's elastic agent, which starts all again when one is lost.

The stage decodes the corpus, holds the lock and commits; `python -m stages.pretrain.core.rank <folder>` is a rank of it.
folder: task.json, what to train; outcome.json, what rank 0 hands back; mistake.json, what a rank found wrong; and the files at
which the agent and the ranks meet. No port is opened for that: torch's would listen on every interface and unpickle.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from stages.common import atomic, process
from stages.common.compute import RanksPlan
from stages.common.errors import PassingError, UserError
from stages.common.schema import as_plain, build
from stages.pretrain.core.task import Outcome, Task

TASK, OUTCOME, MISTAKE, MEETING = "task.json", "outcome.json", "mistake.json", "meeting"
AGENT, RESTARTS = "PRELUDE_AGENT", "PRELUDE_RESTARTS"  # variables: the agent's process id; how often ranks may start again
_LOOK_S = 0.2  # between two looks at the ranks
_GRACE_S = 2  # a rank that is stopped may tidy up for so long
_LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}


def train(task: Task, ranks: RanksPlan, folder: Path) -> tuple[list[Outcome], int]:
    """Every seed's outcome, trained by `ranks.count` processes; and how often they were started again.

    Raises what a rank found wrong (UserError); PassingError where ranks were killed more than `ranks.restarts` times;
    RuntimeError where they failed in another way as often.
    """
    if task.device == "cuda" and torch.cuda.device_count() < ranks.count:
        found = torch.cuda.device_count()
        raise UserError(
            f"{ranks.count} ranks take a GPU each, there are {found}", where="compute.ranks.count", do=f"lower it to {found}"
        )
    shutil.rmtree(folder, ignore_errors=True)  # of a killed run
    folder.mkdir(parents=True)
    (folder / TASK).write_text(json.dumps(as_plain(task)), encoding="utf-8")
    _run(task, ranks, folder)
    found = atomic.read_json(folder / OUTCOME)
    return [build(Outcome, outcome, OUTCOME) for outcome in found["outcomes"]], found["restarts"]


def _run(task: Task, ranks: RanksPlan, folder: Path) -> None:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks.count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=str(folder / "rendezvous"),
        rdzv_configs={"store_type": "file"},
        local_addr="localhost",
        max_restarts=ranks.restarts,
        monitor_interval=_LOOK_S,
        signals_to_handle="SIGTERM,SIGINT",
        shutdown_timeout=_GRACE_S,
    )
    told = {AGENT: str(os.getpid()), RESTARTS: str(ranks.restarts), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", **_LOOPBACK}
    try:
        with process.environment(told), _handlers_kept():
            elastic_launch(config, sys.executable)("-m", "stages.pretrain.core.rank", str(folder))
    except SignalException as stopped:
        if stopped.sigval != signal.SIGINT:
            sys.exit(128 + stopped.sigval)
        raise KeyboardInterrupt from None
    except ChildFailedError as error:
        raise _failure(task, ranks, error.failures) from None
    if (folder / MISTAKE).exists():
        mistake = atomic.read_json(folder / MISTAKE)
        kind = PassingError if mistake.pop("passing") else UserError
        raise kind(mistake.pop("what"), **mistake)


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Puts back how this process takes signals: the agent leaves handlers of its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def _failure(task: Task, ranks: RanksPlan, failures: Mapping[int, Any]) -> Exception:
    by_agent = -signal.SIGTERM  # which stops the others
    killed = {
        rank: signal.Signals(-f.exitcode).name for rank, f in failures.items() if f.exitcode < 0 and f.exitcode != by_agent
    }
    after = f"after {ranks.restarts} {'restart' if ranks.restarts == 1 else 'restarts'}"
    if not killed:
        codes = ", ".join(f"rank {rank} with exit code {f.exitcode}" for rank, f in sorted(failures.items()))
        return RuntimeError(f"encoders.{task.key}: {codes} failed, {after}; the error is above")
    shown = ", ".join(f"rank {rank} by {name}" for rank, name in sorted(killed.items()))
    do = "see whether memory ran out, or raise compute.ranks.restarts; run it again to go on from the last snapshot"
    return PassingError(f"a rank was killed ({shown}), {after}", where=f"encoders.{task.key}", do=do)
