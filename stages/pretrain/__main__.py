"""python -m stages.pretrain <encoder>: pretrains an encoder on its corpus, one per seed. Under torchrun ranks share batches;

a plan of several `compute.ranks` starts such ranks itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from stages.common import process, stage
from stages.common.plan import EncoderPlan
from stages.common.workspace import Workspace


def work(job: stage.Job) -> None:
    """Pretrains one encoder per seed."""
    compute = job.plan.compute
    alone = not _ranks() and compute.ranks.count == 1 and compute.ray is None
    if alone and process.at_once(job.node.seeds, compute.jobs, job.node.threads) > 1:
        process.warm_up()
    from stages.pretrain.core.run import pretrain

    pretrain(job)


def inputs(key: str, node: EncoderPlan, workspace: Workspace) -> Mapping[str, Path]:
    corpus = {"corpus": workspace.corpus(node.corpus)}
    return corpus | ({"parent": workspace.node(node.parent)} if node.parent.startswith("encoders/") else {})


def target(key: str, node: EncoderPlan, workspace: Workspace) -> Path:
    return workspace.encoder(key)


def main(argv: list[str] | None = None) -> int:
    if not _ranks():
        return stage.run("pretrain", work, inputs, target, argv)
    from stages.pretrain.core import distributed
    from stages.pretrain.core.run import follow

    process.die_with_parent()
    return distributed.main(lambda: stage.run("pretrain", work, inputs, target, argv), follow)


def _ranks() -> bool:
    """Whether torchrun started this process among others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


if __name__ == "__main__":
    sys.exit(main())
