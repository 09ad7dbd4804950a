"""The way every stage process runs: read the plan, check inputs, lock, work in a temporary folder, commit, record, exit code.

    python -m stages.pretrain simclr [--plan params.yaml]

Exit codes: 0 done, 1 our mistake (with a traceback), 2 the user's mistake (one clear error), 75 may pass when tried again,
130 interrupted.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.common import atomic, plan, process
from stages.common.errors import MAY_PASS, USER_MISTAKE, PassingError, UserError, of_machine
from stages.common.records import Record
from stages.common.schema import as_plain
from stages.common.workspace import Workspace


@dataclass
class Job:
    """What a stage's work is handed. Write results into `out`; note figures in `record`; keep resumable state in `work`."""

    stage: str
    key: str
    node: Any  # CorpusPlan, EncoderPlan, FeaturesPlan, TaskPlan, SystemPlan; None for the report
    plan: plan.Plan
    workspace: Workspace
    inputs: dict[str, Path]
    digest: str  # of the node's plan, its inputs' content and the code
    out: Path
    work: Path
    record: Record
    input_digests: dict[str, str] = field(default_factory=dict)


Inputs = Callable[[str, Any, Workspace], Mapping[str, Path]]
Target = Callable[[str, Any, Workspace], Path]


def run(
    stage: str,
    work: Callable[[Job], None],
    inputs: Inputs,
    target: Target,
    argv: list[str] | None = None,
) -> int:
    """Runs one node of a stage from its command line; returns the exit code.

    work: does it. inputs: names and folders of what the node reads. target: the folder it makes.
    """
    parser = argparse.ArgumentParser(prog=f"python -m stages.{stage}", description=work.__doc__)
    if stage != "report":
        parser.add_argument("key", help=f"a node of the plan's section `{plan.SECTIONS[stage]}`")
    parser.add_argument("--plan", type=Path, default=Path("params.yaml"), help="plan file, YAML or JSON")
    args = parser.parse_args(argv)
    process.die_with_parent()
    process.keep_pandas_out()
    key: str = getattr(args, "key", "report")
    try:
        execute(stage, key, plan.load(args.plan), Workspace(), work, inputs, target)
    except UserError as error:
        print(f"error: {stage} {key}: {error}", file=sys.stderr)
        return MAY_PASS if isinstance(error, PassingError) else USER_MISTAKE
    except KeyboardInterrupt:
        print(f"{stage} {key}: interrupted; run it again to go on", file=sys.stderr)
        return 130
    except Exception as error:
        shown = of_machine(error)
        if shown is None:
            raise
        print(f"error: {stage} {key}: {shown}", file=sys.stderr)
        return USER_MISTAKE
    return 0


def execute(
    stage: str,
    key: str,
    whole: plan.Plan,
    workspace: Workspace,
    work: Callable[[Job], None],
    inputs: Inputs,
    target: Target,
) -> Path:
    """The same without a command line. Returns the folder it made. Raises UserError."""
    process.set_numpy_threads(1)  # sums depend on it; a stage with `threads:` sets its own
    node = None if stage == "report" else whole.node(stage, key)
    given = dict(inputs(key, node, workspace))
    out = target(key, node, workspace)
    with ExitStack() as stack:
        stack.enter_context(atomic.lock(out, workspace.state / "locks"))
        digests = {name: atomic.manifest(path)["digest"] for name, path in given.items()}
        identity = {"stage": stage, "key": key, "node": as_plain(node), "inputs": digests, "code": code_digest()}
        digest = atomic.digest_json(identity)
        record = Record(stage, key, digest, as_plain(node) or {})
        record.inputs = [{"name": n, "path": _relative(p, workspace), "digest": digests[n]} for n, p in given.items()]
        with atomic.replacing(out) as temporary:
            job = Job(
                stage,
                key,
                node,
                whole,
                workspace,
                given,
                digest,
                temporary,
                workspace.work(stage, key, digest),
                record,
                digests,
            )
            work(job)
        if stage == "report":  # it reads all records, so one of its own would be its own input
            return out
        record.outputs = [{"name": stage, "path": _relative(out, workspace), "digest": atomic.manifest(out)["digest"]}]
        with atomic.replacing(workspace.record(stage, key)) as folder:
            record.write(folder)
    return out


@functools.cache
def code_digest() -> str:
    """SHA-256 over the stages' source files: resumable state of other code is not taken up."""
    root = Path(__file__).resolve().parents[1]
    return atomic.digest_json({p.relative_to(root).as_posix(): atomic.digest_file(p) for p in sorted(root.rglob("*.py"))})


def _relative(path: Path, workspace: Workspace) -> str:
    return path.relative_to(workspace.root).as_posix() if path.is_relative_to(workspace.root) else path.as_posix()
