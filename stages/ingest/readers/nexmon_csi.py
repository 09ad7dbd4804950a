"""Wi-Fi channel state information as Nexmon writes it: UDP packets in pcap files, with positions from a workbook."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.files import Files
from stages.ingest.core.item import BadItem, Broken, Item, Source
from stages.ingest.core.paths import compiled
from stages.ingest.core.xlsx import sheets

_MAGIC = 0xA1B2C3D4  # little endian, microseconds
_FILE_HEADER, _PACKET_HEADER = 24, 16
_PAYLOAD = 14 + 20 + 8  # Ethernet, IPv4 and UDP headers before the payload
_CSI = _PAYLOAD + 18  # Nexmon's own header: magic, address, sequence, core, channel, chip


@part
class NexmonCsi:
    """Of each pcap file the first `packets` packets, I and Q of a subcarrier side by side.

    item `capture`: one item per file, a series (packets, 2 subcarriers). `packet`: one item per packet, a series
    (subcarriers, 2), the channel as it was estimated once; its group is the capture, so no split parts a place's packets.
    pattern: over the path, with the groups `split` and `place`; further groups are labels. locations: a workbook whose sheets
    `<split value>_coord_path<n>` have rows place, x, y; they give the labels x, y (m) and path, null for a place not listed.
    splits: {split: values of the pattern's `split`}. A place measured for reference and again for test was not measured at the
    same spot, so an item is its own group.
    subcarriers: as stored, in the order of the Fourier transform: 0, 1, ..., -2, -1. bands: runs (first, last) of subcarrier
    numbers that are kept, in this order; default all, as stored. The unused ones (0 and the edges, +-29 and beyond in a 20 MHz
    channel) hold what was left in the chip's memory. Raises UserError for a band that there is not.
    """

    def __init__(
        self,
        *,
        pattern: str,
        locations: str,
        splits: dict[str, str],
        packets: int = 100,
        subcarriers: int = 64,
        bands: list[tuple[int, int]] | None = None,
        item: Literal["capture", "packet"] = "capture",
    ) -> None:
        self.pattern, self.locations, self.splits = compiled(pattern), locations, {v: k for k, v in splits.items()}
        self.packets, self.subcarriers, self.item = packets, subcarriers, item
        self.bins = list(range(subcarriers)) if bands is None else _bins(bands, subcarriers)
        kept = len(self.bins)
        self.columns = [Column("csi", "media", "series", shape=[packets, 2 * kept] if item == "capture" else [kept, 2])]

    def read(self, source: Source) -> Iterator[Item | Broken]:
        files = source.files()
        positions = _positions(files, self.locations)
        for file in files.each(lambda path: path.endswith(".pcap")):
            found = self.pattern.search(file.path)
            kind, place = (found["split"], found["place"]) if found else ("", "")
            if kind not in self.splits:
                yield Broken(file.path, "its path does not match the pattern")
                continue
            try:
                csi = read_csi(file.read(), self.packets, self.subcarriers)
            except BadItem as error:
                yield Broken(file.path, str(error))
                continue
            x, y, path = positions.get((kind, place), (None, None, None))
            more = {k: v for k, v in found.groupdict().items() if k != "split"} if found else {}
            labels, name = {"x": x, "y": y, "path": path, **more}, f"{kind}-{place}"
            kept = csi.reshape(self.packets, self.subcarriers, 2)[:, self.bins]
            if self.item == "capture":
                yield Item(name, {"csi": kept.reshape(self.packets, -1)}, labels, split=self.splits[kind])
                continue
            for number, packet in enumerate(kept):
                yield Item(f"{name}-{number:05d}", {"csi": packet}, labels, group=name, split=self.splits[kind])


def _bins(bands: Sequence[tuple[int, int]], subcarriers: int) -> list[int]:
    """Where the subcarriers of the bands are stored: n at n, -n at subcarriers - n."""
    numbers = [n for first, last in bands for n in range(first, last + 1)]
    least, most = -(subcarriers // 2), (subcarriers - 1) // 2
    if not numbers or min(numbers) < least or max(numbers) > most or len(set(numbers)) < len(numbers):
        raise UserError(
            f"the bands {list(bands)} do not name subcarriers from {least} to {most}, each once",
            where="reader nexmon_csi.bands",
        )
    return [n % subcarriers for n in numbers]


def read_csi(data: bytes, packets: int, subcarriers: int) -> np.ndarray:
    """The first packets of a capture as float32 (packets, 2 subcarriers): I and Q, as the int16 they are. Raises BadItem."""
    if len(data) < _FILE_HEADER or struct.unpack_from("<I", data)[0] != _MAGIC:
        raise BadItem("not a pcap file in little-endian microseconds")
    out = np.empty((packets, 2 * subcarriers), np.float32)
    at, row = _FILE_HEADER, 0
    while row < packets:
        size = struct.unpack_from("<I", data, at + 8)[0] if at + _PACKET_HEADER <= len(data) else 0
        start = at + _PACKET_HEADER + _CSI
        at += _PACKET_HEADER + size
        if size == 0 or at > len(data):
            raise BadItem(f"{row} whole packets of {packets}")
        if size < _CSI + 4 * subcarriers:
            raise BadItem(f"packet {row} has no room for {subcarriers} subcarriers")
        out[row] = np.frombuffer(data, "<i2", 2 * subcarriers, start)
        row += 1
    return out


def _positions(files: Files, path: str) -> dict[tuple[str, str], tuple[str, str, str]]:
    """(x, y, path number) by kind of measurement and place."""
    for file in files.each(lambda p: p == path):
        with file.seekable() as stream:
            book = sheets(stream, path)
        found = {}
        for name, rows in book.items():
            kind = re.fullmatch(r"(\w+?)_coord_path(\d+)", name)
            for row in rows[1:] if kind else []:
                if kind and "A" in row and "B" in row and "C" in row:
                    found[kind[1], row["A"]] = (row["B"], row["C"], kind[2])
        return found
    raise UserError("the workbook is not among the source's files", where=path, do="correct `locations`")
