"""Writes that are seen whole or not at all: temporary folder beside the target, fsync, rename, manifest last.

The manifest (`manifest.json`) lists every file with its SHA-256 and size; its `digest` names the folder's content. Readers
check it, so a folder without one, or with a truncated file, is never taken for a result.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.common.errors import ContractError, UserError

MANIFEST = "manifest.json"
_ROOM = "make room or check permissions"
_REPAIR = "run `prelude verify --repair`"


def digest_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Writes JSON through a temporary file, fsynced and renamed."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text through a temporary file, fsynced and renamed."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_json(path: Path) -> Any:
    """Reads JSON. Raises ContractError naming the file if it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ContractError("a file is missing", where=path, do="run the stage that makes it") from None
    except (ValueError, OSError) as error:
        raise ContractError(f"the file cannot be read: {error}", where=path, do=_REPAIR) from None


def sync_folder(folder: Path) -> None:
    """Fsyncs the folder's entries, so that a renamed file keeps its name through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def seal(folder: Path) -> str:
    """Fsyncs every file of a finished folder and writes its manifest. Returns the folder's digest."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        files[path.relative_to(folder).as_posix()] = {"sha256": digest, "bytes": path.stat().st_size}
    for inner in (p for p in folder.rglob("*") if p.is_dir()):
        sync_folder(inner)
    digest = _digest_files(files)
    write_json(folder / MANIFEST, {"digest": digest, "files": files})
    return digest


def manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, its files present and of the stated size. Raises ContractError."""
    if not folder.is_dir():
        raise ContractError("an input is missing", where=folder, do="run the stage that makes it, or `dvc repro`")
    found: dict[str, Any] = read_json(folder / MANIFEST)
    try:
        sizes = {name: entry["bytes"] for name, entry in found["files"].items()}
        sound = found["digest"] == _digest_files(found["files"])
    except (TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise ContractError("the manifest is damaged", where=folder / MANIFEST, do=_REPAIR)
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            raise ContractError("a file that the manifest lists is missing", where=path, do=_REPAIR)
        if path.stat().st_size != size:
            raise ContractError(f"the file has {path.stat().st_size} bytes, its manifest says {size}", where=path, do=_REPAIR)
    return found


def _digest_files(files: Mapping[str, Mapping[str, Any]]) -> str:
    return digest_json({name: entry["sha256"] for name, entry in files.items()})


def damaged(folder: Path) -> list[str]:
    """Names of files whose bytes differ from the manifest. Reads everything."""
    entries = manifest(folder)["files"]
    return [name for name, entry in entries.items() if digest_file(folder / name) != entry["sha256"]]


@contextlib.contextmanager
def lock(target: Path, locks: Path) -> Iterator[None]:
    """One process at a time makes `target`; a second waits. The lock is the system's: it dies with its holder."""
    name = hashlib.sha256(str(target.resolve()).encode()).hexdigest()[:16]
    try:
        locks.mkdir(parents=True, exist_ok=True)
        file = (locks / f"{target.name}-{name}.lock").open("w")
    except OSError as error:
        raise UserError(f"the lock cannot be written: {error.strerror}", where=locks, do=_ROOM) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yields an empty temporary folder beside `target`; when the block ends well it is sealed and takes the target's place.

    When the block fails, the temporary folder goes and an earlier target stays whole.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _recover(target)  # nobody else is at it: we hold the lock
        temporary = target.parent / f".{target.name}.tmp-{os.getpid()}"
        temporary.mkdir()
    except OSError as error:
        raise UserError(f"the output cannot be written: {error.strerror}", where=target, do=_ROOM) from None
    try:
        yield temporary
        seal(temporary)
        swap(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def swap(ready: Path, target: Path) -> None:
    """Puts the folder `ready` in the place of `target` (same file system) in one step; the old content goes last."""
    old = ready
    if not target.exists():
        os.rename(ready, target)
    elif not _exchange(ready, target):
        old = target.parent / f".{target.name}.old-{os.getpid()}"
        os.rename(target, old)
        os.rename(ready, target)
    sync_folder(target.parent)
    if old.exists():
        shutil.rmtree(old)


def _exchange(a: Path, b: Path) -> bool:
    """Two folders trade places in one step. False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(renameat2(here, os.fsencode(a), here, os.fsencode(b), exchange) == 0)


def _recover(target: Path) -> None:
    """Clears what a killed process left beside `target`; where it was killed between two renames, the old content returns."""
    for old in target.parent.glob(f".{target.name}.old-*"):
        if target.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, target)
    for stale in target.parent.glob(f".{target.name}.tmp-*"):
        shutil.rmtree(stale)
