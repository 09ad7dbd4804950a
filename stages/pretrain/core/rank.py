"""python -m stages.pretrain.core.rank <folder>: one of the processes that `launch` starts; all seeds, one after another."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from stages.common import atomic, process
from stages.common.errors import PassingError, UserError, of_machine
from stages.common.schema import as_plain, build
from stages.pretrain.core import distributed, launch
from stages.pretrain.core.distributed import World
from stages.pretrain.core.seed import train
from stages.pretrain.core.task import Task


def main(folder: Path) -> int:
    """This rank's share of the maths; rank 0 leaves the outcomes. A user's mistake is left for the stage to tell.

    After that the exit code is 0: another start would end the same way.
    """
    process.die_with_parent(int(os.environ[launch.AGENT]))
    task = build(Task, json.loads((folder / launch.TASK).read_text(encoding="utf-8")), launch.TASK)
    process.set_threads(task.node.threads)
    meeting = f"file://{folder.absolute()}/{launch.MEETING}-{_restart()}"
    try:
        with distributed.joined(task.device, meeting) as world:
            _work(task, world, folder)
    except KeyboardInterrupt:
        return 130  # the stage says so
    except Exception:
        if not (folder / launch.MISTAKE).exists():  # else this rank failed because another one had left
            raise
    return 0


def _work(task: Task, world: World, folder: Path) -> None:
    if _restart() and world.leads:
        shutil.rmtree(task.out)  # what seeds that were done had written: they are written again
        Path(task.out).mkdir()
        times = f"{_restart()} of {os.environ[launch.RESTARTS]}"
        sys.stderr.write(f"warning: pretrain {task.key}: a rank was lost, all {world.size} start again ({times})\n")
    try:
        outcomes = [train(seed, task) for seed in task.node.seeds]
    except Exception as error:
        mistake = error if isinstance(error, UserError) else of_machine(error)
        if mistake is None:
            raise
        told = {"what": mistake.what, "where": mistake.where, "do": mistake.do, "passing": isinstance(mistake, PassingError)}
        atomic.write_json(folder / launch.MISTAKE, told)  # before the others notice that this rank leaves
        return
    distributed.barrier()
    if world.leads:
        found = {"outcomes": [as_plain(outcome) for outcome in outcomes], "restarts": _restart()}
        atomic.write_text(folder / launch.OUTCOME, json.dumps(found))  # a measure may be nan


def _restart() -> int:
    return int(os.environ["TORCHELASTIC_RESTART_COUNT"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
