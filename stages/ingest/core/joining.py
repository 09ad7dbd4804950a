"""Joins clips of one speaker to longer ones whose text is that of their parts: strings of digits, sentences of words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from stages.common.errors import UserError, unknown
from stages.common.media import read_wav, wav_bytes
from stages.ingest.core.item import Broken, Item

PARTS = "parts"  # the meta column that names the clips


@dataclass(frozen=True)
class Join:
    """Clips that agree in the label `by` (and in split and group) become strings of `least` to `most` of them.

    text: the label that is written out, its values set side by side with `separator` between them; `names` says how a value
    is written where that is not the value itself. silence: seconds between two clips, uniform. max_seconds: a string takes no
    more clips than fit; one that is too long with `least` of them is broken. uses: how often each clip of a split is used,
    each time among others; splits that are not named: once. A few clips may be left over that make no string.
    Which clips meet, in what order and with what silence follows from hashes of their ids and of `salt` alone.
    """

    by: str
    text: str
    least: int = 3
    most: int = 6
    uses: dict[str, int] = field(default_factory=dict)
    silence: tuple[float, float] = (0.0, 0.0)
    separator: str = ""
    names: dict[str, str] = field(default_factory=dict)
    max_seconds: float | None = None
    salt: int = 0

    def __post_init__(self) -> None:
        where = "reader.join"
        if not 1 <= self.least <= self.most:
            raise UserError(f"strings of {self.least} to {self.most} clips", where=where, do="write 1 <= least <= most")
        if not 0 <= self.silence[0] <= self.silence[1]:
            raise UserError(f"no range: silence {list(self.silence)}", where=where, do="write [low, high] in seconds")
        if any(uses < 1 for uses in self.uses.values()):
            raise UserError("a clip is used once at least", where=f"{where}.uses")


def joined(items: Iterable[Item | Broken], rule: Join, column: str, rate: int) -> Iterator[Item | Broken]:
    """Strings of the waveforms in `column`, canonical WAV at `rate` Hz, after all items were read.

    Labels: those in which all parts agree, and `text`. Raises UserError for a label that the items lack. Broken items pass.
    """
    groups: dict[tuple[str, str, str], list[Item]] = {}
    for item in items:
        if isinstance(item, Broken):
            yield item
            continue
        for label in (rule.by, rule.text):
            if label not in item.labels:
                raise unknown("label", label, item.labels, where="reader.join")
        if item.labels[rule.by] is None or item.labels[rule.text] is None:
            yield Broken(item.id, f"no {rule.by} or no {rule.text}")
            continue
        groups.setdefault((item.split or "", item.group or "", str(item.labels[rule.by])), []).append(item)
    for key in sorted(groups):
        for use in range(rule.uses.get(key[0], 1)):
            order = sorted(groups[key], key=lambda item: _hash(rule.salt, use, item.id))
            name = "-".join([*dict.fromkeys(k for k in key if k), str(use)])
            for number, parts in enumerate(_cut(order, rule, column, rate, name)):
                yield _string(f"{name}-{number:04d}", parts, rule, column, rate)


def _cut(order: list[Item], rule: Join, column: str, rate: int, name: str) -> Iterator[list[Item]]:
    """Clips in order, part by part: lengths are drawn so that what is left over can still be shared out."""
    at = 0
    while (left := len(order) - at) >= rule.least:
        lengths = list(range(rule.least, min(rule.most, left) + 1))
        whole = [n for n in lengths if n == left or left - n >= rule.least] or lengths
        count = whole[_hash(rule.salt, "length", name, at) % len(whole)]
        while count > rule.least and _too_long(order[at : at + count], rule, column, rate):
            count -= 1
        yield order[at : at + count]
        at += count


def _too_long(parts: Sequence[Item], rule: Join, column: str, rate: int) -> bool:
    """With the longest silences, so that what is drawn later cannot matter."""
    seconds = sum(len(read_wav(p.media[column])) for p in parts) / rate + (len(parts) - 1) * rule.silence[1]
    return rule.max_seconds is not None and seconds > rule.max_seconds


def _string(name: str, parts: list[Item], rule: Join, column: str, rate: int) -> Item | Broken:
    if _too_long(parts, rule, column, rate):
        return Broken(name, f"{len(parts)} clips are longer than {rule.max_seconds:g} s: {', '.join(p.id for p in parts)}")
    pieces: list[np.ndarray] = []
    for part in parts:
        wave = read_wav(part.media[column])
        if pieces:
            low, high = rule.silence
            share = _hash(rule.salt, "silence", name, len(pieces)) / 2**64
            pieces.append(np.zeros(round((low + share * (high - low)) * rate), wave.dtype))
        pieces.append(wave)
    labels = {k: v for k, v in parts[0].labels.items() if all(p.labels.get(k) == v for p in parts)}
    written = [str(p.labels[rule.text]) for p in parts]
    labels["text"] = rule.separator.join(rule.names.get(value, value) for value in written)
    media = {column: wav_bytes(np.concatenate(pieces), rate)}
    return Item(name, media, labels, {PARTS: " ".join(p.id for p in parts)}, group=parts[0].group, split=parts[0].split)


def _hash(*words: object) -> int:
    """64 bits of what the words say."""
    return int.from_bytes(hashlib.blake2b("\0".join(map(str, words)).encode(), digest_size=8).digest(), "little")
