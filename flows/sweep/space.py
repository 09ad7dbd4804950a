"""The space of a sweep: `KEY=V1,V2` and `KEY=uniform(0.05,1)` read from the command line, and the points in it."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stages.common.errors import UserError
from stages.common.variant import Key

MOST_POINTS = 1000  # of a grid; a plan of so many nodes is refused long before
_RANGE = re.compile(r"(uniform|loguniform|int)\((.*)\)")
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+|[-+]?\.\d+[eE][-+]?\d+")  # a number that YAML 1.1 takes for text
_TRIES = 1000
Point = dict[str, Any]  # {key: value}


@dataclass(frozen=True)
class Range:
    """Numbers to draw from, both ends included."""

    kind: Literal["uniform", "loguniform", "int"]
    low: float
    high: float

    def draw(self, rng: random.Random) -> float | int:
        """One number; those that are not whole to four significant digits, so that they can be typed again."""
        if self.kind == "int":
            return rng.randint(int(self.low), int(self.high))
        if self.kind == "uniform":
            value = rng.uniform(self.low, self.high)
        else:
            value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return min(max(float(f"{value:.4g}"), self.low), self.high)

    def __str__(self) -> str:
        return f"{self.kind}({self.low:g},{self.high:g})"


@dataclass(frozen=True)
class Axis:
    """One key of the plan and what it takes: a list of values, or a range."""

    key: Key
    values: list[Any] | Range

    @staticmethod
    def of(word: str) -> Axis:
        """`encoders.simclr.objective.temperature=0.05,0.1,0.5`. Raises UserError."""
        name, _, text = word.partition("=")
        try:
            key = Key.of(name.strip())
        except ValueError:
            do = "write SECTION.NODE.KEY=V1,V2, such as encoders.simclr.objective.temperature=0.1,0.5"
            raise UserError(f"{name!r} is no key of a node", where=word, do=do) from None
        if not text.strip():
            raise UserError("no value to try", where=word, do=f"write {name}=V1,V2")
        found = _RANGE.fullmatch(text.strip())
        return Axis(key, _range(found[1], found[2], word) if found else [_value(one, word) for one in _split(text, word)])


def axes(words: Sequence[str]) -> list[Axis]:
    """The axes of a sweep; a key may be named once. Raises UserError."""
    found = [Axis.of(word) for word in words]
    if not found:
        do = "write KEY=V1,V2, such as encoders.simclr.objective.temperature=0.1,0.5"
        raise UserError("nothing to sweep over", where="prelude sweep", do=do)
    for i, axis in enumerate(found):
        if axis.key in [other.key for other in found[:i]]:
            raise UserError(f"{axis.key} is named twice", where=words[i], do="list its values in one place")
    return found


def points(space: Sequence[Axis], draws: int | None = None, seed: int = 0) -> list[Point]:
    """The whole grid, or `draws` points of it: no point twice, and the first ones the same for any number. Raises UserError.

    A range can only be drawn from. Where there are fewer points than draws, all are taken.
    """
    lists = [axis.values for axis in space if isinstance(axis.values, list)]
    ranges = [axis for axis in space if isinstance(axis.values, Range)]
    total = math.prod(map(len, lists))
    if draws is None:
        if ranges:
            raise UserError(f"{ranges[0].values} has no end of values", where=str(ranges[0].key), do="draw some: --random N")
        if total > MOST_POINTS:
            raise UserError(f"the grid has {total:,} points", where="prelude sweep", do="draw some: --random N")
        return [_point(space, i, None) for i in range(total)]
    if draws < 1:
        raise UserError(f"--random draws 1 point or more, not {draws}", where="prelude sweep")
    rng = random.Random(seed)
    found: list[Point] = []
    for _ in range(_TRIES * draws):
        if len(found) == draws or (not ranges and len(found) == total):
            break
        point = _point(space, rng.randrange(total), rng)
        if point not in found:
            found.append(point)
    return found


def _point(space: Sequence[Axis], index: int, rng: random.Random | None) -> Point:
    """The grid's point of that number, the last list turning fastest; ranges are drawn."""
    point: Point = {}
    for axis in reversed(space):
        if isinstance(axis.values, Range):
            assert rng is not None
            point[str(axis.key)] = axis.values.draw(rng)
        else:
            index, at = divmod(index, len(axis.values))
            point[str(axis.key)] = axis.values[at]
    return {str(axis.key): point[str(axis.key)] for axis in space}


def _split(text: str, word: str) -> list[str]:
    """At the commas that stand in no bracket or quotes. Raises UserError."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in "]})":
            depth -= 1
        if letter == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    if depth or quote:
        raise UserError("a bracket or a quote is left open", where=word)
    if any(not part.strip() for part in parts):
        raise UserError("a value is missing between two commas", where=word, do="write '' for empty text, null for none")
    return [part.strip() for part in parts]


def _value(text: str, word: str) -> Any:
    """A YAML scalar, list or mapping; 1e-4 is a number, as in Hydra. Raises UserError."""
    import yaml

    try:
        return _numbers(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError):
        raise UserError(f"{text!r} is no value", where=word, do="write a number, a word, [a, list] or {a: mapping}") from None


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _numbers(v) for k, v in value.items()}
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def _range(kind: str, text: str, word: str) -> Range:
    do = f"write {kind}(LOW,HIGH)"
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"{kind} takes two numbers, got {text!r}", where=word, do=do) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"the lower end must lie below the upper one, got {text}", where=word, do=do)
    if kind == "loguniform" and low <= 0:
        raise UserError("loguniform starts above 0", where=word, do=do)
    if kind == "int" and (low, high) != (int(low), int(high)):
        raise UserError(f"int takes whole numbers, got {text}", where=word, do=do)
    return Range(kind, low, high)  # type: ignore[arg-type]
