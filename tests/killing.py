"""Kills a stage's process with SIGKILL just before it renames a certain file: at a known point, on a machine of any speed.

A `sitecustomize` module is found by every Python process that the environment reaches, the fork server's workers too. The
process that starts first is the victim; whichever process is about to rename a matching file kills it, and stands still.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

_HOOK = """
import os, re, signal, sys, time
victim = int(os.environ.setdefault("KILLED_PROCESS", str(os.getpid())))
def hook(event, args):
    if event == "os.rename" and re.search(os.environ["KILLED_AT"], os.fspath(args[1])):
        os.kill(victim, signal.SIGKILL)
        time.sleep(30)
sys.addaudithook(hook)
"""


def run_killed(command: Sequence[str], pattern: str, hooks: Path, cwd: Path, environment: dict[str, str]) -> None:
    """Runs a Python command that dies before it renames anything to a path that `pattern` is found in.

    hooks: an empty folder for the module. Raises AssertionError if the command ended in another way.
    """
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(_HOOK)
    path = f"{hooks}{os.pathsep}{environment.get('PYTHONPATH', '')}"
    environment = {**environment, "PYTHONPATH": path, "KILLED_AT": pattern}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == -signal.SIGKILL, f"it ended with {done.returncode}, not killed at {pattern}\n{done.stderr}"
