"""What happens to files: each mutation takes bytes and a seeded draw, and gives other bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from tests.faults.hostile.item import OUTCOMES, Hostile, Sound

Mutation = Callable[[bytes, random.Random], bytes]
_NASTY = [
    b"\0",
    b"\xff\xfe",
    b'"',
    b"\n\n",
    b"\r",
    b"\t",
    b",",
    b"-1",
    b"9" * 40,
    b"1e999",
    b"nan",
    b"\x80\x00\x00\x00",
    b"[" * 99,
]


def _span(data: bytes, draw: random.Random, most: int = 64) -> tuple[int, int]:
    start = draw.randrange(len(data) + 1)
    return start, min(len(data), start + draw.randint(1, most))


def cut(data: bytes, draw: random.Random) -> bytes:
    """Ends at a byte within."""
    return data[: draw.randrange(len(data) or 1)]


def beheaded(data: bytes, draw: random.Random) -> bytes:
    """Begins at a byte within."""
    return data[draw.randrange(1, max(2, len(data) + 1)) :]


def flipped(data: bytes, draw: random.Random) -> bytes:
    """One to eight bits are others."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 8) if data else 0):
        out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    return bytes(out)


def flipped_head(data: bytes, draw: random.Random) -> bytes:
    """Bits of the first 64 bytes, where headers are."""
    return flipped(data[:64], draw) + data[64:]


def spliced(data: bytes, draw: random.Random) -> bytes:
    """Random bytes within."""
    start, _ = _span(data, draw)
    return data[:start] + draw.randbytes(draw.randint(1, 64)) + data[start:]


def overwritten(data: bytes, draw: random.Random) -> bytes:
    """Random bytes in place of others."""
    start, end = _span(data, draw)
    return data[:start] + draw.randbytes(end - start) + data[end:]


def nasty(data: bytes, draw: random.Random) -> bytes:
    """What parsers stumble over, in up to four places."""
    for _ in range(draw.randint(1, 4)):
        start, _ = _span(data, draw)
        data = data[:start] + draw.choice(_NASTY) + data[start + draw.choice((0, 1, 4)) :]
    return data


def without(data: bytes, draw: random.Random) -> bytes:
    """A piece is gone."""
    start, end = _span(data, draw, max(1, len(data) // 3))
    return data[:start] + data[end:]


def doubled(data: bytes, draw: random.Random) -> bytes:
    """A piece comes twice."""
    start, end = _span(data, draw, max(1, len(data) // 3))
    return data[:end] + data[start:]


def zeroed(data: bytes, draw: random.Random) -> bytes:
    """A piece is zeros."""
    start, end = _span(data, draw, max(1, len(data) // 3))
    return data[:start] + bytes(end - start) + data[end:]


def most(data: bytes, draw: random.Random) -> bytes:
    """Four bytes are the largest number there is: sizes and counts that lie."""
    start = draw.randrange(max(1, len(data) - 4))
    return data[:start] + draw.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff"]) + data[start + 4 :]


def twice(data: bytes, draw: random.Random) -> bytes:
    """The whole comes twice."""
    return data + data


def nothing(data: bytes, draw: random.Random) -> bytes:
    """An empty file."""
    return b""


def utf_16(data: bytes, draw: random.Random) -> bytes:
    """The same text in UTF-16 with its mark."""
    return data.decode("latin-1").encode("utf-16")


def latin_1(data: bytes, draw: random.Random) -> bytes:
    """An e with an accent, in Latin-1, within the text."""
    start, _ = _span(data, draw)
    return data[:start] + b"\xe9" + data[start:]


def marked(data: bytes, draw: random.Random) -> bytes:
    """UTF-8 with a byte order mark."""
    return b"\xef\xbb\xbf" + data


def returned(data: bytes, draw: random.Random) -> bytes:
    """Lines end as on other machines."""
    return data.replace(b"\n", draw.choice([b"\r\n", b"\r"]))


ALL: list[Mutation] = [
    *(cut, cut, flipped, flipped, flipped_head, flipped_head, flipped_head, nasty, nasty, nasty, most, most, most),
    *(beheaded, spliced, overwritten, without, doubled, zeroed, twice, nothing, utf_16, latin_1, marked, returned),
]


def mutated(name: str, sound: Sound) -> list[Hostile]:
    """Each mutation of one file of the source, which a seed draws; and its files exchanged, and one of them lost."""
    found = []
    for number, mutation in enumerate(ALL):
        draw = random.Random(f"{name} {number}")
        path = draw.choice(sorted(sound.files))
        files = {**sound.files, path: mutation(sound.files[path], draw)}
        found.append(_hostile(f"{name}/{number:02d} {mutation.__name__}: {path}", name, sound, files, {path}))
    draw = random.Random(name)
    a, b = draw.choices(sorted(sound.files), k=2)
    exchanged = {**sound.files, a: sound.files[b], b: sound.files[a]}
    found.append(_hostile(f"{name}/exchanged: {a} and {b}", name, sound, exchanged, {a, b}))
    if len(sound.files) > 1:
        left = {path: data for path, data in sound.files.items() if path != a}
        found.append(_hostile(f"{name}/lost: {a}", name, sound, left, {a}))
    return found


def _hostile(name: str, source: str, sound: Sound, files: Mapping[str, bytes], touched: set[str]) -> Hostile:
    ids = tuple(sorted(set(files) - touched)) if sound.by_path else None
    outcomes = OUTCOMES - {"refused"} if ids else OUTCOMES  # a broken file is no reason to refuse the others
    return Hostile(name, sound.plan, files, outcomes=outcomes, sound=source, ids=ids)
