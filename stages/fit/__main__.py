"""Fits a task's head on features: python -m stages.fit <task>."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from stages.common import stage
from stages.common.plan import TaskPlan
from stages.common.workspace import Workspace


def work(job: stage.Job) -> None:
    """Fits one task's head for every seed at every label share, and judges it on the test split."""
    from stages.fit.core.task import fit  # here, so that a mistake in the plan is told before torch is loaded

    fit(job)


def inputs(key: str, node: TaskPlan, workspace: Workspace) -> Mapping[str, Path]:
    return {
        "features": workspace.features(node.features),
        "support": workspace.node(node.support),
        "corpus": workspace.corpus(node.corpus),
    }


def target(key: str, node: TaskPlan, workspace: Workspace) -> Path:
    return workspace.task(node.system, key)


def main(argv: list[str] | None = None) -> int:
    return stage.run("fit", work, inputs, target, argv)


if __name__ == "__main__":
    sys.exit(main())
