"""Checks a plan whole: names, references between nodes, parts and their arguments, numbers that make sense."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from stages.common import leakage, registry
from stages.common.claim import ClaimPlan
from stages.common.errors import UserError, unknown
from stages.common.media import SPECIAL
from stages.common.plan import SECTIONS, EncoderPlan, Plan, SplitPlan, TaskPlan
from stages.common.schema import convert

_SLUG = re.compile(r"[A-Za-z0-9_]+")


def validate(plan: Plan) -> None:
    """Checks names, references between nodes, and every part's arguments. Raises UserError at the first mistake."""
    for section in SECTIONS.values():
        for key in getattr(plan, section):
            if not _SLUG.fullmatch(key):
                raise UserError(f"{key!r} is not a slug", where=section, do="use letters, digits and _ only")
        if section != "systems":
            _variants(section, getattr(plan, section))
    if plan.compute.ray is not None:
        _at_least(1, "compute.ray", plan.compute.ray, "object_store_mb")
        _at_least(0, "compute.ray", plan.compute.ray, "retries")
    for name, corpus in plan.corpora.items():
        _parts(f"corpora.{name}", corpus, ("source", "reader"))
        _split(corpus.split, f"corpora.{name}.split")
        for label, labelled in corpus.labels.items():
            if labelled.kind == "steps" and not labelled.classes:
                raise UserError("a label of steps needs its `classes`", where=f"corpora.{name}.labels.{label}")
            _at_least(1, f"corpora.{name}.labels.{label}", labelled, "width")
        if corpus.tokenizer is not None:
            _at_least(len(SPECIAL) + 1, f"corpora.{name}.tokenizer", corpus.tokenizer, "vocabulary")
        _at_least(1, f"corpora.{name}", corpus, "shard_mb", "limit")
        if not 0 <= corpus.quarantine_share <= 1:
            raise UserError(
                f"quarantine_share must lie between 0 and 1, got {corpus.quarantine_share}", where=f"corpora.{name}"
            )
    for name, encoder in plan.encoders.items():
        where = f"encoders.{name}"
        _refer("corpus", encoder.corpus, plan.corpora, where)
        _parts(where, encoder, ("frontend", "backbone", "views", "objective"))
        parents = [f"corpora/{encoder.corpus}", *(f"encoders/{e}" for e in plan.encoders)]
        _path(encoder.parent, parents, f"{where}.parent", f"write {parents[0]} for none, or encoders/<name>")
        _at_least(1, where, encoder, "batch_size", "accumulate", "snapshot_every", "threads")
        _at_least(0, where, encoder, "epochs")
        _at_least(1, f"{where}.monitor", encoder.monitor, "every", "k")
        _seeds(encoder.seeds, f"{where}.seeds")
        if encoder.use == "teacher" and not encoder.parent.startswith("encoders/"):
            raise UserError("there is no parent to be the teacher", where=f"{where}.use", do="write `parent: encoders/<name>`")
        if encoder.monitor.label is not None:
            _refer("label", encoder.monitor.label, plan.corpora[encoder.corpus].labels, f"{where}.monitor")
        streamed(encoder, where)
    _acyclic("encoders", "parent", {name: e.parent for name, e in plan.encoders.items()})
    for name, features in plan.features.items():
        _refer("corpus", features.corpus, plan.corpora, f"features.{name}")
        _refer("encoder", features.encoder, plan.encoders, f"features.{name}")
        _parts(f"features.{name}", features, ("views",))
        _at_least(1, f"features.{name}", features, "copies", "batch_size", "shard_rows", "threads", "limit")
    for name, task in plan.tasks.items():
        _task(name, task, plan)
    _acyclic("tasks", "support", {name: t.support for name, t in plan.tasks.items()})
    leakage.check(plan)
    for name, system in plan.systems.items():
        for claim_name, claim in system.claims.items():
            _claim(f"systems.{name}.claims.{claim_name}", claim, plan.tasks_of(name))


def streamed(node: EncoderPlan, where: str) -> None:
    """What a node with `stream:` cannot have. Raises UserError."""
    if node.stream is None:
        return
    _at_least(1, f"{where}.stream", node.stream, "window")
    if node.pairs is not None:
        raise UserError(
            "an item's partner may lie anywhere in the corpus, a stream has what lies near at hand",
            where=f"{where}.pairs",
            do="leave out `stream:`, so that the corpus is decoded whole, or leave out `pairs:`",
        )


def _variants(section: str, nodes: Mapping[str, Any]) -> None:
    """A variant names a base of its section, and what was varied in its lineage; a base is no variant itself."""
    for name, node in nodes.items():
        where = f"{section}.{name}"
        if (node.variant_of is None) != (not node.varied):
            raise UserError("`variant_of` and `varied` go together", where=where, do="name the base and the keys that differ")
        for key in node.varied:
            if key.count(".") < 2 or key.partition(".")[0] not in SECTIONS.values():
                raise UserError(f"{key!r} is no key of a node", where=f"{where}.varied", do="write encoders.<name>.<key>")
        if node.variant_of is None:
            continue
        _refer("node", node.variant_of, nodes, f"{where}.variant_of")
        if nodes[node.variant_of].variant_of is not None:
            raise UserError(f"{node.variant_of!r} is a variant itself", where=f"{where}.variant_of", do="name its base")


