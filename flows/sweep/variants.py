"""Points of a sweep as nodes of one plan: the swept node and what follows it are copied, once for each set of values.

A copy's name and content are a function of the base plan and of the values in which it differs, of nothing else: a sweep
that gains a value leaves the variants that are there as they are. The base itself is never touched.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.sweep.space import Point
from stages.common import atomic, plan, registry
from stages.common.errors import UserError, unknown
from stages.common.plan import SECTIONS, Plan
from stages.common.schema import Part, as_plain, build, convert
from stages.common.variant import Key, brief

MOST_STAGES = 100  # DVC's time grows faster than the number of stages
LONGEST = 60  # characters of a name
_SECTIONS = tuple(s for s in SECTIONS.values() if s != "systems")
Data = dict[str, Any]
Node = tuple[str, str]  # section and name


@dataclass(frozen=True)
class Variant:
    """One point of a sweep. nodes: {base: its copy at this point, or itself}, of the swept nodes and all that follow them."""

    name: str
    values: Point
    nodes: dict[Node, str]


@dataclass(frozen=True)
class Spread:
    """A plan with the copies of all points in it, as plain data and typed. added: {section: names of copies}."""

    data: Data
    plan: Plan
    variants: list[Variant]
    added: dict[str, list[str]]


def spread(data: Data, points: Sequence[Point], most: int = MOST_STAGES) -> Spread:
    """The plan with every point's nodes. Raises UserError where a key, a value or the plan's size is wrong."""
    taken = _Copies(data)
    known: dict[str, Any] = {}
    settled: list[Point] = []
    for point in points:
        values: Point = {}
        for key, value in point.items():
            seen = f"{key}={atomic.digest_json(value)}"
            if seen not in known:
                known[seen] = settle(data, Key.of(key), value)
            values[key] = known[seen]
        if values not in settled:  # 1 and 1.0 are one rate
            settled.append(values)
    found = [taken.at(values) for values in settled]
    whole = {**data, **{s: {**data.get(s, {}), **taken.made[s]} for s in _SECTIONS}}
    stages = sum(len(whole.get(section, {})) for section in SECTIONS.values()) + 1
    if stages > most:
        raise UserError(
            f"{len(found)} variants make a plan of {stages} stages; about {most} is what DVC handles well",
            where="prelude sweep",
            do="draw fewer: --random N; or sweep a system with fewer tasks",
        )
    typed = build(Plan, whole, "params.yaml")
    plan.validate(typed)
    moved = {node for names in found for node, name in names.items() if name != node[1]}
    swept = dict.fromkeys((key.section, key.node) for point in settled for key in map(Key.of, point))
    variants = [
        Variant(" + ".join(names[node] for node in swept), point, {node: names[node] for node in _nodes(data) if node in moved})
        for point, names in zip(settled, found)
    ]
    return Spread(whole, typed, variants, {s: list(names) for s, names in taken.made.items() if names})


def settle(data: Data, key: Key, value: Any) -> Any:
    """The value as its key's type has it. Raises the plan's own error where key or value is wrong, naming the base's place."""
    if key.section not in _SECTIONS:
        raise unknown("section", key.section, _SECTIONS, where=str(key))
    if key.node not in data.get(key.section, {}):
        raise unknown("node", key.node, data.get(key.section, {}), where=key.section)
    if key.path[0] in ("variant_of", "varied"):
        raise UserError(f"{key.path[0]!r} is what a sweep writes itself", where=str(key))
    tried = copy.deepcopy(data)
    node = tried[key.section][key.node]
    there = node.get(key.path[0])
    if len(key.path) == 1 and isinstance(value, str) and isinstance(there, Mapping) and "name" in there:
        value = there if there["name"] == value else {"name": value}  # a part by its name alone: with its own defaults
    _put(node, key, value)
    plan.validate(build(Plan, tried, "params.yaml"))
    return value if isinstance(value, Mapping) else key.value(_filled(key.section, node))


def base_values(data: Data, keys: Sequence[str]) -> Point:
    """What the base has at the keys of a sweep, defaults filled in."""
    return {text: key.value(_filled(key.section, data[key.section][key.node])) for text in keys for key in [Key.of(text)]}


