"""The leakage audit: what tasks are judged on, beside what they and everything they came from were trained on.

Corpora are compared by what their ingests recorded of every row (stages/common/contents.py): the same media, and, where two
corpora were read from the same files, the same id or group. Near copies within a corpus are what its ingest found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from stages.common.leakage import JUDGED
from stages.report.collect import Node
from stages.report.lineage import Lineage

HEADS = "heads"  # who is trained on a task's own train split, whichever head it is


@dataclass(frozen=True)
class Trained:
    """Who was trained on which splits of a corpus; declared: it says that it may see what tasks are judged on."""

    who: str
    corpus: str
    splits: tuple[str, ...]
    declared: bool = False


@dataclass(frozen=True)
class Seen:
    """Rows of a corpus' test split that `by` was trained on, counted by what they share; of: all of them; tasks: concerned."""

    corpus: str
    by: Trained
    content: int
    id: int
    group: int
    of: int
    tasks: list[str]


@dataclass(frozen=True)
class Audit:
    """What was found, how many pairs of a test split and a training set were compared, corpora that could not be.

    near: of each corpus that tasks are judged on, pairs of a test item and one of another split that look alike, as its ingest
    found them; None where it did not look for such (`duplicates.near`).
    """

    found: list[Seen]
    compared: int
    unknown: list[str]
    near: dict[str, int | None]

    @property
    def leaks(self) -> list[Seen]:
        """What was found and is not declared."""
        return [seen for seen in self.found if not seen.by.declared]


def audit(nodes: Iterable[Node], lineage: Lineage) -> Audit:
    """Of every task among the nodes."""
    of = {n.id: n for n in nodes}
    corpora = {n.key: n for n in of.values() if n.stage == "ingest"}
    concerned: dict[tuple[str, Trained], list[str]] = {}
    for task in (n for n in of.values() if n.stage == "fit"):
        for id in sorted({task.id, *lineage.ancestors(task.id)} & of.keys()):
            if (trained := _trained(of[id])) is not None:
                concerned.setdefault((str(task.plan.get("corpus")), trained), []).append(task.key)
    found, unknown, compared = [], set[str](), 0
    for (judged, trained), tasks in sorted(concerned.items(), key=lambda entry: (entry[0][0], entry[0][1].who)):
        missing = {c for c in (judged, trained.corpus) if c not in corpora or corpora[c].contents is None}
        unknown |= missing
        if missing:
            continue
        compared += 1
        seen = _seen(corpora[judged], corpora[trained.corpus], trained, tasks)
        if seen.content or seen.id or seen.group:
            found.append(seen)
    near = {corpus: _near(corpora[corpus]) for corpus in sorted({corpus for corpus, _ in concerned} & corpora.keys())}
    return Audit(found, compared, sorted(unknown), near)


def _trained(node: Node) -> Trained | None:
    plan = node.plan
    if node.stage == "fit":
        return Trained(HEADS, str(plan.get("corpus")), ("train",))
    if node.stage != "pretrain" or not plan.get("epochs") or (plan.get("objective") or {}).get("name") == "none":
        return None
    return Trained(node.key, str(plan.get("corpus")), tuple(plan.get("splits") or ()), bool(plan.get("transductive")))


def _seen(judged: Node, source: Node, trained: Trained, tasks: list[str]) -> Seen:
    rows, known = _rows(judged, (JUDGED,)), _rows(source, trained.splits)
    joined = judged.key != source.key and _files(judged) == _files(source)
    counts = {name: _among(rows[name], known[name]) for name in (("content", "id", "group") if joined else ("content",))}
    if judged.key == source.key and JUDGED in trained.splits:
        counts = {"content": len(rows)}  # the split itself
    return Seen(judged.key, trained, counts["content"], counts.get("id", 0), counts.get("group", 0), len(rows), tasks)


def _near(node: Node) -> int | None:
    found = (node.details.get("duplicates") or {}).get("near")
    if not found or found["policy"] == "drop":  # what was dropped is in no split
        return 0 if found else None
    return sum(pairs for between, pairs in found["between"].items() if JUDGED in between.split("-"))


def _rows(node: Node, splits: Iterable[str]) -> pa.Table:
    assert node.contents is not None
    return node.contents.filter(pc.is_in(node.contents["split"], value_set=pa.array(list(splits), pa.string())))


def _files(node: Node) -> str:
    """The digest of what a corpus was read from."""
    return str((node.details.get("source") or {}).get("digest") or node.id)


def _among(values: pa.ChunkedArray, known: pa.ChunkedArray) -> int:
    """How many of the values are in the others."""
    return int(pc.sum(pc.is_in(values, value_set=known.combine_chunks())).as_py() or 0)
