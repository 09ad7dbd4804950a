"""`prelude verify`: hashes every output against its manifest and every object of DVC's cache against its name.

DVC trusts a cache file of mode 0444 without hashing it, so a flipped byte would be served as up to date.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from stages.common import atomic
from stages.common.errors import UserError
from stages.common.workspace import Workspace


@dataclass(frozen=True)
class Damage:
    """One damaged file and what is wrong with it. kind: output or cache. folder: what goes when it is repaired."""

    path: str
    kind: str
    why: str
    folder: str


def damaged(root: Path) -> list[Damage]:
    """Everything damaged in data/ and in DVC's cache."""
    found = []
    for manifest in sorted(Workspace(root).data.rglob(atomic.MANIFEST)):
        folder = manifest.parent
        try:
            names = atomic.damaged(folder)
            found += [Damage(str(folder / name), "output", "differs from its manifest", str(folder)) for name in names]
        except UserError as error:
            found.append(Damage(str(folder), "output", error.what, str(folder)))
    for path in sorted(p for p in _cache(root).glob("??/*") if p.is_file() and not p.name.startswith(".")):
        expected = path.parent.name + path.name.removesuffix(".dir")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() != expected:
                found.append(Damage(str(path), "cache", "its content is not what its name says", str(path.parent)))
    return found


def _cache(root: Path) -> Path:
    """The folder of DVC's objects, as its configuration says."""
    from dvc.config import Config

    configured = Config(str((root / ".dvc").absolute())).get("cache", {}).get("dir")
    return Path(configured or root / ".dvc" / "cache") / "files" / "md5"


def remove(root: Path, found: list[Damage]) -> None:
    """Removes damaged cache objects and outputs, so that the next run makes or fetches them again."""
    for damage in found:
        if damage.kind == "cache":
            Path(damage.path).unlink(missing_ok=True)
        else:
            shutil.rmtree(damage.folder, ignore_errors=True)


def text(found: list[Damage], *, repaired: bool) -> str:
    """The damage for a terminal, and what to do about it."""
    if not found:
        return "every output and cached file is whole"
    lines = [f"{d.kind:6} {d.path}: {d.why}" for d in found]
    if repaired:
        lines.append(f"{len(found)} removed: run `dvc repro` (or `dvc pull`) to make them again")
    else:
        lines.append(f"{len(found)} damaged: `prelude verify --repair` removes them, `dvc repro` makes them again")
    return "\n".join(lines)
