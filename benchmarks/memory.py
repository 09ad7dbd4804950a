"""What every stage holds at most, and how that grows with the corpus: the whole chain, each stage a process of its own.

Pictures in folders, ResNet of width 16 over 32 px trained for one epoch by SimCLR, features, a linear probe, the evaluation,
the report. Seeds: one, so that all work is in the stage's own process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.core.case import Case, Line, Options, Run, Way
from benchmarks.ingest import prepare

ROOT = Path(__file__).resolve().parents[1]
CHAIN = {"ingest": "c", "pretrain": "e", "extract": "f", "fit": "t", "evaluate": "s", "report": ""}


def cases(options: Options) -> list[Case]:
    few, many = (100, 200) if options.quick else (2_000, 20_000)
    stages = ("ingest", "pretrain") if options.quick else tuple(CHAIN)
    ways = {
        "few": Way(f"the same of {few:,} pictures", chain, {"items": few, "stages": stages}),
        "many": Way(f"the stages on {many:,} pictures", chain, {"items": many, "stages": stages}),
    }
    lines = tuple(
        Line(f"peak memory of {stage}, {many:,} pictures", "many", ("few",), "cost", None, f"{stage}_mb") for stage in stages
    )
    sets = [{"kind": "image", "items": items} for items in (few, many)]
    return [Case("stages", ways, lines, prepare, {"sets": sets}, fresh=True)]


def plan(folder: Path) -> dict[str, Any]:
    """One node of each stage."""
    resnet = {"name": "resnet", "width": 16, "blocks": [1, 1, 1]}
    return {
        "corpora": {
            "c": {
                "title": "benchmark",
                "source": {"name": "folder", "path": str(folder)},
                "reader": {"name": "image_folder"},
                "labels": {"label": {"kind": "class"}},
                "split": {"by": "hash", "stratify": "label"},
            }
        },
        "encoders": {
            "e": {
                "corpus": "c",
                "parent": "corpora/c",
                "frontend": {"name": "image"},
                "backbone": resnet,
                "views": {"name": "crop_colour", "blur": 0.0},
                "objective": {"name": "simclr"},
                "batch_size": 64,
                "epochs": 1,
                "seeds": [0],
            }
        },
        "features": {"f": {"encoder": "e", "corpus": "c"}},
        "tasks": {
            "t": {
                "system": "s",
                "corpus": "c",
                "features": "f",
                "support": "features/f",
                "head": {"name": "linear_probe"},
                "metrics": ["accuracy"],
                "label": "label",
                "seeds": [0],
            }
        },
        "systems": {"s": {"title": "benchmark"}},
    }


def chain(folder: Path, items: int, stages: tuple[str, ...]) -> Run:
    """{stage}_mb of each stage, as the kernel counted it for its process and those that it waited for."""

    def run() -> dict[str, float]:
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            (Path(fresh) / "plan.json").write_text(json.dumps(plan(folder / f"image-{items}")))
            return {f"{stage}_mb": _peak(stage, CHAIN[stage], Path(fresh)) for stage in stages}

    return run


def _peak(stage: str, key: str, folder: Path) -> float:
    words = [sys.executable, "-m", f"stages.{stage}", *([key] if key else []), "--plan", "plan.json"]
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            words, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{stage} ended with {process.returncode}: {(folder / 'log').read_text()[-2000:]}")
    return usage.ru_maxrss / 1024
