"""The vocabulary of a column of events: the codes of the train split, kept on the column as its `classes`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc

from stages.common.corpus import Card, Column, Corpus
from stages.common.errors import UserError


def learned(folder: Path, card: Card, most: int) -> list[Column]:
    """The card's columns, those of events with their `most` frequent codes of the train split as classes, in that order.

    Of equally frequent codes the first by letter. Raises UserError: no column of events, no train split, `most` below 1.
    """
    columns = [c for c in card.columns if c.role == "media" and c.kind == "events"]
    if most < 1:
        raise UserError(f"a vocabulary of {most} codes", where="codes", do="write 1 or more")
    if not columns or "train" not in card.counts:
        raise UserError("the corpus has no events to learn codes from in a train split", where="codes", do="leave `codes` out")
    corpus = Corpus.unsealed(folder, card)
    counts: dict[str, Counter[str]] = {c.name: Counter() for c in columns}
    for batch in corpus.batches(list(counts), ["train"]):
        for name, count in counts.items():
            for found in pc.value_counts(batch.column(name).flatten().field("code")).to_pylist():
                count[found["values"]] += found["counts"]
    ranked = {name: sorted(count, key=lambda c: (-count[c], c))[:most] for name, count in counts.items()}
    return [replace(c, classes=ranked[c.name]) if c.name in ranked else c for c in card.columns]
