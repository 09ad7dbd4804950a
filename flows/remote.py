"""`prelude run --pull`: brings from DVC's remote what is known there, so that the run computes only the rest.

`dvc pull` brings what dvc.lock names. This brings also what dvc.lock does not name but the remote's run cache does: outputs of
these very inputs, made elsewhere (after `dvc push --run-cache`).
"""

from __future__ import annotations

from pathlib import Path

from flows.alone import alone
from flows.dag import Dag
from stages.common.errors import UserError
from stages.common.workspace import Workspace


def pull(root: Path, targets: list[str] | None = None, *, wait: bool = False) -> list[str]:
    """Restores nodes in their order, each up to the first that the remote does not know; returns their names.

    Raises UserError if there is no remote, or it does not answer, or another run is at work.
    """
    restored: list[str] = []
    with alone(Workspace(root), "pull", wait=wait):
        dag, unknown = Dag(root), set[str]()
        dag.pull_run_cache()
        try:
            for node in dag.stages(targets):
                if unknown & set(node.upstream):
                    unknown.add(node.name)  # its inputs are yet to be made
                elif dag.changed(node):
                    known = dag.restore(node, pull=True)
                    (restored.append if known else unknown.add)(node.name)
        except UserError:
            raise
        except Exception as error:  # of the library that speaks to the remote
            raise UserError(f"DVC's remote failed: {error}", where=root / ".dvc" / "config", do="try again") from None
        finally:
            dag.flush()  # what came is kept
    return restored
