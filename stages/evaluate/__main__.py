"""evaluate: a system's tasks to intervals, verdicts on its claims, and what the report shows of them.

    python -m stages.evaluate <system>

Reads data/tasks/<system>/, writes data/reports/<system>/: metrics.json, result.json and map.parquet. See docs/evaluate.md.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from stages.common import stage
from stages.common.plan import SystemPlan
from stages.common.workspace import Workspace


def work(job: stage.Job) -> None:
    """Judges a system's tasks and claims."""
    from stages.evaluate.system import evaluate

    evaluate(job)


def inputs(key: str, node: SystemPlan, workspace: Workspace) -> Mapping[str, Path]:
    """The folders of the system's tasks that have a result; `work` knows from the plan which should."""
    from stages.common.atomic import MANIFEST

    found = sorted((workspace.data / "tasks" / key).glob(f"*/{MANIFEST}"))
    return {path.parent.name: path.parent for path in found}


def target(key: str, node: SystemPlan, workspace: Workspace) -> Path:
    return workspace.report(key)


def main(argv: list[str] | None = None) -> int:
    return stage.run("evaluate", work, inputs, target, argv)


if __name__ == "__main__":
    sys.exit(main())
