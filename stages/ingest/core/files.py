"""Files of a source, streamed in the source's order: a folder, or the members of a tar or zip archive.

Nothing is ever unpacked to disk under a member's own name. Names and sizes are checked all the same, since names become
ids and sizes become memory.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import hashlib
import io
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from stages.common.errors import UserError
from stages.ingest.core.patterns import Wanted, everything, matching

MAX_FILE = 2 << 30  # bytes of one file that is read whole
_RATIO, _RATIO_FROM = 1000, 16 << 20  # an archive this large that grows more than this is a bomb

# What the packers raise for damaged bytes; the last one for a packing that they do not know.
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, struct.error),
    NotImplementedError,
)


@dataclass(frozen=True)
class File:
    """A file by its path relative to the source's root, with `/`. It can be opened until the next file is asked for."""

    path: str
    size: int
    opener: Callable[[], IO[bytes]]

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The file opened to be read once through. Raises UserError where its archive, or its own compression, is damaged."""
        try:
            with self.opener() as stream:
                yield stream
        except (*DAMAGE, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise UserError("the file or its archive is damaged", where=self.path, do="fetch it again") from None

    def read(self) -> bytes:
        if self.size > MAX_FILE:
            raise UserError(f"a file of {self.size} bytes is too large to be one item", where=self.path)
        with self.open() as stream:
            return stream.read()

    @contextlib.contextmanager
    def seekable(self) -> Iterator[IO[bytes]]:
        """The file opened for random access; a member of a compressed archive goes through a temporary file."""
        with self.open() as stream:
            if isinstance(stream, (tarfile.ExFileObject, zipfile.ZipExtFile)) or not stream.seekable():
                with tempfile.TemporaryFile() as spool:
                    shutil.copyfileobj(stream, spool, 1 << 20)
                    spool.seek(0)
                    yield spool
            else:
                yield stream


class Files(Protocol):
    """Any number of passes over a source's files, always in the same order."""

    def each(self, wanted: Wanted = ...) -> Iterator[File]: ...


@dataclass(frozen=True)
class FolderFiles:
    """Files under a folder, sorted by path. Hidden ones are left out; links to files are followed, links to folders are not."""

    root: Path
    wanted: Wanted = everything

    def each(self, wanted: Wanted = everything) -> Iterator[File]:
        for path in self._paths():
            if self.wanted(path) and wanted(path):
                full = f"{self.root}/{path}"
                yield File(path, os.stat(full).st_size, functools.partial(_opened, full))  # noqa: PTH116  # as in _paths

    def _paths(self) -> list[str]:
        """As texts: path objects, one a file, double the time."""
        found, folders = list[str](), [""]
        while folders:
            base = folders.pop()
            with os.scandir(f"{self.root}/{base}") as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{base}{entry.name}/")
                    elif entry.is_file():
                        found.append(safe_path(base + entry.name, str(self.root)))
        return sorted(found)


def _opened(path: str) -> IO[bytes]:
    return open(path, "rb")  # noqa: PTH123


