"""python -m stages.ingest <corpus>: a node of `corpora` to data/corpora/<corpus>/."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.common import stage
from stages.common.errors import PassingError, UserError
from stages.common.records import Record
from stages.common.schema import as_plain
from stages.common.workspace import Workspace


def work(job: stage.Job) -> None:
    """Gets a corpus, checks every item, splits it by group and writes it as Parquet with a card."""
    from stages.common import contents
    from stages.ingest.core import build, gather  # here, so that `--help` and a wrong key answer at once
    from stages.ingest.core.item import Context

    mirror = os.environ.get("PRELUDE_MIRROR")
    context = Context(job.workspace.state / "downloads", Path(mirror).expanduser() if mirror else None)
    record = job.record
    job.work.mkdir(parents=True, exist_ok=True)
    try:
        with _timed(record, "fetch_s"):
            source = gather.open_source(job.node, context)
        with _timed(record, "read_s"):
            gathered = gather.gather(job.node, source, job.work, job.key, job.plan.compute.ray)
        with _timed(record, "split_s"):
            chosen = build.choose(gathered, job.node)
        with _timed(record, "write_s"):
            card = build.write(gathered, chosen, job.node, job.key, job.out)
    except UserError as error:
        if not isinstance(error, PassingError):  # what was checked serves another try, or a run after a crash
            shutil.rmtree(job.work, ignore_errors=True)
        raise
    shutil.rmtree(job.work, ignore_errors=True)
    _note(record, as_plain(card))
    if (held := build.contents(gathered, chosen)) is not None:
        record.tables[contents.NAME] = held
    record.details["reused_blocks"] = gathered.reused


def inputs(key: str, node: Any, workspace: Workspace) -> dict[str, Path]:
    return {}


def target(key: str, node: Any, workspace: Workspace) -> Path:
    return workspace.corpus(key)


def main(argv: list[str] | None = None) -> int:
    return stage.run("ingest", work, inputs, target, argv)


@contextmanager
def _timed(record: Record, name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    record.timings[name] = time.monotonic() - started


def _note(record: Record, card: dict[str, Any]) -> None:
    for split, count in card["counts"].items():
        record.metric("items", count, slice=split, n=count)
    record.metric("quarantined", card["totals"]["quarantined"])
    record.details = {k: card[k] for k in ("counts", "groups", "totals", "quarantined", "duplicates", "source", "split_digest")}
    items = card["totals"]["items"] + card["totals"]["quarantined"]
    record.throughput["items_per_s"] = items / max(sum(record.timings.values()), 1e-9)
    if card["quarantined"]:
        first = card["quarantined"][0]
        record.warn(f"{card['totals']['quarantined']:.0f} items are in quarantine, such as {first['item']}: {first['reason']}")
    for sort, found in card["duplicates"].items():
        if found["cross_split_pairs"] and found["policy"] == "report":
            record.warn(f"{found['cross_split_pairs']} pairs of {sort} copies lie in two splits: see the card's duplicates")


if __name__ == "__main__":
    sys.exit(main())
