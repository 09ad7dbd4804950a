"""What the report's leakage audit found and no plan declares, as lines for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator

from stages.common.workspace import Workspace

_WORDS = {"content": "with the same media", "id": "with the same id", "group": "of the same group"}


def lines(workspace: Workspace) -> Iterator[str]:
    """One line for each training set that holds test items; nothing where the audit is missing or damaged."""
    try:
        audit = json.loads((workspace.page / "audit.json").read_bytes())
        for seen in audit["found"]:
            by = seen["by"]
            counts = [f"{seen[key]} {words}" for key, words in _WORDS.items() if seen[key]]
            if not by["declared"]:
                judged, trained = f"{seen['of']} test items of {seen['corpus']}", f"{by['corpus']} ({', '.join(by['splits'])})"
                yield f"leak: of {judged}, {by['who']} saw {', '.join(counts)}, trained on {trained}"
        for corpus, pairs in audit["near"].items():
            if pairs:
                counted = "1 pair" if pairs == 1 else f"{pairs} pairs"
                yield f"near copies: {counted} of {corpus} that look alike, one in the test and one in another split"
    except (OSError, ValueError, KeyError, TypeError):
        return