@dataclass(frozen=True)
class TarFiles:
    """Members of a tar archive, of any compression, streamed in its order.

    skip_root: drop the first folder of each name (forges put one there). links: what to do with links among what is wanted.
    """

    archive: Path
    wanted: Wanted = everything
    skip_root: bool = False
    refuse_links: bool = True
    max_bytes: int = 1 << 40

    def each(self, wanted: Wanted = everything) -> Iterator[File]:
        try:
            with _unpacked(self.archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
                size, holes = self.archive.stat().st_size, 0
                for member in tar:
                    holes += member.size if member.issparse() else 0  # which take no room in the archive
                    check_growth(tar.offset + holes, size, self.archive.name, self.max_bytes)
                    tar.members = []  # type: ignore[attr-defined]  # else tarfile keeps every header
                    yield from self._member(tar, member, wanted)
                while stream.read(1 << 20):  # tarfile takes a stream that ends early for the archive's end; the packer does not
                    pass
        except (*DAMAGE, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise UserError("the archive is damaged", where=self.archive.name, do="fetch it again") from None

    def _member(self, tar: tarfile.TarFile, member: tarfile.TarInfo, wanted: Wanted) -> Iterator[File]:
        if member.isdir():
            return
        path = member.name.removeprefix("./")
        safe_path(path, self.archive.name)
        if self.skip_root:
            path = path.partition("/")[2]
        if not (self.wanted(path) and wanted(path)):
            return
        if not member.isfile():
            if self.refuse_links:
                raise UserError(f"{path!r} is a link or a device", where=self.archive.name, do="exclude it or pack the file")
            return
        yield File(path, member.size, lambda: tar.extractfile(member))  # type: ignore[arg-type, return-value]


@dataclass(frozen=True)
class ZipFiles:
    """Members of a zip archive, in its order."""

    archive: Path
    wanted: Wanted = everything
    max_bytes: int = 1 << 40

    def each(self, wanted: Wanted = everything) -> Iterator[File]:
        try:
            with zipfile.ZipFile(self.archive) as packed:
                members = [m for m in packed.infolist() if not m.is_dir()]
                unpacked = sum(m.file_size for m in members)
                check_growth(unpacked, self.archive.stat().st_size, self.archive.name, self.max_bytes)
                for member in members:
                    path = safe_path(member.filename.removeprefix("./"), self.archive.name)
                    if not (self.wanted(path) and wanted(path)):
                        continue
                    if stat.S_ISLNK(member.external_attr >> 16):
                        raise UserError(f"{path!r} is a link", where=self.archive.name, do="exclude it or pack the file")
                    if member.flag_bits & 1:
                        raise UserError(f"{path!r} is encrypted", where=self.archive.name, do="pack it without a password")
                    check_growth(member.file_size, member.compress_size, path, self.max_bytes)  # noise beside it hides no bomb
                    yield File(path, member.file_size, lambda member=member: packed.open(member))  # type: ignore[misc]
        except (*DAMAGE, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise UserError("the archive is damaged", where=self.archive.name, do="fetch it again") from None


@dataclass(frozen=True)
class FileList:
    """Given files by path, sorted: what was fetched one by one."""

    paths: dict[str, Path]

    def each(self, wanted: Wanted = everything) -> Iterator[File]:
        for path in sorted(self.paths):
            if wanted(path):
                full = self.paths[path]
                yield File(path, full.stat().st_size, lambda full=full: full.open("rb"))  # type: ignore[misc]


@dataclass(frozen=True)
class KnownFiles:
    """Files whose paths are known, so that a pass which would find nothing is not made."""

    files: Files
    paths: list[str]

    def each(self, wanted: Wanted = everything) -> Iterator[File]:
        if any(wanted(path) for path in self.paths):
            yield from self.files.each(wanted)


@dataclass(frozen=True)
class HeadFiles:
    """Other files, of which only the first bytes are taken: `heads` maps a pattern to a number of bytes."""

    files: Files
    heads: dict[str, int]

    def each(self, wanted: Wanted = everything) -> Iterator[File]:
        limits = [(matching([pattern]), size) for pattern, size in self.heads.items()]
        for file in self.files.each(wanted):
            size = next((size for takes, size in limits if takes(file.path)), None)
            if size is None:
                yield file
            else:
                with file.open() as stream:
                    head = stream.read(size)
                yield File(file.path, len(head), lambda head=head: io.BytesIO(head))  # type: ignore[misc]


def hashed(files: Files) -> tuple[KnownFiles, str]:
    """The files, their paths now known, and one SHA-256 over them: that of their sorted lines `<sha256>  <path>`, each ended
    by a newline. `sha256sum <files> | sort | sha256sum` prints the same from the root.
    """
    paths, lines = list[str](), list[bytes]()
    for file in files.each(everything):
        with file.open() as stream:
            whole = hashlib.sha256()
            while block := stream.read(1 << 20):
                whole.update(block)
        paths.append(file.path)
        lines.append(f"{whole.hexdigest()}  {file.path}\n".encode())
    lines.sort()
    together = hashlib.sha256()
    for line in lines:
        together.update(line)
    return KnownFiles(files, paths), together.hexdigest()


def safe_path(path: str, where: str) -> str:
    """The path, if it is relative, stays inside its root and is text. Raises UserError."""
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "\\" in path or "\0" in path or re.match(r"[A-Za-z]:", path):
        raise UserError(f"the name {path!r} leads out of its archive", where=where, do="do not use this archive")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(f"the file name {path!r} is not UTF-8", where=where, do="rename the file") from None
    return path


def _unpacked(archive: Path) -> IO[bytes]:
    """A tar's bytes, unpacked as they are read; the end of what is packed is checked by its packer, of a plain tar here."""
    with archive.open("rb") as file:
        magic = file.read(6)
        file.seek(max(0, archive.stat().st_size - tarfile.BLOCKSIZE))
        tail = file.read()
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(archive)  # type: ignore[return-value]
    if magic.startswith(b"BZh"):
        return bz2.open(archive)
    if magic == b"\xfd7zXZ\x00":
        return lzma.open(archive)
    if tail.strip(b"\0"):
        raise tarfile.ReadError("no end of archive")
    return archive.open("rb")


def check_growth(unpacked: int, size: int, where: str, max_bytes: int) -> None:
    """Raises UserError for an archive of `size` bytes that unpacks to more than it may, or to too many times its size."""
    if unpacked > max_bytes:
        raise UserError(f"it unpacks to more than {max_bytes} bytes", where=where, do="raise `max_bytes` if you expect that")
    if unpacked > _RATIO_FROM and unpacked > _RATIO * size:
        raise UserError(f"it unpacks to over {_RATIO} times its size", where=where, do="do not use this archive")
