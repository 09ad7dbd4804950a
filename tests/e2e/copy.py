"""A fresh copy of the repository with a tiny plan, as its user has it: driven by the commands a user types."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY = """# @package _global_
defaults:
  - /corpus@corpora.digits: digits
  - /encoder@encoders.simclr: resnet
  - /encoder@encoders.random: resnet
  - /features@features.simclr: clip
  - /features@features.random: clip
  - /task@tasks.probe_simclr: linear_probe
  - /task@tasks.probe_random: linear_probe
  - /task@tasks.measures_simclr: measures
  - override /objective@encoders.random.objective: none
  - _self_
encoders:
  simclr: &small
    corpus: digits
    epochs: 2
    seeds: [0, 1]
    snapshot_every: 2
    backbone: {width: 8, blocks: [1, 1]}
    views: {flip: 0.0, blur: 0.0}
    monitor: {label: digit, rows: 128}
  random: {<<: *small, epochs: 0}
features:
  simclr: {encoder: simclr, corpus: digits}
  random: {encoder: random, corpus: digits}
tasks:
  probe_simclr: &probe {system: tiny, corpus: digits, features: simclr, label: digit, labels: ["5", all], seeds: [0, 1]}
  probe_random: {<<: *probe, features: random}
  measures_simclr: {system: tiny, corpus: digits, features: simclr, seeds: [0, 1]}
systems:
  tiny:
    title: A tiny plan for tests
    claims:
      learns:
        says: SimCLR beats an untrained network
        metric: accuracy
        slice: "5"
        order: [probe_simclr, probe_random]
"""


class Clone:
    """A folder with the repository in it, and the commands that are given there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def env(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder), "CI": "true"}

    def run(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.env(), capture_output=True, text=True)
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def prelude(self, *words: str, code: int = 0) -> str:
        return self.run(sys.executable, "-m", "flows.cli", *words, code=code)

    def dvc(self, *words: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *words)

    def digests(self, *skip: str) -> dict[str, str]:
        """SHA-256 of every output file, but for the folders named."""
        data = self.folder / "data"
        files = [
            p for p in sorted(data.rglob("*")) if p.is_file() and p.relative_to(data).parts[0] not in (*skip, ".gitignore")
        ]
        return {str(p.relative_to(data)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


class Copy(Clone):
    """A fresh copy of the repository's files with the tiny plan's system, committed to a Git of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
        ).stdout
        for name in listed.decode().split("\0"):
            if name and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        (folder / "params/system/tiny.yaml").write_text(TINY)
        self.run("git", "init", "-q")
        self.commit("start")

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", message)

    def clone(self, folder: Path) -> Clone:
        """What a colleague gets by `git clone`."""
        self.run("git", "clone", "-q", str(self.folder), str(folder))
        return Clone(folder)
