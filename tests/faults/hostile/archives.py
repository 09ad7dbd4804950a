"""Archives that lead out of themselves, link, lie and bomb."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.hostile.item import LONG, OUTCOMES, REFUSED, Hostile, plan
from tests.ingest.making import images, picture


def archives() -> list[Hostile]:
    """Archives of pictures with a member too many, and bombs."""
    given = plan("image_folder")
    good = [(_member(name), data) for name, data in images({"a": 2}).items()]
    names = ("../x.png", "a/../../x.png", "/etc/x.png", "..\\x.png", "C:/x.png", "a/\udcff.png", "~/../../x.png", "a/..")
    found = []
    for name in names:

        def tar(folder: Path, name: str = name) -> None:
            _tarred(folder / "s.tar.gz", [*good, (_member(name), picture(9))])

        def packed(folder: Path, name: str = name) -> None:
            with zipfile.ZipFile(folder / "s.zip", "w") as out:
                for member, data in good:
                    out.writestr(member.name, data)
                out.writestr(name, picture(9))

        found.append(Hostile(f"archives/a tar with {name!r}", given, tar, "s.tar.gz", REFUSED))
        if name.isascii():
            found.append(Hostile(f"archives/a zip with {name!r}", given, packed, "s.zip", REFUSED))
    members: dict[str, list[tuple[tarfile.TarInfo, bytes]]] = {
        "a link to a file": [(_member("a/x.png", tarfile.SYMTYPE, "/etc/passwd"), b"")],
        "a hard link": [(_member("a/x.png", tarfile.LNKTYPE, "a/000.png"), b"")],
        "a device": [(_member("a/x.png", tarfile.CHRTYPE, devmajor=1, devminor=5), b"")],
        "a pipe": [(_member("a/x.png", tarfile.FIFOTYPE), b"")],
        "a name of 10 ** 6 characters": [(_member("a/" + "x" * LONG + ".png"), picture(9))],
        "a name with a zero byte": [(_member("a/x.png", pax_headers={"path": "a/\0.png"}), picture(9))],
        "a name with line ends": [(_member("a/x\ny\r\n.png"), b"broken")],
        "two members of one name": [(_member("a/000.png"), picture(9))],
        "a size that is no number": [(_member("a/x.png", pax_headers={"size": "many"}), picture(9))],
        "a negative size": [(_member("a/x.png", pax_headers={"size": "-5"}), picture(9))],
    }
    for name, more in members.items():

        def tar_of(folder: Path, more: list[tuple[tarfile.TarInfo, bytes]] = more) -> None:
            _tarred(folder / "s.tar.gz", [*good, *more])

        says = "is a link or a device" if more[0][0].type != tarfile.REGTYPE else ""
        outcomes = REFUSED if says or name.startswith("two") else OUTCOMES
        found.append(Hostile(f"archives/a tar with {name}", given, tar_of, "s.tar.gz", outcomes, says))
    bombs: list[tuple[str, str, Callable[[Path], None], str]] = [
        ("a zip of 600 MB of zeros", "s.zip", lambda folder: _zip_bomb(folder / "s.zip", 600 << 20), "times its size"),
        (
            "a zip of 300 MB of zeros beside noise",
            "s.zip",
            lambda folder: _zip_bomb(folder / "s.zip", 300 << 20, 400_000),
            "times its size",
        ),
        ("a zip that states another size", "s.zip", _lying_zip, ""),
        ("a zip of a packing nobody knows", "s.zip", lambda folder: _patched_zip(folder / "s.zip", 10, b"\x63\0"), "damaged"),
        ("an encrypted zip", "s.zip", lambda folder: _patched_zip(folder / "s.zip", 8, b"\x01\0"), "encrypted"),
        (
            "a tar of 20 GB that is all hole",
            "s.tar",
            lambda folder: (folder / "s.tar").write_bytes(_sparse(20 << 30)) and None,
            "",
        ),
        ("a gzip in a gzip in a gzip", "s.tar.gz", lambda folder: _nested_gzip(folder / "s.tar.gz"), ""),
        ("a tar that is a text", "s.tar", lambda folder: (folder / "s.tar").write_text("no archive at all" * 99) and None, ""),
    ]
    found += [Hostile(f"archives/{name}", given, files, archive, REFUSED, says) for name, archive, files, says in bombs]
    return found


def _zip_bomb(path: Path, size: int, noise: int = 0) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a/y.png", np.random.default_rng(0).bytes(noise))
        with out.open("a/x.png", "w", force_zip64=True) as member:
            for _ in range(size >> 20):
                member.write(bytes(1 << 20))


def _lying_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "s.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a/x.png", picture(1) * 50)
    data = (folder / "s.zip").read_bytes()
    size = struct.pack("<I", len(picture(1) * 50))
    (folder / "s.zip").write_bytes(data.replace(size, struct.pack("<I", 70)))


def _patched_zip(path: Path, at: int, value: bytes) -> None:
    """Another value in a member's entry of the directory (where the local header has it two bytes earlier, there too)."""
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("a/x.png", picture(1))
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + at : entry + at + len(value)] = value
    data[at - 2 : at - 2 + len(value)] = value
    path.write_bytes(data)


def _sparse(size: int) -> bytes:
    """An old GNU sparse member: 512 bytes of data that stand for `size` bytes."""
    head = bytearray(_member("a/x.png", size=512).tobuf(tarfile.GNU_FORMAT))
    head[156:157] = tarfile.GNUTYPE_SPARSE
    head[386:410] = b"%011o\0%011o\0" % (0, 512)
    head[483:495] = b"\x80" + size.to_bytes(11, "big")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + bytes(512) + bytes(1024)


def _nested_gzip(path: Path) -> None:
    data = bytes(10 << 20)
    for _ in range(3):
        data = gzip.compress(data, mtime=0)
    path.write_bytes(data)


def _tarred(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz") -> None:
    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for member, data in members:
            member.size = member.size or len(data)
            packed.addfile(member, io.BytesIO(data))


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **more: Any) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    for key, value in more.items():
        setattr(found, key, value)
    return found
