"""Where a node stands among the others: what it read, all that this rests on, and all that rests on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common import atomic
from stages.common.errors import UserError
from stages.common.plan import SECTIONS, Plan
from stages.common.workspace import Workspace

Record = dict[str, Any]
Records = Mapping[str, Record]  # by name, such as `fit@probe`


@dataclass(frozen=True)
class Read:
    """One node read a folder. node: who; path: what; of: the node that makes it; digest: of what was read.

    there: the digest of what lies there now; empty where nothing does.
    """

    node: str
    path: str
    of: str
    digest: str
    there: str

    @property
    def stale(self) -> bool:
        """Whether what was read is not what is there now."""
        return self.digest != self.there


def name(record: Record) -> str:
    """`stage@key`."""
    return f"{record['stage']}@{record['key']}"


def records(workspace: Workspace) -> dict[str, Record]:
    """All records by name, in the order of the stages."""
    found = {}
    for path in sorted(workspace.data.glob("records/*/*/record.json")):
        record = atomic.read_json(path)
        found[name(record)] = record
    return dict(sorted(found.items(), key=lambda item: _level(item[0])))


def reads(workspace: Workspace, all_of_them: Records, node: str) -> list[Read]:
    """What a node read, each folder once, with what lies there now."""
    makers = {out["path"]: maker for maker, record in all_of_them.items() for out in record["outputs"]}
    inputs = {i["path"]: i["digest"] for i in all_of_them[node]["inputs"]}
    return [
        Read(node, path, makers.get(path) or maker(path.removeprefix("data/")), digest, _there(workspace.root / path))
        for path, digest in inputs.items()
    ]


def upstream(workspace: Workspace, all_of_them: Records, node: str) -> list[Read]:
    """All reads that a node rests on: its own, those of the nodes it read from, and so on to the corpora."""
    found: list[Read] = []
    seen, ahead = {node}, [node]
    while ahead:
        for read in reads(workspace, all_of_them, ahead.pop(0)):
            found.append(read)
            if read.of in all_of_them and read.of not in seen:
                seen.add(read.of)
                ahead.append(read.of)
    return found


def readers(all_of_them: Records, node: str) -> list[str]:
    """The nodes that read what a node made, as it is recorded now: two nodes may well make the same content."""
    made = {(out["path"], out["digest"]) for out in all_of_them[node]["outputs"]}
    return sorted(n for n, r in all_of_them.items() if made & {(i["path"], i["digest"]) for i in r["inputs"]})


def downstream(all_of_them: Records, node: str) -> list[str]:
    """All nodes that rest on what a node made."""
    found: dict[str, None] = {}
    ahead = readers(all_of_them, node)
    while ahead:
        one = ahead.pop(0)
        if one not in found:
            found[one] = None
            ahead += readers(all_of_them, one)
    return list(found)


def levels(names: Iterable[str]) -> dict[str, list[str]]:
    """{stage: keys}, in the order of the stages."""
    found: dict[str, list[str]] = {}
    for one in sorted(dict.fromkeys(names), key=_level):
        stage, _, key = one.partition("@")
        found.setdefault(stage, []).append(key)
    return found


def planned(plan: Plan) -> dict[str, list[str]]:
    """{name: the paths it reads, such as `corpora/digits`} of all nodes of a plan."""
    found: dict[str, list[str]] = {f"ingest@{key}": [] for key in plan.corpora}
    found |= {f"pretrain@{k}": [f"corpora/{n.corpus}", n.parent] for k, n in plan.encoders.items()}
    found |= {f"extract@{k}": [f"encoders/{n.encoder}", f"corpora/{n.corpus}"] for k, n in plan.features.items()}
    found |= {f"fit@{k}": [f"features/{n.features}", n.support, f"corpora/{n.corpus}"] for k, n in plan.tasks.items()}
    found |= {f"evaluate@{k}": [f"tasks/{k}/{task}" for task in plan.tasks_of(k)] for k in plan.systems}
    return {node: list(dict.fromkeys(paths)) for node, paths in found.items()}


def maker(path: str) -> str:
    """The node that makes a path of the plan: `features/simclr` is made by `extract@simclr`."""
    section, _, rest = path.partition("/")
    stage = next((s for s, named in SECTIONS.items() if named == section), section)
    return f"{stage}@{rest.rpartition('/')[2]}"


def _there(folder: Path) -> str:
    """The digest of what lies in a folder now, by its manifest."""
    try:
        return str(atomic.read_json(folder / atomic.MANIFEST)["digest"])
    except (UserError, KeyError, TypeError):
        return ""


def _level(node: str) -> int:
    order = list(SECTIONS)
    stage = node.partition("@")[0]
    return order.index(stage) if stage in order else len(order)
