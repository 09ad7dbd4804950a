"""Process start to first useful work of each stage, `prelude --help`, `dvc repro` with nothing to do, beside limits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.core.case import Case, Line, Options, Run, Way, at_most
from benchmarks.orchestration import DVC, copy, seconds

ROOT = Path(__file__).resolve().parents[1]
LIMITS = {"ingest": 0.7, "pretrain": 2.5, "extract": 2.5, "fit": 2.5, "evaluate": 0.7, "report": 0.7}  # seconds
# What each stage has imported when its work begins.
FIRST = {
    "ingest": "import stages.ingest.__main__, stages.common.corpus",
    "pretrain": "import stages.pretrain.__main__, stages.pretrain.core.trainer",
    "extract": "import stages.extract.__main__, stages.encoders.core.encoder",
    "fit": "import stages.fit.__main__, stages.common.features, torch",
    "evaluate": "import stages.evaluate.__main__, stages.common.tasks",
    "report": "import stages.report.__main__, jinja2",
}
QUICK = ("start of ingest", "start of pretrain", "prelude --help")  # with --quick
GUARD = "; import sys; assert 'mlflow' not in sys.modules"


def cases(options: Options) -> list[Case]:
    commands = {stage: ["-c", code + GUARD] for stage, code in FIRST.items()}
    ways = {f"start of {stage}": Way(stage, command, {"words": words}) for stage, words in commands.items()}
    ways["prelude --help"] = Way("prelude --help", command, {"words": ["-m", "flows.cli", "--help"]})
    ways["dvc repro, nothing to do"] = Way("dvc repro", nothing_to_do)
    limits = {f"start of {stage}": limit for stage, limit in LIMITS.items()} | {
        "prelude --help": 0.5,
        "dvc repro, nothing to do": 3.0,
    }
    lines = tuple(Line(name, name, ratio="cost", aim=at_most(1), limit=limits[name]) for name in ways)
    quick = [line for line in lines if line.ours in QUICK]
    slow = [line for line in lines if line not in quick]
    return [
        Case("quick", {line.ours: ways[line.ours] for line in quick}, tuple(quick)),
        Case("others", {line.ours: ways[line.ours] for line in slow}, tuple(slow), slow=True),
    ]


def command(folder: Path, words: list[str]) -> Run:
    """A command of this Python in the repository. Raises CalledProcessError where it fails."""

    def run() -> None:
        subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=ROOT)

    return run


def nothing_to_do(folder: Path) -> Run:
    """`dvc repro` of the quickstart in a clone where it has run."""
    place = copy(folder / "quickstart")
    seconds(DVC, place)
    return lambda: {"seconds": seconds(DVC, place)}
