"""`prelude ingest-check PATH`: what a folder or a table would become, tried in full; --write keeps the configuration."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from stages.common import atomic
from stages.common.corpus import Card
from stages.common.errors import UserError

HEADER = "# Written by `prelude ingest-check`; edit what it got wrong, then name it in a system.\n"


def check(root: Path, path: Path, write: str | None = None) -> str:
    """What is said of PATH: the configuration, what led to it, and what an ingest of it gave. Raises UserError.

    With `write` the configuration becomes params/corpus/<write>.yaml, which must not be there yet.
    """
    from stages.ingest.core.guess import guess

    target = root / "params" / "corpus" / f"{write}.yaml"
    if write is not None and not re.fullmatch(r"[A-Za-z0-9_]+", write):
        raise UserError(f"{write!r} is no name of a corpus", where="--write", do="use letters, digits and _ only")
    if write is not None and target.exists():
        raise UserError("this corpus is configured already", where=target, do="choose another name, or remove the file")
    found = guess(path)
    shown = found.plan
    if path.resolve().is_relative_to(root.resolve()):  # so that the workspace can be moved
        place = "path" if "path" in shown["source"] else "url"
        shown = {**shown, "source": {**shown["source"], place: path.resolve().relative_to(root.resolve()).as_posix()}}
    text = yaml_of(shown)
    lines = [*found.notes, "", text.rstrip("\n"), "", *_tried(found.plan)]
    if write is not None:
        atomic.write_text(target, HEADER + text)
        lines += ["", f"written: {target.relative_to(root)}", f"try it: - /corpus@corpora.{write}: {write}"]
    return "\n".join(lines)


def yaml_of(plan: dict[str, Any]) -> str:
    """The configuration as a user edits it."""
    import yaml

    return yaml.safe_dump(plan, sort_keys=False, allow_unicode=True, width=120)


def _tried(plan: dict[str, Any]) -> list[str]:
    """The corpus that the plan makes, in a folder that is thrown away."""
    from stages.common import stage
    from stages.common.corpus import Corpus
    from stages.common.plan import Plan
    from stages.common.schema import build
    from stages.common.workspace import Workspace
    from stages.ingest.__main__ import inputs, target, work

    with tempfile.TemporaryDirectory(prefix="prelude-check-") as folder:
        whole = build(Plan, {"corpora": {"checked": plan}}, "the configuration")
        try:
            card = Corpus(stage.execute("ingest", "checked", whole, Workspace(Path(folder)), work, inputs, target)).card
        except UserError as error:
            return [f"an ingest of it stops: {error}"]
    return _said(card)


def _said(card: Card) -> list[str]:
    lines = ["an ingest of it gives"]
    lines.append("  items    " + ", ".join(f"{name} {count}" for name, count in card.counts.items()))
    lines.append("  groups   " + ", ".join(f"{name} {count}" for name, count in card.groups.items()))
    for column in card.columns:
        if column.role in ("label", "media"):
            about = f", shape {column.shape}" if column.shape else ""
            about = f" of {len(column.classes)} classes" if column.classes else about
            rate = f", {column.rate} Hz" if column.rate else ""
            lines.append(f"  {column.role:8} {column.name}: {column.kind}{about}{rate}")
    amounts = {k: v for k, v in card.totals.items() if k not in ("items", "quarantined")}
    lines.append("  amounts  " + ", ".join(f"{value:g} {unit}" for unit, value in amounts.items()))
    if card.quarantined:
        lines.append(f"  quarantined {card.totals['quarantined']:g}, such as:")
        lines += [f"    {q['item']}: {q['reason']}" for q in card.quarantined[:5]]
    for sort, copies in card.duplicates.items():
        if copies.get("cross_split_pairs"):
            lines.append(f"  {sort} copies in two splits: {copies['cross_split_pairs']} pairs")
    return lines
