"""The plan twice from nothing, in another folder, on one core: the same bytes, but for records and the clocks in the report."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from stages.common import atomic
from tests.faults import pipeline

# What the report tells of how a node was made: seconds, a rate, and memory, each in a cell of its own; and the sum of seconds.
MEASURED = re.compile(
    rb'<td class="n" data-value="[0-9.]+">[0-9.,]+ (?:s|MiB|<span class="unit">[a-z]+/s</span>)\s*</td>'
    rb"|<dt>Work recorded</dt><dd>[^<]*</dd>"
)


@pytest.mark.slow
def test_the_same_plan_twice_from_nothing_gives_the_same_bytes(tmp_path: Path) -> None:
    pipeline.warm()
    one_core = partial(os.sched_setaffinity, 0, {min(os.sched_getaffinity(0))})
    found = [made(tmp_path / "first", None), made(tmp_path / "second", one_core)]
    for stage in pipeline.NODES:
        first, second = (pipeline.content(pipeline.target(root, stage)) for root in found)
        if stage == "report":
            pages = [masked(files.pop("index.html")) for files in (first, second)]
            assert [line for line in zip(*pages, strict=True) if line[0] != line[1]] == []
            del first[atomic.MANIFEST], second[atomic.MANIFEST]  # of the page as it is
        assert first == second, f"{stage}: {sorted(n for n in first if first[n] != second.get(n))}"


def made(root: Path, first: Callable[[], None] | None) -> Path:
    """A workspace in which every stage of the tiny plan ran, each after a call of `first` in its process."""
    root.mkdir()
    pipeline.write_plan(root)
    for stage in pipeline.NODES:
        assert pipeline.run(root, stage, first=first).code == 0, pipeline.said(root).read_text()
    return root


def masked(page: bytes) -> list[bytes]:
    """The lines of the report's page without what was measured of each node."""
    found, count = MEASURED.subn(b"<td>measured</td>", page)
    assert count > 2 * (len(pipeline.NODES) - 1)
    return found.splitlines()
