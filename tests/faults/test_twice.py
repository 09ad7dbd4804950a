"""The plan twice from nothing, in another folder, on one core: the same bytes, but for records and the clocks in the report."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

import pytest

from stages.common import atomic
from tests.faults import pipeline

# What the report tells of how a node was made: seconds, a rate, and memory, each in a cell of its own.
MEASURED = re.compile(rb'<td class="n" data-value="[0-9.]+">[0-9.,]+ (?:s|MiB|<span class="unit">[a-z]+/s</span>)\s*</td>')


@pytest.mark.slow
def test_the_same_plan_twice_from_nothing_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    pipeline.write_plan(again)
    one_core = partial(os.sched_setaffinity, 0, {min(os.sched_getaffinity(0))})
    for stage in pipeline.NODES:
        assert pipeline.run(again, stage, first=one_core).code == 0, pipeline.said(again).read_text()
    assert pipeline.run(made, "report").code == 0
    for stage in pipeline.NODES:
        first, second = (pipeline.content(pipeline.target(root, stage)) for root in (made, again))
        if stage == "report":
            first, second = (
                found | {atomic.MANIFEST: b"", "index.html": masked(found["index.html"])} for found in (first, second)
            )
        assert first == second, f"{stage}: {sorted(n for n in first if first[n] != second.get(n))}"


def masked(page: bytes) -> bytes:
    """The report's page without what was measured of each node."""
    found, count = MEASURED.subn(b"<td>measured</td>", page)
    assert count > 2 * (len(pipeline.NODES) - 1)
    return found
