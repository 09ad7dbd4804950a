"""Wi-Fi channel state information as Nexmon writes it: UDP packets in pcap files, with positions from a workbook."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

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
    """One item per pcap file: the first `packets` packets as a series (packets, 2 subcarriers), I and Q side by side.

    pattern: over the path, with the groups `split` and `place`; further groups are labels. locations: a workbook whose sheets
    `<split value>_coord_path<n>` have rows place, x, y; they give the labels x, y (m) and path, null for a place not listed.
    splits: {split: values of the pattern's `split`}. A place measured for reference and again for test was not measured at the
    same spot, so an item is its own group.
    """

    def __init__(
        self,
        *,
        pattern: str,
        locations: str,
        splits: dict[str, str],
        packets: int = 100,
        subcarriers: int = 64,
    ) -> None:
        self.pattern, self.locations, self.splits = compiled(pattern), locations, {v: k for k, v in splits.items()}
        self.packets, self.subcarriers = packets, subcarriers
        self.columns = [Column("csi", "media", "series", shape=[packets, 2 * subcarriers])]

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
            yield Item(f"{kind}-{place}", {"csi": csi}, {"x": x, "y": y, "path": path, **more}, split=self.splits[kind])


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
