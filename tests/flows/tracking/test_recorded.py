from __future__ import annotations

import random
from pathlib import Path

import pytest

from flows.tracking.recorded import ORDER, Recorded, ordered


def slow(records: list[Recorded]) -> list[Recorded]:
    """By stage and key, the first whose inputs are there, again and again; of a circle the first."""
    left, done = sorted(records, key=lambda r: (ORDER.index(r.stage), r.key)), list[Recorded]()
    made = {path for r in records for path in r.outputs}
    while left:
        there = {path for r in done for path in r.outputs}
        ready = [r for r in left if all(i["path"] in there or i["path"] not in made for i in r.inputs)]
        done.append((ready or left)[0])
        left.remove(done[-1])
    return done


@pytest.mark.parametrize("seed", range(40))
def test_inputs_come_before_what_uses_them(seed: int) -> None:
    draw = random.Random(seed)
    count, circles = draw.randint(1, 20), seed % 2
    records = []
    for i in range(count):
        inputs = [{"path": f"p{draw.randint(0, 2 * count if circles else i)}"} for _ in range(draw.randint(0, 3))]
        data = {"stage": draw.choice(ORDER), "key": f"k{i}", "outputs": [{"path": f"p{i}"}], "inputs": inputs}
        records.append(Recorded(Path(f"{i}"), data))
    found = ordered(records)
    assert [r.key for r in found] == [r.key for r in slow(records)]