def slug(value: Any) -> str:
    """A value as letters, digits and _: 0.05 is 0_05, -1 is m1, 1e-05 is 1em05, {name: vicreg} is vicreg."""
    if isinstance(value, Mapping):
        rest = [f"{k}_{slug(v)}" for k, v in value.items() if k != "name"]
        return "_".join([slug(value["name"])] * ("name" in value) + rest) or "none"
    if isinstance(value, (list, tuple)):
        return "_".join(map(slug, value)) or "none"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    text = str(value).lower() if isinstance(value, bool) or value is None else str(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        text = text.replace("-", "m").replace("+", "")
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "none"


@dataclass
class _Copies:
    """The copies made so far, of all points. owners: {(section, name): what the copy of that name is of}."""

    data: Data
    made: dict[str, Data] = field(default_factory=lambda: {s: {} for s in _SECTIONS})
    owners: dict[Node, str] = field(default_factory=dict)

    def at(self, point: Point) -> dict[Node, str]:
        """Adds a point's copies; returns the name of every node at this point."""
        by_node: dict[Node, Point] = {}
        for text, value in point.items():
            key = Key.of(text)
            by_node.setdefault((key.section, key.node), {})[text] = value
        found: dict[Node, tuple[str, Point]] = {}
        for node in _nodes(self.data):
            self._resolve(node, by_node, found, ())
        return {node: name for node, (name, _) in found.items()}

    def _resolve(
        self, node: Node, by_node: Mapping[Node, Point], found: dict[Node, tuple[str, Point]], above: tuple[Node, ...]
    ) -> tuple[str, Point]:
        """A node's name at the point, and the values in which its lineage differs from the base's."""
        if node in above:
            raise UserError("the values of this point make nodes depend on themselves", where=".".join(node))
        if node not in found:
            section, base = node
            at, varied = copy.deepcopy(self.data[section][base]), {}
            for text, value in by_node.get(node, {}).items():
                one = copy.deepcopy(self.data[section][base])
                _put(one, Key.of(text), value)
                if atomic.digest_json(_filled(section, one)) != atomic.digest_json(_filled(section, self.data[section][base])):
                    _put(at, Key.of(text), value)
                    varied[text] = value
            for link, (other, above_it) in _links(section, at).items():
                name, theirs = self._resolve(other, by_node, found, (*above, node))
                varied |= theirs
                at[link] = above_it + name
            name = self._name(node, {key: varied[key] for key in sorted(varied)}) if varied else base
            if varied:
                self.made[section][name] = {**at, "variant_of": base, "varied": sorted(varied)}
            found[node] = name, varied
        return found[node]

    def _name(self, node: Node, varied: Point) -> str:
        """`simclr__temperature_0_05`; one that is long, or that another copy has, ends with a digest."""
        section, base = node
        words = [f"{short.replace('.', '_')}_{slug(varied[key])}" for key, short in brief(list(varied)).items()]
        name, owner = f"{base}__{'__'.join(words)}", atomic.digest_json([base, varied])
        taken = name in self.data[section] or self.owners.get((section, name), owner) != owner
        if len(name) > LONGEST or taken:
            name = f"{name[: LONGEST - 9].rstrip('_')}_{owner[:8]}"
        self.owners[section, name] = owner
        return name


def _nodes(data: Data) -> list[Node]:
    return [(section, name) for section in _SECTIONS for name in data.get(section, {})]


def _links(section: str, node: Data) -> dict[str, tuple[Node, str]]:
    """{field: (the node it names, what stands before its name)}: `parent: encoders/simclr`, `encoder: simclr`."""
    fields = {"encoders": ("corpus", "parent"), "features": ("corpus", "encoder"), "tasks": ("corpus", "features", "support")}
    found = {}
    for link in fields.get(section, ()):
        before, slash, name = str(node[link]).rpartition("/")
        at = before.partition("/")[0] if slash else {"corpus": "corpora", "encoder": "encoders"}.get(link, link)
        found[link] = (at, name), before + slash
    return found


def _put(node: Data, key: Key, value: Any) -> None:
    """Sets a value in a node's plain data. Raises UserError where the path leads through what is no mapping."""
    at = node
    for word in key.path[:-1]:
        if at.get(word) is None:
            at[word] = {}
        at = at[word]
        if not isinstance(at, dict):
            raise UserError(f"{word!r} holds one value, no keys", where=str(key))
    at[key.path[-1]] = copy.deepcopy(value)


def _filled(section: str, node: Data) -> Data:
    """A node with every default filled in, its parts' too, and every number as its type has it."""
    hint: Any = typing.get_args(typing.get_type_hints(Plan)[section])[1]
    typed = build(hint, node, section)
    filled: Data = as_plain(typed)
    for each in dataclasses.fields(typed):
        part = getattr(typed, each.name)
        if isinstance(part, Part):
            thing = registry.check(each.name, part, f"{section}.{each.name}")
            hints = typing.get_type_hints(thing.__init__ if inspect.isclass(thing) else thing)
            kinds = inspect.signature(thing).parameters.values()
            args = {p.name: p.default for p in kinds if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
            args |= {name: convert(hints[name], value, each.name) for name, value in part.args.items()}
            filled[each.name] = as_plain(Part(part.name, args))
    return filled
