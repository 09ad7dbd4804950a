"""The simulated Hawkes processes: their law by the time-rescaling theorem, their counters, what the media hold."""

from __future__ import annotations

import numpy as np
import pytest

from stages.common.errors import UserError
from stages.ingest.simulators.hawkes import Hawkes
from tests.oracles import events as slow


def test_waits_are_exponential_of_mean_one_under_the_process_own_intensity() -> None:
    made = Hawkes(items=80, events=40, spread=0.8, seed=1)
    kind, times, types, marks = made.drawn()
    waits = np.array(
        [slow.compensated(times[i], types[i], marks[i], made.excitation(kind[i]), made.decay) for i in range(len(kind))]
    )
    after = ((waits[:, 1:] - 1) * (marks[:, :-1] - 1)).reshape(
        -1
    )  # what an event's mark says of the wait after it: nothing more
    assert abs(after.mean()) < 4 * after.std() / np.sqrt(len(after))
    waits = waits.reshape(-1)
    n = len(waits)
    assert abs(waits.mean() - 1) < 4 / np.sqrt(n) and abs(waits.var() - 1) < 4 * np.sqrt(8 / n)
    distance = np.abs(np.sort(1 - np.exp(-waits)) - (np.arange(n) + 0.5) / n).max()
    assert distance < 1.95 / np.sqrt(n)  # Kolmogorov and Smirnov, at 0.1%


def test_types_are_drawn_in_proportion_to_their_intensities() -> None:
    made = Hawkes(items=300, events=40, seed=2)
    kind, times, types, marks = made.drawn()
    ahead = np.arange(made.types)
    excess, count = 0.0, 0
    for i in range(len(kind)):
        excited, last, before = np.zeros(made.types), 0.0, 0
        for t, c, v in zip(times[i], types[i], marks[i], strict=True):
            excited *= np.exp(-made.decay * (t - last))
            rates = np.roll(excited + 1 / made.types, -before)  # by how far ahead a type is of the one before
            excess += (c - before) % made.types - rates @ ahead / rates.sum()  # a martingale
            excited += made.excitation(kind[i])[:, c] * v * made.decay
            last, before, count = t, c, count + 1
    assert abs(excess) / count < 4 * made.types / 3 / np.sqrt(count)


def test_an_item_depends_on_the_seed_and_its_place_alone() -> None:
    short, long = Hawkes(items=5, events=20, seed=3).drawn(), Hawkes(items=9, events=20, seed=3).drawn()
    for a, b in zip(short, long, strict=True):
        np.testing.assert_array_equal(a, b[:5])
    assert (Hawkes(items=5, events=20, seed=4).drawn()[1] != short[1]).any()


def test_the_media_stop_before_the_event_to_foretell() -> None:
    made = Hawkes(items=6, events=12, seed=0)
    kind, times, types, _ = made.drawn()
    for i, item in enumerate(made):
        events = item.media["events"].to_pylist()
        assert len(events) == 12 and [e["code"] for e in events] == [f"e{c}" for c in types[i, :12]]
        assert item.labels == {"kind": f"k{kind[i]}", "next": f"e{types[i, 12]}"} and times[i, 12] > events[-1]["time"]


@pytest.mark.parametrize("wrong", [{"classes": 8}, {"branching": 1.0}, {"decay": 0.0}, {"items": 0}, {"spread": -1.0}])
def test_arguments_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="fewer than types"):
        Hawkes(**wrong)  # type: ignore[arg-type]
