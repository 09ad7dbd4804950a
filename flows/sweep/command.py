"""`prelude sweep`: composes a plan, adds the variants, runs it, compares them and chooses one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.sweep import choices, space, variants
from flows.sweep.variants import Spread
from stages.common.errors import UserError, unknown
from stages.common.plan import COMPOSED, SECTIONS
from stages.common.workspace import Workspace

RANKME = "rankme"
PRETRAINING = ("rankme", "feature_std", "knn_accuracy")  # what the record of an encoder holds
_SHOWN = 6  # nodes of a variant in a dry run


@dataclass(frozen=True)
class Request:
    """A sweep as it was asked for. words: KEY=V1,V2, systems, and targets such as `fit@probe_simclr`."""

    words: Sequence[str]
    systems: Sequence[str] = ()
    overrides: Sequence[str] = ()
    draws: int | None = None
    seed: int = 0
    select: str | None = None  # None: RankMe, where the sweep has it
    name: str | None = None
    dry: bool = False
    keep_going: bool = False
    workers: int | None = None
    wait: bool = False
    prefect: bool = True
    axes: list[str] = field(init=False)
    targets: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Sorts the words: an axis has a =, a target a @."""
        given = [w for w in self.words if "=" not in w]
        targets = [w for w in given if "@" in w or w == "report"]
        object.__setattr__(self, "axes", [w for w in self.words if "=" in w])
        object.__setattr__(self, "targets", targets)
        named = [*self.systems, *(w for w in given if w not in targets)]
        object.__setattr__(self, "systems", list(dict.fromkeys(named)) or ["quickstart"])


def sweep(root: Path, asked: Request) -> int:
    """Runs it; returns the exit code. Raises UserError before anything is written where the sweep makes no sense."""
    from flows import compose

    name = asked.name
    if name is not None and variants.slug(name) != name:
        raise UserError(f"{name!r} is no name for a sweep", where="--name", do="use letters, digits and _ only")
    points = space.points(space.axes(asked.axes), asked.draws, asked.seed)
    data, _ = compose.make(root, asked.systems, asked.overrides)
    made = variants.spread(data, points)
    select = _select(made, asked.select)
    if asked.dry:
        print(foreseen(made))
        return 0
    write(root, made, asked.axes, wait=asked.wait)
    return _run(root, asked, made, select, name or choices.default_name(list(points[0])))


def write(root: Path, made: Spread, axes: Sequence[str], *, wait: bool = False) -> None:
    """params.yaml with the variants, put in place as by `prelude plan`."""
    from flows import compose

    over = " ".join(" ".join(axes).split())
    head = f"{COMPOSED}# Swept over {over} by `prelude sweep`.\n"
    compose.put(
        root, made.plan, head + compose.text(made.data).removeprefix(COMPOSED), f"planning a sweep of {over}", wait=wait
    )


def foreseen(made: Spread) -> str:
    """The variants and the nodes that each adds; nothing is written for it."""
    lines = []
    for variant in made.variants:
        added = [f"{s}.{name}" for (s, base), name in variant.nodes.items() if name != base]
        more = f" and {len(added) - _SHOWN} more" if len(added) > _SHOWN else ""
        lines.append(f"{variant.name}: {', '.join(added[:_SHOWN]) + more if added else 'the base itself'}")
    stages = sum(len(getattr(made.plan, section)) for section in SECTIONS.values()) + 1
    copies = sum(map(len, made.added.values()))
    return "\n".join([*lines, f"{len(made.variants)} variants, {copies} nodes added, {stages} stages in all; nothing written"])


def targets(made: Spread, given: Sequence[str]) -> list[str] | None:
    """The targets with the variants of the nodes they name."""
    found: list[str] = []
    for target in given:
        stage, _, key = target.partition("@")
        section = SECTIONS.get(stage, "")
        copies = [name for name in made.added.get(section, []) if made.data[section][name]["variant_of"] == key]
        found += [target, *(f"{stage}@{name}" for name in copies)]
    return found or None


def _select(made: Spread, name: str | None) -> str | None:
    """The measure to choose by. Raises UserError where no node of the sweep can report it: before the run, not after."""
    offered: set[str] = set()
    for section, node in {node for variant in made.variants for node in variant.nodes}:
        if section == "encoders":
            offered.update(PRETRAINING)
        elif section == "tasks":
            task = made.plan.tasks[node]
            offered.update(task.metrics, task.head.args.get("names") or [])
    if name is not None and name not in offered:
        raise unknown("measure of this sweep", name, offered, where="--select")
    return name or (RANKME if RANKME in offered else None)


def _run(root: Path, asked: Request, made: Spread, select: str | None, name: str) -> int:
    from flows import pipeline
    from flows.sweep import figures, selection, table
    from flows.tracking.sync import replay

    outcome = pipeline.run(
        targets(made, asked.targets),
        root=root,
        name=f"sweep {name}",
        keep_going=asked.keep_going,
        workers=asked.workers,
        wait=asked.wait,
        prefect=asked.prefect,
    )
    if outcome.stopped:
        return 130
    workspace = Workspace(root)
    found = figures.read_all(workspace, made.plan, made.variants, {*outcome.failed, *outcome.skipped})
    there = select is not None and any(m.name == select for m in found.measures)
    choice = selection.choose(found, made.plan, found.named(select)) if select and there else None
    table.show(found, choice, found.oracle(made.plan))
    if select and not there:
        print(f"nothing is chosen: no variant has a figure {select!r}")
    if choice is not None and choice.by.index is not None:
        changed = choices.write(workspace, name, list(asked.axes), list(asked.systems), found, choice)
        print(f"written: {choices.summary(choices.path(workspace, name))}")
        if changed:
            for problem in replay(workspace, made.plan, run_name=f"sweep {name}").problems:
                print(f"note: {problem}")
    return 1 if outcome.failed else 0
