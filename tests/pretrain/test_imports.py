"""Pretraining needs torch, numpy, pyarrow and safetensors, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import image_corpus
from tests.pretrain.conftest import node

ROOT = Path(__file__).resolve().parents[2]
BLOCKED = [
    "yaml",
    "polars",
    "mlflow",
    "prefect",
    "dvc",
    "hydra",
    "omegaconf",
    "sklearn",
    "scipy",
    "pandas",
    "rich",
    "psutil",
    "PIL",
]
SCRIPT = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
from stages.pretrain.__main__ import main
code = main(["e", "--plan", "plan.json"])
print(sorted(m for m in sys.modules if m in ("torch._dynamo", "torch._inductor")))
sys.exit(code)
"""


@pytest.mark.slow
def test_a_node_is_pretrained_from_a_json_plan_without_the_orchestrations_libraries_or_torchs_compiler(tmp_path: Path) -> None:
    image_corpus(tmp_path / "data" / "corpora" / "squares", n=100)
    (tmp_path / "plan.json").write_text(json.dumps({"encoders": {"e": node()}, "compute": {"jobs": 1}}))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert (tmp_path / "data" / "encoders" / "e" / "seed=0" / "encoder.safetensors").is_file()
