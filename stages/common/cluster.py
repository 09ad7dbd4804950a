"""Ray: one work on many units, on whichever machines a cluster has. Loaded where `compute.ray` is set, and nowhere else.

All machines see the workspace under the same path, and this code under its own; what passes between processes are names and
numbers. A process that dies is replaced by Ray elsewhere; what it had finished lies in the shared folder.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.common import errors, process
from stages.common.compute import RayPlan
from stages.common.errors import PassingError, UserError

CODE = Path(__file__).resolve().parents[2]  # what workers import `stages` from
_ON_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0: this machine's address is 127.0.0.1, and servers listen there alone
_KINDS = {kind.__name__: kind for kind in (errors.UserError, errors.PassingError, errors.ContractError)}


@contextlib.contextmanager
def joined(plan: RayPlan) -> Iterator[Any]:
    """Yields the library, connected to the plan's cluster, or to one started here, on loopback, that ends with this process.

    Raises UserError where Ray is not installed or the address does not answer.
    """
    address = plan.address or os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None:
        os.environ[_ON_LOOPBACK] = "0"
    try:
        import ray
    except ImportError:
        raise UserError("Ray is not installed", where="compute.ray", do="install the extra: pip install -e '.[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    _connect(ray, plan, address)
    try:
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, plan: RayPlan, address: str | None) -> None:
    path = os.pathsep.join([str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])])
    common = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": {"PYTHONPATH": path}},
    }
    if address is None:  # not what else runs here: a Ray that another stage started ends with that stage
        store = plan.object_store_mb << 20
        ray.init(address="local", num_cpus=process.cores(), include_dashboard=False, object_store_memory=store, **common)
        return
    try:
        ray.init(address=address, **common)
    except (ConnectionError, ValueError, RuntimeError) as error:
        what = f"no Ray cluster answers: {str(error).splitlines()[0]}"
        raise UserError(what, where=f"compute.ray.address: {address}", do="start it with `ray start --head`") from None


def fits(ray: Any, cpus: float, gpus: int) -> int:
    """How many tasks of so many cores and GPUs the machines have room for. Raises UserError where none has room for one."""
    room = 0
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            places = int(has.get("CPU", 0) // cpus)
            room += min(places, int(has.get("GPU", 0) // gpus)) if gpus else places
    if room == 0:
        raise UserError(
            f"no machine of the cluster has {cpus:g} cores and {gpus} GPUs", where="compute.ray.cpus", do="lower it"
        )
    return room


def each(
    plan: RayPlan, work: Callable[[Any], Any], units: Sequence[Any], *, threads: int, gpus: int = 0
) -> Iterator[tuple[Any, Any]]:
    """(unit, work(unit)) of every unit, mapped by Ray Data over the cluster, in the order in which they end.

    Units and answers are what JSON can say; `work` is a function of a module. Raises what `work` raises of our own errors, and
    PassingError where a unit's process died more often than `plan.retries` allows.
    """
    with joined(plan) as ray:
        cpus = plan.cpus or float(threads)
        most = min(plan.workers or len(units), fits(ray, cpus, gpus), len(units))
        for found in _mapped(ray, work, units, most, {"num_cpus": cpus, "num_gpus": gpus, "max_retries": plan.retries}):
            answer = json.loads(found["answer"])
            if "error" in answer:
                kind, what, where, do = answer["error"]
                raise _KINDS[kind](what, where=where, do=do)
            yield units[int(found["unit"])], answer["is"]


def in_order(plan: RayPlan, work: Callable[[Any], Any], units: Iterable[Any]) -> Generator[Any, None, None]:
    """work(unit) of each unit, in their order, as tasks of one core.

    Units are made here, one after another, and may be any values: Ray carries them between processes. (Ray Data reads in its
    tasks and in an order of its own, while a stream such as a tar has one reader and one order.) Few wait at a time.
    Raises as `each` does.
    """
    with joined(plan) as ray:
        cpus = plan.cpus or 1.0
        room = min(plan.workers or fits(ray, cpus, 0), fits(ray, cpus, 0))
        task = ray.remote(_answered).options(num_cpus=cpus, max_retries=plan.retries)
        waiting: deque[Any] = deque()
        for unit in units:
            waiting.append(task.remote(work, unit))
            if len(waiting) > 2 * room:
                yield _got(ray, waiting.popleft(), plan.retries)
        while waiting:
            yield _got(ray, waiting.popleft(), plan.retries)


def _answered(work: Callable[[Any], Any], unit: Any) -> Any:
    """A mistake as a value: Ray would wrap it."""
    try:
        return work(unit)
    except UserError as error:
        return error


def _got(ray: Any, call: Any, retries: int) -> Any:
    with _translated(ray, retries):
        answer = ray.get(call)
    if isinstance(answer, UserError):
        raise answer
    return answer


@contextlib.contextmanager
def _translated(ray: Any, retries: int) -> Iterator[None]:
    """Ray's errors as ours: what a task raised, or PassingError for one that died too often."""
    try:
        yield
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, Exception) and not isinstance(cause, ray.exceptions.RayError):
            raise cause from None
        what = f"a task's process died more than {retries} times: {str(error).splitlines()[0]}"
        raise PassingError(what, where="compute.ray", do="see whether memory ran out, or a machine fails") from None


def _mapped(
    ray: Any, work: Callable[[Any], Any], units: Sequence[Any], most: int, resources: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Tasks, not a pool of actors: what a lost actor was given waits until that actor finds a core again, others being free."""
    import ray.data as data

    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = [{"unit": i, "text": json.dumps(unit)} for i, unit in enumerate(units)]
    ordered = data.from_items(rows, override_num_blocks=len(rows))
    with warnings.catch_warnings():  # Ray 2.64 drops `max_retries`; without it a task that always dies is tried for good
        warnings.simplefilter("ignore")
        mapped = ordered.map(_Answering(work), concurrency=most, **resources)
    with _translated(ray, resources["max_retries"]):
        yield from mapped.iter_rows()


class _Answering:
    """`work` from JSON to JSON, our own errors as answers: Ray would wrap them."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = {"is": self.work(json.loads(row["text"]))}
        except UserError as error:
            answer = {"error": [type(error).__name__, error.what, error.where, error.do]}
        return {"unit": row["unit"], "answer": json.dumps(answer)}
