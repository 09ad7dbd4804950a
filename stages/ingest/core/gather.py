"""From a source and a reader to the spill: every item checked, the unusable ones set aside with a reason."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.common import cluster, process, registry
from stages.common.compute import RayPlan
from stages.common.errors import UserError
from stages.common.plan import CorpusPlan
from stages.common.progress import Progress
from stages.ingest.core.blocks import Cutting, check
from stages.ingest.core.item import Broken, Context, Reader, Source
from stages.ingest.core.spill import Spilled

LISTED = 1000  # broken items that the card lists; all are counted


@dataclass
class Gathered:
    """What the first pass found: rows without splits, class orders, broken items."""

    rows: Spilled
    ids: list[str]
    source: Source
    classes: dict[str, list[str]]  # orders of class names that the reader knows
    broken: list[Broken] = field(default_factory=list)
    reused: int = 0  # blocks that an earlier, killed run had checked


def open_source(plan: CorpusPlan, context: Context) -> Source:
    """The plan's source, fetched and verified; its `digest` tells whether it changed. Raises UserError."""
    source: Source = registry.make("source", plan.source, context, where="source")
    if source.simulated and plan.provenance != "simulated":
        raise UserError(
            "the source is a simulation, the plan says provenance real", where="provenance", do="write `provenance: simulated`"
        )
    return source


def gather(plan: CorpusPlan, source: Source, folder: Path, name: str, ray: RayPlan | None = None) -> Gathered:
    """Reads all items here, checks them block by block on this machine's cores, or on a cluster, into a spill in `folder`.

    Raises UserError: no items, too many broken, a label nobody gives.
    """
    reader: Reader = registry.make("reader", plan.reader, where="reader")
    cutting = Cutting(_folder(folder, source), plan.labels)
    total = source.about.get("files")
    progress = Progress(f"ingest {name}", total, "items") if isinstance(total, int) else None
    units = cutting.blocks(reader, source)
    done = process.in_order(check, units, process.cores()) if ray is None else cluster.in_order(ray, check, units)
    with contextlib.closing(done):
        for path in done:
            cutting.join(Path(path))
            if progress:
                progress.at(len(cutting.ids))
    if progress:
        progress.close()
    _check_share(len(cutting.broken), len(cutting.ids), plan, cutting.broken)
    order = dict(getattr(reader, "class_order", {}))
    return Gathered(cutting.spilled(), cutting.ids, source, order, cutting.broken, cutting.reused)


def _folder(folder: Path, source: Source) -> Path:
    """Where the blocks of a source of this content lie: those of another one are not taken up."""
    found = folder / source.digest[:16]
    found.mkdir(parents=True, exist_ok=True)
    return found


def class_names(name: str, values: list[Any], plan: CorpusPlan, known: dict[str, list[str]]) -> list[str]:
    """The classes of a label: the plan's, else the reader's order, else those found: numbers by size, names by letter.

    Raises UserError where the values found are of one class or none.
    """
    found = {v for v in values if v is not None}
    if len(found) < 2:
        what = f"has one class only, {found.pop()!r}" if found else "has no values"
        raise UserError(f"the label {name!r} {what}", where=f"labels.{name}", do="remove the label, or correct its column")
    fixed = plan.labels[name].classes or known.get(name)
    if fixed:
        return [str(c) for c in fixed]
    return sorted(found, key=int) if all(v.isascii() and v.isdigit() for v in found) else sorted(found)


def _check_share(broken: int, good: int, plan: CorpusPlan, which: list[Broken]) -> None:
    reasons = "; ".join(f"{b.item}: {b.reason}" for b in which[:3])
    if good == 0:
        what = f"none of {broken} items can be used: {reasons}" if broken else "the source holds no items for this reader"
        raise UserError(what, where="source, reader", do="check the source's patterns and the reader")
    if broken > plan.quarantine_share * (broken + good):
        raise UserError(
            f"{broken} of {broken + good} items are broken, more than the share {plan.quarantine_share:g}: {reasons}",
            where="quarantine_share",
            do="mend or exclude the items, or raise `quarantine_share`",
        )
