"""`prelude verify`: hashes every output against its manifest and every cached object against its name, reads state files.

DVC trusts a cache file of mode 0444 without hashing it, so a flipped byte would be served as up to date. A repair moves what is
damaged to .prelude/quarantine, where a person can look at it, and puts back into the cache what data/ still holds whole; the
next run makes the rest again.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from flows import state
from stages.common import atomic
from stages.common.errors import UserError
from stages.common.workspace import Workspace


@dataclass(frozen=True)
class Damage:
    """One damaged file and what is wrong with it. kind: output, cache or state. folder: what goes when it is repaired."""

    path: str
    kind: str
    why: str
    folder: str


@dataclass(frozen=True)
class Check:
    """What was hashed: outputs (folders with a manifest), objects of the cache; and what is damaged."""

    outputs: int
    objects: int
    seconds: float
    found: list[Damage]

    def __str__(self) -> str:
        return f"{self.outputs} outputs and {self.objects} cached files in {self.seconds:.1f} s"


@dataclass(frozen=True)
class Repair:
    """Where damaged files lie now, which outputs were put back into the cache, which stages have to be made again."""

    quarantine: Path
    put_back: list[str]
    lost: list[str]


def check(root: Path) -> Check:
    """Hashes everything in data/ and in DVC's cache, and reads dvc.lock and the tracking database."""
    started = time.monotonic()
    found, manifests = [], sorted(Workspace(root).data.rglob(atomic.MANIFEST))
    for manifest in manifests:
        folder = manifest.parent
        try:
            names = atomic.damaged(folder)
            found += [Damage(str(folder / name), "output", "differs from its manifest", str(folder)) for name in names]
        except UserError as error:
            found.append(Damage(str(folder), "output", error.what, str(folder)))
    objects = sorted(p for p in _cache(root).glob("??/*") if p.is_file() and not p.name.startswith("."))
    for path in objects:
        expected = path.parent.name + path.name.removesuffix(".dir")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() != expected:
                found.append(Damage(str(path), "cache", "its content is not what its name says", str(path.parent)))
    found += [Damage(str(path), "state", why, str(path)) for path, why in state.damaged(root)]
    return Check(len(manifests), len(objects), time.monotonic() - started, found)


def damaged(root: Path) -> list[Damage]:
    """Everything that is damaged in data/, in DVC's cache and beside them."""
    return check(root).found


def _cache(root: Path) -> Path:
    """The folder of DVC's objects, as its configuration says."""
    from dvc.config import Config

    configured = Config(str((root / ".dvc").absolute())).get("cache", {}).get("dir")
    return Path(configured or root / ".dvc" / "cache") / "files" / "md5"


def repair(root: Path, found: list[Damage]) -> Repair:
    """Sets damaged files aside and makes the cache whole where data/ can. No run may be at work meanwhile.

    A stage whose output is whole in data/ but lost from the cache is up to date no more for DVC, which would remove that output
    and run the stage: taking it into the cache again is cheaper.
    """
    place = quarantine(root, found)
    set_aside = any(damage.kind == "state" and Path(damage.path) == root / "dvc.lock" for damage in found)
    if not (root / "dvc.lock").is_file() and not set_aside:  # nothing ran: nothing to put back
        return Repair(place, [], [])
    from flows.dag import Dag

    dag = Dag(root)
    nodes = dag.stages()
    if set_aside:  # DVC's run cache knows what each made
        return Repair(place, [], [node.name for node in nodes])
    put_back = [out for node in nodes for out in dag.put_back(node)]
    return Repair(place, put_back, [node.name for node in nodes if dag.lost(node)])


def quarantine(root: Path, found: list[Damage]) -> Path:
    """Moves damaged cached objects and state files, and outputs with a damaged file, to .prelude/quarantine/<date>/."""
    place = _unused(Workspace(root).state / "quarantine" / time.strftime("%Y-%m-%d_%H%M%S"))
    cache = _cache(root)
    for source, inside in (move for damage in found for move in _moves(damage, root, cache)):
        if source.exists():  # a folder goes once, whatever the number of its damaged files
            (place / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source, place / inside)
    if found:
        atomic.write_json(place / "damage.json", [asdict(damage) for damage in found])
    return place


def _moves(damage: Damage, root: Path, cache: Path) -> list[tuple[Path, Path]]:
    """(what goes, its place in the quarantine)"""
    path, folder = Path(damage.path), Path(damage.folder)
    if damage.kind == "cache":
        return [(path, Path("cache") / path.relative_to(cache))]
    if damage.kind == "state":
        return [(part, Path("state") / part.name) for part in state.beside(path)]
    return [(folder, folder.relative_to(root))]


def _unused(place: Path) -> Path:
    number, found = 1, place
    while found.exists():
        number, found = number + 1, place.with_name(f"{place.name}-{number + 1}")
    return found


def text(found: list[Damage], done: Repair | None = None) -> str:
    """The damage for a terminal, and what was or can be done about it."""
    if not found:
        return "every output, cached file and state file is whole"
    lines = [f"{d.kind:6} {d.path}: {d.why}" for d in found]
    if done is None:
        lines.append(f"{len(found)} damaged: `prelude verify --repair` sets them aside, `prelude run` makes them again")
    else:
        lines.append(f"{len(found)} damaged: moved to {done.quarantine}")
        lines += [f"put back into the cache from data/: {', '.join(done.put_back)}"] if done.put_back else []
        lines += [f"to make again: {', '.join(done.lost)}"] if done.lost else []
        lines += [] if done.put_back and not done.lost else ["run `prelude run` (or `dvc repro`) to make again what is missing"]
    return "\n".join(lines)
