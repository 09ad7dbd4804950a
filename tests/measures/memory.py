"""How much memory tensors take at most while a function runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile


def peak_mb(work: Callable[[], Any]) -> float:
    """Megabytes that torch holds on the CPU beyond what it held at the start, at most; exact: the allocator's own count."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    held = highest = 0
    for event in found.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            highest = max(highest, held)
    return highest / 1e6
