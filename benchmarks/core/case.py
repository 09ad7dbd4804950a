"""A case: several ways to do the same work, run in turn, and the lines of the table that are drawn from them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

# Does the work once. What it returns joins seconds, cpu_s and peak_mb; values that are functions are called off the clock.
Run = Callable[[], Mapping[str, Any] | None]
ROUNDS = 5


@dataclass(frozen=True)
class Aim:
    """What the median ratio should be. at most 1.15, at least 2, or 1 give or take a share."""

    kind: Literal["at least", "at most", "within"]
    value: float

    def __str__(self) -> str:
        signs = {"at least": "≥ ", "at most": "≤ ", "within": "1 ± "}
        return f"{signs[self.kind]}{self.value:g}"

    def met(self, ratio: float) -> bool:
        if self.kind == "within":
            return abs(ratio - 1) <= self.value
        return (operator.ge if self.kind == "at least" else operator.le)(ratio, self.value)

    def short(self, ratio: float) -> str:
        """By how much a ratio misses the aim."""
        if self.kind == "within":
            return f"off by {_percent(abs(ratio - 1))}"
        if not self.value:
            return f"above 0 by {ratio:.3g}"
        return f"{'short' if self.kind == 'at least' else 'over'} by {_percent(abs(ratio / self.value - 1))}"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def at_least(value: float) -> Aim:
    return Aim("at least", value)


def at_most(value: float) -> Aim:
    return Aim("at most", value)


def within(share: float) -> Aim:
    return Aim("within", share)


@dataclass(frozen=True)
class Way:
    """One way to do it, in a process of its own.

    make(folder, **arguments) loads and prepares, and returns what is timed; it is a function at the top of a module. folder:
    the case's own, which all its ways share. label: how the table calls it. needs: distributions that it compares with, whose
    versions the table names; without one of them the line says so. items: of one run, by which its measures are divided.
    threads: of torch, BLAS and OpenMP.
    """

    label: str
    make: Callable[..., Run]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    items: float = 1
    threads: int = 1


@dataclass(frozen=True)
class Line:
    """One line of the table: `ours` against the best of `peers`, each the name of a way.

    speed: the peer's measure over ours (2: ours is twice as fast). cost: ours over the peer's. Measures are those of an item:
    seconds, cpu_s, or a name that the runs return; peak_mb and others that end in _mb are memory, and of the whole run. limit,
    in place of peers: a fixed value that ours is divided by. why: the reason, where it is known that the aim is missed.
    """

    what: str
    ours: str
    peers: tuple[str, ...] = ()
    ratio: Literal["speed", "cost"] = "speed"
    aim: Aim | None = None
    measure: str = "seconds"
    peer_measure: str = ""  # where it is another one
    limit: float | None = None
    unit: str = "s"  # of the limit
    why: str = ""


@dataclass(frozen=True)
class Case:
    """Ways in turn, `rounds` times, each time in the other order. Lines are drawn from the rounds.

    prepare(folder, **arguments): makes the files that ways read, in a process of its own. fresh: every run has a new process
    that has imported nothing else, as memory asks for; otherwise a way keeps its process, and `warm` runs come first.
    same: names of what runs return that must be equal (numbers: to `tolerance`, relative). slow: left out with --quick.
    """

    name: str
    ways: Mapping[str, Way]
    lines: tuple[Line, ...]
    prepare: Callable[..., None] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False
    warm: int = 1
    rounds: int = ROUNDS
    same: tuple[str, ...] = ()
    tolerance: float = 0.0
    slow: bool = False


@dataclass(frozen=True)
class Options:
    """quick: at tiny size, one round, to see that all runs. long: the lines that take an hour too."""

    quick: bool = False
    long: bool = False
    mirror: Path | None = None  # corpora, where there are any
