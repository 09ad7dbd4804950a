"""From the spill to the corpus: splits, duplicates, limits, class indices, shards and card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.common.contents import MOST, table
from stages.common.corpus import KEYS, Card, Column, CorpusWriter, write_card
from stages.common.errors import UserError, unknown
from stages.common.plan import CorpusPlan
from stages.ingest.core import codes, duplicates, splits
from stages.ingest.core.gather import LISTED, Gathered, class_names
from stages.ingest.core.perceptual import Looks, looks_of

_CHUNK = 1024  # rows written at a time


@dataclass
class Chosen:
    """The rows of the corpus, by id: places in the spill, and the split of each."""

    rows: np.ndarray
    ids: list[str]
    groups: list[str]
    splits: list[str]
    duplicates: dict[str, Any]


def choose(gathered: Gathered, plan: CorpusPlan) -> Chosen:
    """Splits the rows, drops copies, applies limits, reports copies in what is left. Raises UserError (see splits.py)."""
    spilled, ids = gathered.rows, gathered.ids
    groups = spilled.column("group", ids)
    rows = splits.Rows(ids, groups, spilled.column("split"), _strata(gathered, plan))
    assigned = splits.assign(rows, plan.split)
    keep, contents = np.ones(len(ids), bool), duplicates.numbered(spilled.contents())
    card: dict[str, Any] = {}
    for policy in ("drop", "report"):
        if plan.duplicates.exact == policy:
            card["exact"] = _copies("exact", gathered, plan, contents, assigned, keep)
        if plan.duplicates.near == policy:
            card["near"] = _copies("near", gathered, plan, contents, assigned, keep)
        if policy == "drop":
            keep &= splits.limited(rows, assigned, keep, plan.limit, plan.split.salt)
    order = sorted(np.flatnonzero(keep).tolist(), key=ids.__getitem__)
    kept = [assigned[i] for i in order]
    for name in sorted(set(assigned) - set(kept)):
        raise UserError(f"nothing is left of the split {name!r}", where="duplicates", do="report duplicates, do not drop them")
    return Chosen(np.array(order, np.int64), [ids[i] for i in order], [groups[i] for i in order], kept, card)


def contents(gathered: Gathered, chosen: Chosen) -> pa.Table | None:
    """Digests of the chosen rows, by which corpora are compared; None where there are too many."""
    if len(chosen.ids) > MOST:
        return None
    return table(chosen.splits, chosen.ids, chosen.groups, gathered.rows.contents().take(pa.array(chosen.rows)))


def write(gathered: Gathered, chosen: Chosen, plan: CorpusPlan, name: str, folder: Path) -> Card:
    """Writes shards and card, rows in the order of their ids."""
    spilled = gathered.rows
    labels = [_label_column(gathered, label, plan, chosen) for label in plan.labels]
    columns = [*KEYS, *labels, *spilled.media, *spilled.meta]
    writer = CorpusWriter(folder, columns, plan.shard_mb << 20)
    totals: dict[str, float] = {}
    for start in range(0, len(chosen.rows), _CHUNK):
        batch = spilled.take(chosen.rows[start : start + _CHUNK])
        keys = {"id": batch["id"], "group": batch["group"], "split": pa.array(chosen.splits[start : start + _CHUNK])}
        arrays = [keys[c.name] if c.name in keys else _stored(batch, c) for c in columns]
        writer.write(pa.RecordBatch.from_arrays(arrays, schema=writer.schema))
        for pairs in batch["amounts"].to_pylist():
            for unit, amount in pairs:
                totals[unit] = totals.get(unit, 0.0) + amount
    writer.close()
    names = splits.in_order(set(chosen.splits))
    groups = {n: len({g for g, split in zip(chosen.groups, chosen.splits, strict=True) if split == n}) for n in names}
    card = Card(
        name=name,
        title=plan.title,
        licence=plan.licence,
        provenance=plan.provenance,
        source={"name": gathered.source.name, "digest": gathered.source.digest, **gathered.source.about},
        columns=columns,
        counts={n: chosen.splits.count(n) for n in names},
        groups=groups,
        shards=writer.shards,
        split_digest=splits.split_digest(chosen.ids, chosen.splits),
        totals={"items": float(len(chosen.ids)), "quarantined": float(len(gathered.broken)), **_rounded(totals)},
        quarantined=[{"item": b.item, "reason": b.reason} for b in gathered.broken[:LISTED]],
        duplicates=chosen.duplicates,
    )
    if plan.tokenizer is not None:
        from stages.ingest.core import tokenizer  # its library is loaded where a corpus wants one

        card = replace(card, vocabulary=tokenizer.train(folder, card, plan.tokenizer))
    if plan.codes is not None:
        card = replace(card, columns=codes.learned(folder, card, plan.codes))
    write_card(folder, card)
    return card


def _rounded(totals: dict[str, float]) -> dict[str, float]:
    return {unit: round(amount, 6) for unit, amount in totals.items()}


def _strata(gathered: Gathered, plan: CorpusPlan) -> Sequence[str | None]:
    name = plan.split.stratify
    if name is None:
        return []
    if name not in plan.labels:
        raise unknown("label", name, plan.labels, where="split.stratify")
    if plan.labels[name].kind != "class":
        raise UserError(f"the label {name!r} is no class", where="split.stratify", do="stratify by a class label")
    return gathered.rows.column(f"label:{name}")


def _copies(
    sort: str, gathered: Gathered, plan: CorpusPlan, contents: np.ndarray, assigned: list[str], keep: np.ndarray
) -> dict[str, Any]:
    """Looks for copies among the rows of `keep`, clears those to drop there, and says for the card what it found."""
    left = np.flatnonzero(keep)
    some = [gathered.ids[i] for i in left], [assigned[i] for i in left], contents[left]
    if sort == "exact":
        found = duplicates.exact(*some, plan.duplicates.exact == "drop")
        more: dict[str, Any] = {}
    else:
        distance = plan.duplicates.distance
        if not 0 <= distance <= 16:
            raise UserError(f"the distance is {distance} bits", where="duplicates.distance", do="choose 0 to 16")
        found = duplicates.near(*some, _looks(gathered, left), distance, plan.duplicates.near == "drop")
        more = {"distance": distance, "skipped": found.skipped}
    keep[left[sorted(found.dropped)]] = False
    return found.card(getattr(plan.duplicates, sort), **more)


def _looks(gathered: Gathered, rows: np.ndarray) -> Looks:
    pictures = [c for c in gathered.rows.media if c.kind in ("image", "pixels")]
    if not pictures:
        raise UserError("the corpus has no images to compare", where="duplicates.near", do="write `near: off`")
    name = f"media:{pictures[0].name}"
    chunks = (gathered.rows.take(rows[i : i + _CHUNK])[name] for i in range(0, len(rows), _CHUNK))
    return looks_of(pictures[0], chunks)


def _label_column(gathered: Gathered, name: str, plan: CorpusPlan, chosen: Chosen) -> Column:
    label = plan.labels[name]
    values = gathered.rows.column(f"label:{name}")
    kept = [values[i] for i in chosen.rows]
    if label.kind == "class":
        return Column(name, "label", "class", classes=class_names(name, kept, plan, gathered.classes))
    if all(v is None for v in kept):
        raise UserError(
            f"the label {name!r} has no values", where=f"labels.{name}", do="remove the label, or correct its column"
        )
    if label.kind == "steps":
        return Column(name, "label", "steps", shape=[-1, label.width], classes=label.classes)
    return Column(name, "label", label.kind, unit=label.unit)


def _stored(batch: pa.RecordBatch, column: Column) -> pa.Array:
    values = batch[f"{column.role}:{column.name}"]
    if column.kind == "class":
        return pc.index_in(values, value_set=pa.array(column.classes, pa.string())).cast(pa.int64())
    return values
