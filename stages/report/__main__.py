"""report: evaluated systems and the records of their nodes to one page.

    python -m stages.report

Reads data/reports/ and data/records/, writes data/report/: index.html, audit.json, metrics.json, learning_curves.csv,
label_share.csv.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.common import stage
from stages.common.workspace import Workspace


def work(job: stage.Job) -> None:
    """Writes the scoreboard page and the tables for `dvc metrics` and `dvc plots`."""
    from stages.common import atomic
    from stages.common.schema import as_plain
    from stages.report import curves, page
    from stages.report.collect import collect
    from stages.report.lineage import Lineage

    found = collect(job.inputs)
    simulated, shown = page.simulated_tasks(found, Lineage(found.nodes)), page.content(found)
    atomic.write_text(job.out / "index.html", page.lay_out(shown))
    atomic.write_json(job.out / "audit.json", as_plain(shown["audit"]))
    atomic.write_json(job.out / "metrics.json", curves.metrics_of(found))
    atomic.write_text(job.out / "learning_curves.csv", curves.learning_csv(n for n in found.nodes if n.series))
    atomic.write_text(job.out / "label_share.csv", curves.label_share_csv(found.systems, simulated))
    job.record.details.update(systems=len(found.systems), nodes=len(found.nodes))


def inputs(key: str, node: Any, workspace: Workspace) -> Mapping[str, Path]:
    from stages.report.collect import folders

    return folders(workspace)


def target(key: str, node: Any, workspace: Workspace) -> Path:
    return workspace.page


def main(argv: list[str] | None = None) -> int:
    return stage.run("report", work, inputs, target, argv)


if __name__ == "__main__":
    sys.exit(main())
