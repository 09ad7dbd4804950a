"""python -m stages.extract <features>: an encoder's outputs on a corpus, as Parquet rows."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from stages.common import stage
from stages.common.plan import FeaturesPlan
from stages.common.workspace import Workspace


def work(job: stage.Job) -> None:
    """Runs the seeds of an encoder over a corpus and writes their rows as Parquet."""
    from stages.extract import extraction

    extraction.work(job)


def inputs(key: str, node: FeaturesPlan, workspace: Workspace) -> Mapping[str, Path]:
    return {"encoder": workspace.encoder(node.encoder), "corpus": workspace.corpus(node.corpus)}


def target(key: str, node: FeaturesPlan, workspace: Workspace) -> Path:
    return workspace.features(key)


def main(argv: list[str] | None = None) -> int:
    return stage.run("extract", work, inputs, target, argv)


if __name__ == "__main__":
    sys.exit(main())
