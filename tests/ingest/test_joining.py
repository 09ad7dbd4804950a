"""Clips joined to strings: which meet, what text they have, and what they depend on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common.corpus import Corpus
from stages.common.errors import UserError
from stages.common.media import read_wav
from stages.ingest.core.item import Broken, Item
from stages.ingest.core.joining import Join, joined
from tests.ingest.making import ingest, put, tone

PATTERN = r"(?P<id>(?P<digit>\d)_(?P<group>(?P<who>[a-z]+))_\d+)\.wav$"
JOIN = {"by": "who", "text": "digit", "least": 2, "most": 4}


def plan(path: Path, **join: Any) -> dict[str, Any]:
    reader = {
        "name": "audio_folder",
        "pattern": PATTERN,
        "splits": {"train": ["ann", "bob"], "test": ["cyd"]},
        "join": JOIN | join,
    }
    labels = {"text": {"kind": "text"}, "who": {"kind": "class"}}
    source = {"name": "folder", "path": str(path)}
    return {"source": source, "reader": reader, "labels": labels, "split": {"by": "declared"}, "quarantine_share": 0.5}


def clips(folder: Path, each: int = 3) -> Path:
    names = [(digit, who, i) for who in ("ann", "bob", "cyd") for digit in range(5) for i in range(each)]
    return put(folder, {f"{d}_{w}_{i}.wav": tone(n, seconds=0.05 + 0.01 * d) for n, (d, w, i) in enumerate(names)})


def rows(corpus: Corpus) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = corpus.table(["id", "split", "group", "text", "who", "parts", "audio"]).to_pylist()
    return found


def test_a_string_is_its_clips_one_after_another_with_their_text(tmp_path: Path) -> None:
    folder = clips(tmp_path / "f")
    found = rows(ingest(tmp_path / "w", plan(folder, silence=[0.01, 0.02])))
    for row in found:
        names = row["parts"].split()
        assert 2 <= len(names) <= 4
        assert row["text"] == "".join(n[0] for n in names)
        assert {n.split("_")[1] for n in names} == {row["group"]}
        wave, at = read_wav(row["audio"]["bytes"]), 0
        for i, name in enumerate(names):
            part = read_wav((folder / f"{name}.wav").read_bytes())
            if i:
                silence = int((wave[at:] != 0).argmax())
                assert not wave[at : at + 80].any() and silence <= 162  # a tone begins with zero
                at += next(s for s in range(80, 161) if np.array_equal(wave[at + s : at + s + len(part)], part))
            assert np.array_equal(wave[at : at + len(part)], part)
            at += len(part)
        assert at == len(wave)


def test_each_clip_is_used_as_often_as_its_split_says_each_time_among_others(tmp_path: Path) -> None:
    found = rows(ingest(tmp_path / "w", plan(clips(tmp_path / "f"), uses={"train": 3})))
    for split, uses in (("train", 3), ("test", 1)):
        used = [name for row in found if row["split"] == split for name in row["parts"].split()]
        counts = {name: used.count(name) for name in used}
        assert set(counts.values()) == {uses} and len(counts) == (30 if split == "train" else 15)
    strings = [row["parts"] for row in found]
    assert len(set(strings)) == len(strings)


def test_the_order_of_files_does_not_matter_and_the_salt_does(tmp_path: Path) -> None:
    items = [
        Item(f"{d}_ann_{i}", {"audio": tone(d)}, {"who": "ann", "digit": str(d)}, group="ann")
        for d in range(5)
        for i in range(4)
    ]

    def strings(given: list[Item], **changes: Any) -> list[str]:
        rule = Join(**(JOIN | changes))  # type: ignore[arg-type]
        return [item.meta["parts"] for item in joined(given, rule, "audio", 8000) if isinstance(item, Item)]

    assert strings(items) == strings(items[::-1])
    assert strings(items) != strings(items, salt=1)
    assert len({len(s.split()) for s in strings(items * 1)}) > 1


@pytest.mark.parametrize("n", range(1, 40))
def test_what_can_be_shared_out_leaves_no_clip_over(n: int) -> None:
    items = [Item(f"c{i}", {"audio": tone(i)}, {"who": "ann", "digit": "1"}) for i in range(n)]
    rule = Join(by="who", text="digit", least=3, most=6)
    lengths = [len(i.meta["parts"].split()) for i in joined(items, rule, "audio", 8000) if isinstance(i, Item)]
    assert sum(lengths) == (n if n >= 3 else 0)
    assert all(3 <= length <= 6 for length in lengths)


def test_strings_end_before_they_are_too_long_and_what_cannot_is_broken() -> None:
    items = [Item(f"c{i}", {"audio": tone(i, seconds=0.5)}, {"who": "ann", "digit": "1"}) for i in range(12)]
    rule = Join(by="who", text="digit", least=2, most=6, max_seconds=1.6, silence=(0.0, 0.1))
    found = list(joined(items, rule, "audio", 8000))
    assert all(isinstance(i, Item) and len(i.meta["parts"].split()) == 2 for i in found)
    broken = list(joined(items, Join(by="who", text="digit", least=2, most=6, max_seconds=0.9), "audio", 8000))
    assert all(isinstance(b, Broken) and "longer than 0.9 s" in b.reason for b in broken)


def test_names_spell_the_values_and_what_is_broken_passes() -> None:
    items: list[Item | Broken] = [Broken("x", "damaged"), Item("y", {"audio": tone(0)}, {"who": None, "digit": "1"})]
    items += [Item(f"c{i}", {"audio": tone(i)}, {"who": "ann", "digit": str(i)}) for i in range(2)]
    rule = Join(by="who", text="digit", least=2, most=2, separator=" ", names={"0": "zero", "1": "one"})
    first, second, string = joined(items, rule, "audio", 8000)
    assert isinstance(first, Broken) and first.reason == "damaged"
    assert isinstance(second, Broken) and "no who" in second.reason
    assert isinstance(string, Item) and sorted(string.labels["text"].split()) == ["one", "zero"]
    assert string.labels["who"] == "ann" and "digit" not in string.labels


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"least": 5}, "1 <= least <= most"),
        ({"silence": [0.2, 0.1]}, r"write \[low, high\]"),
        ({"uses": {"train": 0}}, "once at least"),
        ({"by": "hwo"}, "did you mean 'who'"),
        ({"spoken": "digit"}, "spoken"),
    ],
)
def test_a_mistake_is_one_clear_error(tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        ingest(tmp_path / "w", plan(clips(tmp_path / "f", each=1), **wrong))


def test_without_join_clips_stay_as_they_are(tmp_path: Path) -> None:
    given = plan(clips(tmp_path / "f"))
    del given["reader"]["join"]
    corpus = ingest(tmp_path / "w", given | {"labels": {"digit": {"kind": "class"}}})
    assert corpus.count() == 45 and "parts" not in [c.name for c in corpus.card.columns]
