"""A toy DVC project: sources made per item, joined in a folder dependency, counted at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

MAKE = """
import pathlib, sys
out, given = pathlib.Path(sys.argv[1]), [pathlib.Path(p) for p in sys.argv[2:]]
files = [f for p in given for f in (sorted(q for q in p.rglob("*") if q.is_file()) if p.is_dir() else [p])]
out.mkdir(parents=True, exist_ok=True)
(out / "all.txt").write_text("".join(f.read_text() for f in files))
with open("ran.log", "a") as log:
    log.write(out.name + "\\n")
"""
PIPELINE = """
stages:
  make:
    foreach: ${corpora}
    do:
      cmd: python make.py data/items/${key} source.txt
      deps: [make.py, source.txt]
      params: ["corpora.${key}"]
      outs: ["data/items/${key}"]
  join:
    cmd: python make.py data/joined data/items
    deps: [make.py, data/items]
    outs: [data/joined]
  count:
    cmd: python make.py data/counted data/joined
    deps: [make.py, data/joined]
    outs: [data/counted]
"""
IGNORED = "/data/\n/.prelude/\n/ran.log\n/mlflow.db*\n"


def environment() -> dict[str, str]:
    tools = Path(sys.executable).parent
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}  # what other tests set is not a user's
    return {**kept, "PATH": f"{tools}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull}


def dvc(root: Path, *args: str) -> str:
    done = subprocess.run(["dvc", *args], cwd=root, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def create(root: Path, pipeline: str = PIPELINE) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "-q", str(root)], check=True, env=environment())
    dvc(root, "init", "-q")
    files = {"make.py": MAKE, "dvc.yaml": pipeline, "source.txt": "base\n", ".gitignore": IGNORED}
    for name, text in files.items():
        (root / name).write_text(text)
    parameters(root, a=1, b=2)
    return root


def parameters(root: Path, **items: int) -> None:
    """A plan whose corpora are the items; the number is part of their parameters."""
    part = "{name: none}"
    lines = [f"  {name}: {{title: T, source: {part}, reader: {part}, shard_mb: {n}}}\n" for name, n in items.items()]
    (root / "params.yaml").write_text("corpora:\n" + "".join(lines))


def ran(root: Path) -> list[str]:
    """The outputs' names in the order in which commands made them, since the last call."""
    log = root / "ran.log"
    names = log.read_text().split() if log.exists() else []
    log.write_text("")
    return names


def outputs(root: Path) -> dict[str, bytes]:
    """Every file of data/, and dvc.lock."""
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in (root / "data").rglob("*") if p.is_file()}
    return files | {"dvc.lock": (root / "dvc.lock").read_bytes()}
