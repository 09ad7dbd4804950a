"""What a plan itself says of leaks: which encoders a task rests on, and whether one is trained on what it is judged on."""

from __future__ import annotations

from stages.common.errors import UserError
from stages.common.plan import Plan

JUDGED = "test"  # the split that tasks are judged on


def check(plan: Plan) -> None:
    """Raises UserError where an encoder is trained on the test split of a task that rests on it, and does not declare it."""
    for name in plan.tasks:
        for encoder in sorted(encoders(name, plan)):
            node = plan.encoders[encoder]
            trains = node.epochs > 0 and node.objective.name != "none"
            if trains and node.corpus == plan.tasks[name].corpus and JUDGED in node.splits and not node.transductive:
                raise UserError(
                    f"it trains on the split {JUDGED!r}, on which the task {name!r} is judged",
                    where=f"encoders.{encoder}.splits",
                    do=f"leave {JUDGED!r} out, or declare it with `transductive: true`: the report says so then",
                )


def encoders(task: str, plan: Plan) -> set[str]:
    """Every encoder that a task's features and supports come from, parents included. The plan's references are sound."""
    found: set[str] = set()
    node = plan.tasks[task]
    for path in (f"features/{node.features}", node.support):
        kind, _, key = path.partition("/")
        if kind == "tasks":
            found |= encoders(key.rpartition("/")[2], plan)
            continue
        encoder: str | None = plan.features[key].encoder if kind == "features" else key
        while encoder is not None:
            found.add(encoder)
            parent = plan.encoders[encoder].parent
            encoder = parent.removeprefix("encoders/") if parent.startswith("encoders/") else None
    return found
