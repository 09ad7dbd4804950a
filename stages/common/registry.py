"""Finds parts by name. One part, one file, one name: objective `simclr` is stages/pretrain/objectives/simclr.py.

A part is the one class or function of its module marked with `@part`. Its positional parameters are what the program
hands it (shapes, tensors); its keyword-only parameters, typed and with defaults, are its configuration.
"""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from stages.common.errors import UserError, unknown
from stages.common.schema import Part, convert

PACKAGES = {
    "source": "stages.ingest.sources",
    "reader": "stages.ingest.readers",
    "simulator": "stages.ingest.simulators",
    "frontend": "stages.encoders.frontends",
    "backbone": "stages.encoders.backbones",
    "views": "stages.views",
    "objective": "stages.pretrain.objectives",
    "head": "stages.fit.heads",
    "metric": "stages.metrics",
    "measure": "stages.measures",
}
_MARK = "__prelude_part__"
_ROOT = Path(__file__).resolve().parents[2]
F = TypeVar("F", bound=Callable[..., Any])


def part(thing: F) -> F:
    """Marks the one part of a module."""
    setattr(thing, _MARK, thing.__module__)
    return thing


def names(kind: str) -> list[str]:
    """The parts of a kind, read from the file names: nothing is imported."""
    folder = _ROOT.joinpath(*PACKAGES[kind].split("."))
    return sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))


def find(kind: str, name: str, where: str = "") -> Callable[..., Any]:
    """The part itself. Raises UserError, naming the nearest part, if there is none of that name."""
    if name not in names(kind):
        raise unknown(kind, name, names(kind), where=where or None)
    try:
        module = importlib.import_module(f"{PACKAGES[kind]}.{name}")
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "stages"):
            raise
        raise UserError(f"{kind} {name!r} needs the library {library!r}", where=where or None, do="install it") from None
    # vars, not getattr: a subclass or an instance of the part has the mark too, but not as its own
    found = [v for v in vars(module).values() if getattr(v, "__dict__", {}).get(_MARK) == module.__name__]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must mark exactly one part with @part, found {len(found)}")
    return typing.cast(Callable[..., Any], found[0])


def check(kind: str, chosen: Part, where: str) -> Callable[..., Any]:
    """The part, after its arguments were checked against its keyword-only parameters."""
    thing = find(kind, chosen.name, where)
    settings = _settings(thing)
    hints = typing.get_type_hints(thing.__init__ if inspect.isclass(thing) else thing)
    for key, value in chosen.args.items():
        if key not in settings:
            raise unknown(f"argument of {kind} {chosen.name!r}", key, settings, where=where)
        convert(hints[key], value, f"{where}.{key}")
    for key, parameter in settings.items():
        if parameter.default is inspect.Parameter.empty and key not in chosen.args:
            raise UserError(f"{kind} {chosen.name!r} needs {key!r}", where=where, do=f"add `{key}:` to {where}")
    return thing


def make(kind: str, chosen: Part, *handed: Any, where: str = "") -> Any:
    """Calls the part with what the program hands it and the plan's arguments, typed as the signature says."""
    thing = check(kind, chosen, where or f"{kind} {chosen.name}")
    hints = typing.get_type_hints(thing.__init__ if inspect.isclass(thing) else thing)
    args = {k: convert(hints[k], v, f"{where}.{k}") for k, v in chosen.args.items()}
    return thing(*handed, **args)


def _settings(thing: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    kinds = inspect.signature(thing).parameters
    return {k: p for k, p in kinds.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