def _task(name: str, task: TaskPlan, plan: Plan) -> None:
    where = f"tasks.{name}"
    _refer("system", task.system, plan.systems, where)
    _refer("features", task.features, plan.features, where)
    _refer("corpus", task.corpus, plan.corpora, where)
    if plan.features[task.features].corpus != task.corpus:
        other = plan.features[task.features].corpus
        raise UserError(f"its features are of corpus {other!r}, its labels of {task.corpus!r}", where=where)
    layers = plan.features[task.features].layers
    if task.layer is not None and task.layer not in layers:
        raise unknown("layer", str(task.layer), map(str, layers), where=f"{where}.layer")
    supports = [f"{section}/{key}" for section in ("features", "encoders") for key in getattr(plan, section)]
    supports += [f"tasks/{t.system}/{key}" for key, t in plan.tasks.items()]
    do = f"write features/{task.features} for none, or features/<name>, encoders/<name>, tasks/<system>/<name>"
    _path(task.support, supports, f"{where}.support", do)
    registry.check("head", task.head, f"{where}.head")
    for metric in task.metrics:
        if metric not in registry.names("metric"):
            raise unknown("metric", metric, registry.names("metric"), where=f"{where}.metrics")
    _at_least(1, where, task, "threads")
    _seeds(task.seeds, f"{where}.seeds")
    if task.label is not None:
        _refer("label", task.label, plan.corpora[task.corpus].labels, where)
    for share in task.labels:
        if not re.fullmatch(r"all|[1-9]\d*|(?!0(\.0+)?%)(0|[1-9]\d?)(\.\d+)?%|100%", share):
            raise UserError(f"{share!r} is no label share", where=f"{where}.labels", do='write "all", "10%" or "5" (per class)')


def _claim(where: str, claim: ClaimPlan, tasks: Mapping[str, TaskPlan]) -> None:
    if sum((bool(claim.order), claim.correlation is not None, claim.choice is not None)) != 1:
        raise UserError("a claim has one of an `order` of tasks, a `correlation` and a `choice`", where=where)
    if claim.correlation is None and claim.metric is None:
        raise UserError("an order or a choice needs a `metric`", where=where, do="add `metric:`, such as accuracy")
    if claim.order and len(claim.order) < 2:
        raise UserError("an order needs two tasks at least", where=where)
    lists = _lists(claim, where)
    for task in [*claim.order, *(name for names in lists.values() for name in names)]:
        _refer("task of this system", task, tasks, where)
    if len({len(names) for names in lists.values()}) > 1:
        raise UserError(f"{', '.join(f'`{name}`' for name in lists)} must list as many tasks", where=where)
    if any(len(names) < 2 for names in lists.values()):
        raise UserError("a correlation or a choice needs two tasks at least", where=where)


def _lists(claim: ClaimPlan, where: str) -> dict[str, list[str]]:
    """The lists of tasks that a correlation or a choice pairs with each other."""
    if claim.correlation is not None:
        return {"x": claim.correlation.x, "y": claim.correlation.y}
    if claim.choice is None:
        return {}
    found = {"among": claim.choice.among, "by": claim.choice.by}
    if claim.choice.against == "oracle":
        return found
    if not claim.choice.other_metric:
        raise UserError("a choice against another needs `other` and `other_metric`", where=where)
    return found | {"other": claim.choice.other}


def _parts(where: str, node: Any, kinds: Iterable[str]) -> None:
    for kind in kinds:
        registry.check(kind, getattr(node, kind), f"{where}.{kind}")


def _refer(noun: str, name: str, among: Mapping[str, Any], where: str) -> None:
    if name not in among:
        raise unknown(noun, name, among, where=where)


def _path(value: str, allowed: Iterable[str], where: str, do: str) -> None:
    """`value` is one of the paths of nodes; where only its last name is wrong, the nearest is named."""
    among = {path.rpartition("/")[2]: path for path in allowed if path.rpartition("/")[0] == value.rpartition("/")[0]}
    if not among:
        raise UserError(f"{value!r} names no node", where=where, do=do)
    _refer("node", value.rpartition("/")[2], among, where)


def _seeds(seeds: list[int], where: str) -> None:
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise UserError("seeds must be named, each once, from 0 on", where=where)


def _at_least(least: int, where: str, node: Any, *names: str) -> None:
    """Fields of a node that hold a number, or numbers by split."""
    for name in names:
        value = getattr(node, name)
        numbers = {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, Mapping) else {name: value}
        for shown, number in numbers.items():
            if number < least:
                raise UserError(f"{shown} must be {least} or more, got {number}", where=where)


def _split(split: SplitPlan, where: str) -> None:
    for fraction in split.fractions.values():
        if not 0 <= fraction <= 1:
            raise UserError(f"a fraction must lie between 0 and 1, got {fraction:g}", where=f"{where}.fractions")
    if split.by == "hash" and abs(sum(split.fractions.values()) - 1) > 1e-6:
        raise UserError(f"the fractions add up to {sum(split.fractions.values()):g}, not 1", where=f"{where}.fractions")
    for name, carve in split.carve.items():
        _carve(carve, f"{where}.carve.{name}")


def _carve(carve: Mapping[str, Any], where: str) -> None:
    kinds = {"from": str, "share": float}
    for key in carve:
        if key not in kinds:
            raise unknown("key", key, kinds, where=where)
    for key, kind in kinds.items():
        if key not in carve:
            raise UserError(f"missing key {key!r}", where=where, do="write {from: <split>, share: <between 0 and 1>}")
        convert(kind, carve[key], f"{where}.{key}")
    if not 0 < carve["share"] < 1:
        raise UserError(f"the share must lie between 0 and 1, got {carve['share']}", where=where)


def _acyclic(section: str, link: str, paths: Mapping[str, str]) -> None:
    """paths: {node: the path it links to}. Links out of the section end a chain."""
    for start in paths:
        seen = [start]
        while paths[seen[-1]].startswith(f"{section}/"):
            name = paths[seen[-1]].rpartition("/")[2]
            if name in seen:
                shown = " -> ".join([*seen, name])
                raise UserError(f"{link}s form a circle: {shown}", where=f"{section}.{start}.{link}")
            seen.append(name)
