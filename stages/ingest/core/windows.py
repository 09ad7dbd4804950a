"""Windows of a long sequence of events, each followed by the event that it is asked to foretell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Windows:
    """Stretches of `events` events one after another, at most `most` of a sequence, spread evenly over it.

    Each is followed by an event at least, which is not among its own. kinds: what a label may call that event.
    """

    events: int
    most: int
    kinds: tuple[str, ...] = ()

    def starts(self, count: int) -> list[int]:
        """Where the windows of a sequence of `count` events begin; none where it has no event after a first window."""
        whole = max(0, count - 1) // self.events
        chosen = np.linspace(0, whole - 1, min(whole, self.most)).round().astype(int) if whole else np.empty(0, int)
        return [int(k) * self.events for k in chosen]

    def kind(self, code: str) -> str:
        """What stands before the code's first `//`, if it is among the kinds, else `other`."""
        found = code.partition("//")[0]
        return found if found in self.kinds else "other"
