"""Pictures that bomb, lie about their size, or are none."""

from __future__ import annotations

import io
import struct
import zlib

from tests.faults.hostile.item import CORPUS, QUARANTINE, Content, Hostile, plan
from tests.ingest.making import images, picture


def pictures() -> list[Hostile]:
    """Bad pictures among good ones, kept encoded and as pixels."""
    good = images({"a": 2})
    bad: dict[str, tuple[Content, str]] = {
        "a bomb of 50,000 x 50,000 pixels": (png(50_000, 50_000), "above the limit"),
        "a side of 2 ** 31 - 1": (png(2**31 - 1, 2**31 - 1), ""),
        "no side": (png(0, 10), ""),
        "rows that are missing": (png(4000, 4000, b"\0" * 100), "damaged image"),
        "a comment that unpacks to 200 MB": (lambda: _swollen(b"zTXt"), ""),
        "a profile that unpacks to 200 MB": (lambda: _swollen(b"iCCP"), ""),
        "a chunk longer than the file": (picture(0)[:33] + struct.pack(">I", 2**31 - 1) + picture(0)[37:], ""),
        "a PPM that states 10 ** 9 pixels a side": (b"P6 1000000000 1000000000 255\n", ""),
        "a PPM of 30,000 x 30,000": (b"P6 30000 30000 255\n" + bytes(99), "above the limit"),
        "a PPM of negative sides": (b"P6 -5 -5 255\n" + bytes(99), ""),
        "a GIF of 65,535 x 65,535": (b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\0;", "above the limit"),
        "a BMP of 2 ** 30 rows": (_bmp(100, 2**30), ""),
        "a BMP of negative size": (_bmp(-100, -100), ""),
        "a TIFF whose directory is its own next": (b"II*\0\x08\0\0\0\0\0\x08\0\0\0", ""),
        "a TIFF of 2 ** 31 strips": (
            _tiff({256: 100, 257: 100, 258: 8, 259: 1, 262: 1, 273: 2**31 - 1, 278: 1, 279: 2**31 - 1}),
            "",
        ),
        "a TIFF of 60,000 x 60,000": (_tiff({256: 60_000, 257: 60_000, 258: 8, 259: 1, 262: 1, 273: 8, 278: 1, 279: 8}), ""),
        "an HTML page": (b"<html><body>404</body></html>", "not an image"),
        "PostScript, which runs programs": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(ls) run\n", "not an image"),
        "an SVG with an entity of a file": (
            b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
            "not an image",
        ),
        "a zip called png": (b"PK\x03\x04" + bytes(60), "not an image"),
        "nothing": (b"", "empty file"),
        "one byte": (b"\x89", "not an image"),
        "a JPEG cut in its header": (picture(0, kind="JPEG")[:40], ""),
        "a JPEG of 65,500 x 65,500": (_resized_jpeg(65_500, 65_500), "above the limit"),
        "a WEBP whose size lies": (b"RIFF\xff\xff\xff\xffWEBPVP8L" + bytes(40), ""),
    }
    found = []
    for store in ("encoded", "pixels"):
        for name, (data, says) in bad.items():
            given = plan("image_folder", store=store, **({"resize": [8, 8]} if store == "pixels" else {}))
            named = f"pictures/{name}, kept {store}"
            fine = name.startswith(
                ("a comment", "a profile", "a chunk longer")
            )  # what is no part of the picture need not be read
            outcomes = frozenset({"corpus", "quarantine"}) if fine else QUARANTINE
            found.append(Hostile(named, given, {**good, "a/x.png": data}, outcomes=outcomes, says=says))
    for mode, kind in (
        ("LAB", "TIFF"),
        ("CMYK", "JPEG"),
        ("I;16", "PNG"),
        ("1", "PNG"),
        ("F", "TIFF"),
        ("PA", "PNG"),
        ("LA", "PNG"),
    ):
        files = {**good, f"a/x.{kind.lower()}": _of_mode(mode, kind)}
        found.append(
            Hostile(f"pictures/of the mode {mode}", plan("image_folder"), files, outcomes=frozenset({"corpus", "quarantine"}))
        )
    whole = {"a/whole.png": lambda: _blank(8000, 8000), **good}
    found.append(Hostile("pictures/one of the most pixels that are taken", plan("image_folder"), whole, outcomes=CORPUS))
    big = plan("image_folder", store="pixels", resize=[8, 8])
    found.append(Hostile("pictures/one of the most pixels, resized", big, whole, outcomes=CORPUS))
    return found


def png(width: int, height: int, rows: bytes = b"", more: list[tuple[bytes, bytes]] | None = None) -> bytes:
    """A PNG that states this size, whatever it holds."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    between = b"".join(chunk(*pair) for pair in more or [])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + between + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _swollen(chunk: bytes) -> bytes:
    """A sound picture with a chunk of 200 KB that unpacks to 200 MB."""
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    return png(8, 8, bytes(8 * 25), [(chunk, b"k\0\0" + data)])


def _blank(width: int, height: int) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGBA", (width, height)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _of_mode(mode: str, kind: str) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    if mode == "PA":
        Image.new("P", (8, 8)).save(out, kind, transparency=b"\0\x80")
    else:
        Image.new(mode, (8, 8)).save(out, kind)
    return out.getvalue()


def _bmp(width: int, height: int) -> bytes:
    return struct.pack("<2sIII", b"BM", 54, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def _tiff(tags: dict[int, int]) -> bytes:
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


def _resized_jpeg(width: int, height: int) -> bytes:
    data = bytearray(picture(0, kind="JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)
