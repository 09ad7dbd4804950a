"""`prelude doctor`: whether this machine can run the plan, and what to do where it cannot."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

_NEEDED = ("torch", "pyarrow", "polars", "safetensors", "dvc", "hydra-core", "mlflow", "prefect")


@dataclass(frozen=True)
class Check:
    """One finding: what was looked at, what was found, and what to do if it is not well."""

    name: str
    ok: bool
    found: str
    do: str = ""


def checks(root: Path) -> list[Check]:
    """Everything that a run of the plan needs of this machine."""
    found = [Check("python", sys.version_info >= (3, 11), platform.python_version(), "use Python 3.11 or newer")]
    for package in _NEEDED:
        try:
            found.append(Check(package, True, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            found.append(Check(package, False, "not installed", "run `make setup`"))
    free = shutil.disk_usage(root.absolute()).free / 2**30
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found.append(Check("disk", free > 2, f"{free:.0f} GiB free", "make room: outputs and DVC's cache need it"))
    found.append(Check("memory", memory > 3, f"{memory:.0f} GiB"))
    found.append(Check("cores", True, str(len(os.sched_getaffinity(0)))))
    found.append(Check("workspace", os.access(root, os.W_OK), str(root.absolute()), "check its permissions"))
    mirror = os.environ.get("PRELUDE_MIRROR")
    fine = mirror is None or Path(mirror).is_dir()
    found.append(Check("corpora mirror", fine, mirror or "not set: the network is used", "PRELUDE_MIRROR names no folder"))
    git = shutil.which("git")
    found.append(Check("git", git is not None, "found" if git else "not found", "install git: DVC needs it"))
    found.append(Check("gpu", True, _gpu()))
    return found


def _gpu() -> str:
    try:
        import torch
    except ImportError:
        return "not looked for: torch is not installed"
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none: the CPU is used"


def text(found: list[Check]) -> str:
    """The findings for a terminal, a line each."""
    lines = [f"{'ok ' if c.ok else 'BAD'} {c.name:16} {c.found}" + ("" if c.ok else f"  -> {c.do}") for c in found]
    return "\n".join(lines)
