"""Tokens planted in the environment and in the libraries' own files appear in nothing that a pipeline leaves."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import pipeline

TOKEN = "planted-8c1f52d0a7b94e63"
VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "PREFECT_API_KEY", "WEBHOOK")
RUN = f"""
import sys
from importlib import import_module
from pathlib import Path

for stage, key in {pipeline.NODES}.items():
    keys = [] if stage == "report" else [key]
    assert import_module(f"stages.{{stage}}.__main__").main([*keys, "--plan", "{pipeline.PLAN}"]) == 0, stage

from flows.tracking.sync import replay
from stages.common import plan
from stages.common.workspace import Workspace
assert not replay(Workspace(), plan.load(Path("{pipeline.PLAN}"))).problems
"""


@pytest.mark.slow
def test_a_planted_token_is_in_no_output_record_log_or_database(tmp_path: Path) -> None:
    root, home = tmp_path / "workspace", tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "credentials").write_text(f"[default]\naws_secret_access_key = {TOKEN}\n")
    (home / ".netrc").write_text(f"machine example.org login me password {TOKEN}\n")
    root.mkdir()
    pipeline.write_plan(root)
    environment = {**os.environ, **dict.fromkeys(VARIABLES, TOKEN), "HOME": str(home), "PYTHONPATH": str(pipeline.ROOT)}
    done = subprocess.run([sys.executable, "-c", RUN], cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (root / "mlflow.db").stat().st_size > 100_000 and (root / "data" / "report" / "index.html").is_file()
    (root / "seen").write_text(done.stdout + done.stderr)
    spellings = [TOKEN.encode(), base64.b64encode(TOKEN.encode()).rstrip(b"="), TOKEN.encode("utf-16-le")]
    leaked = [p for p in root.rglob("*") if p.is_file() and any(s in p.read_bytes() for s in spellings)]
    assert leaked == []
