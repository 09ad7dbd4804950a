"""Shared fixtures: where the mirror is, a small corpus on disk, a quiet environment."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("busy", deadline=None)  # how long an example takes depends on what else the machine does
settings.load_profile("busy")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a script; what tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(autouse=True)
def log_of_dvc() -> None:
    """DVC's log goes where standard error was when DVC was imported: a captured one that may be closed (no flush, then)."""
    for name in ("dvc", "dvc_data", "dvc_objects"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.stream = sys.stderr


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The corpora mirror; tests that need it are skipped, with the reason, where there is none."""
    root = os.environ.get("PRELUDE_MIRROR")
    if not root or not Path(root).is_dir():
        pytest.skip("needs real corpora: set PRELUDE_MIRROR to a folder of mirrored corpora (see docs/ingest.md)")
    return Path(root).resolve()
