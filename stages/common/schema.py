"""Builds typed dataclasses from plain mappings; an unknown key is an error that names the nearest allowed one."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from stages.common.errors import UserError, unknown

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """A named part and its arguments, as written in the plan: `{name: simclr, temperature: 0.5}`."""

    name: str
    args: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(value: Any, where: str) -> Part:
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise UserError("a part is a mapping with a `name`", where=where, do="write {name: <part>, <argument>: <value>}")
        return Part(value["name"], {str(k): _plain(v, f"{where}.{k}") for k, v in value.items() if k != "name"})


def build(cls: type[T], value: Any, where: str) -> T:
    """`value` (a mapping) as the dataclass `cls`, its fields checked one by one. Raises UserError."""
    if not isinstance(value, Mapping):
        raise UserError(f"expected keys and values, got {_name(value)}", where=where)
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in value:
        if key not in fields:
            raise unknown("key", str(key), fields, where=where)
    given = {key: convert(hints[key], item, f"{where}.{key}") for key, item in value.items()}
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in given:
            raise UserError(f"missing key {name!r}", where=where, do=f"add `{name}:` to {where}")
    return cls(**given)


def convert(hint: Any, value: Any, where: str) -> Any:
    """`value` checked against the type `hint`: str, int, float, bool, Literal, unions, list, tuple, dict, Part, dataclasses."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return _plain(value, where)
    if hint is Part:
        return Part.of(value, where)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if origin in (Union, types.UnionType):
        return _union(args, value, where)
    if origin is Literal:
        if not any(type(value) is type(allowed) and value == allowed for allowed in args):
            raise unknown("value", str(value), map(str, args), where=where)
        return value
    if list in (hint, origin) or tuple in (hint, origin):
        return _sequence(origin or hint, args, value, where)
    if origin is dict or origin is Mapping or hint is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"expected keys and values, got {_name(value)}", where=where)
        kind = args[1] if args else Any
        return {str(k): convert(kind, v, f"{where}.{k}") for k, v in value.items()}
    return _scalar(hint, value, where)


def as_plain(value: Any) -> Any:
    """The inverse of `build`: dataclasses and parts as dicts and lists, for JSON."""
    if isinstance(value, Part):
        return {"name": value.name, **as_plain(value.args)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): as_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(v) for v in value]
    return value


def _sequence(kind: type, args: tuple[Any, ...], value: Any, where: str) -> Any:
    """list[X], tuple[X, ...] or tuple[X, Y]; without X, anything."""
    if not isinstance(value, (list, tuple)):
        raise UserError(f"expected a list, got {_name(value)}", where=where)
    if kind is tuple and args and args[-1] is not Ellipsis:
        if len(args) != len(value):
            raise UserError(f"expected {len(args)} values, got {len(value)}", where=where)
        hints = list(args)
    else:
        hints = [args[0] if args else Any] * len(value)
    return kind(convert(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(hints, value, strict=True)))


def _union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    kinds = [a for a in args if a is not type(None)]
    if len(kinds) == 1:
        return convert(kinds[0], value, where)
    for kind in sorted(kinds, key=lambda k: type(value) is not k):  # an exact match before a conversion
        try:
            return convert(kind, value, where)
        except UserError:
            continue
    raise UserError(f"expected {' or '.join(_type_name(k) for k in kinds)}, got {_name(value)}", where=where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    accepts: dict[Any, Callable[[Any], bool]] = {
        bool: lambda v: isinstance(v, bool),
        int: lambda v: isinstance(v, int) and not isinstance(v, bool),
        float: lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
        str: lambda v: isinstance(v, str),
    }
    if hint not in accepts:
        raise TypeError(f"{where}: no rule for the type {hint!r}")
    if not accepts[hint](value):
        raise UserError(f"expected {_type_name(hint)}, got {_name(value)}", where=where)
    return float(_plain(value, where)) if hint is float else value


def _plain(value: Any, where: str) -> Any:
    """`value` if JSON can say it, since digests are of canonical JSON. YAML also knows dates, `.nan` and `.inf`."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"expected a finite number, got {value}", where=where)
    if value is not None and not isinstance(value, (str, int, float)):
        raise UserError(f"expected text or a number, got {_name(value)}", where=where, do="put it in quotes if it is text")
    return value


def _type_name(hint: Any) -> str:
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(hint, str(hint))


def _name(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r}"
