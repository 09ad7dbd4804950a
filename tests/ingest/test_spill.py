"""The spill: what is read of it is the system's again."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from stages.common.corpus import Column
from stages.ingest.core import spill
from stages.ingest.core.item import Item
from stages.ingest.core.spill import Form, Spilled, SpillWriter

ROWS, SIDE = 64, 256  # 64 KiB a row


@pytest.fixture
def spilled(tmp_path: Path) -> Spilled:
    form = Form({}, [Column("image", "media", "pixels", shape=[SIDE, SIDE, 1])], [])
    paths = [tmp_path / f"block-{i}.arrow" for i in range(8)]
    for number, path in enumerate(paths):
        writer = SpillWriter(path, form)
        for i in range(ROWS):
            pixels = np.full((SIDE, SIDE, 1), number, np.uint8)
            writer.add(Item(f"{number}-{i:02d}", {"image": pixels}))
        writer.close()
    return Spilled(paths, form)


def mapped(folder: Path) -> int:
    """Bytes of this process' memory that are pages of files in a folder."""
    held, within = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            within = f" {folder}{os.sep}" in line
        elif within and line.startswith("Rss:"):
            held += int(line.split()[1]) << 10
    return held


def test_pages_that_were_read_are_given_back(spilled: Spilled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_MAPPED", 4 << 20)
    most = 0
    for start in range(0, len(spilled), 32):
        rows = spilled.take(np.arange(start, start + 32))
        assert set(rows["media:image"].flatten().to_pylist()[::4096]) == {start // ROWS}
        most = max(most, mapped(tmp_path))
    assert 0 < most < 12 << 20  # of 32 MiB
    assert spilled.column("id") == [f"{number}-{i:02d}" for number in range(8) for i in range(ROWS)]


def test_equal_texts_of_a_column_are_one_object(spilled: Spilled) -> None:
    ids = spilled.column("id")
    groups = spilled.column("group", ids)
    assert groups == ids and all(a is b for a, b in zip(ids, groups, strict=True))
