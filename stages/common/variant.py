"""What marks a node as a variant of another: the copies that a sweep adds to a plan, and what follows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Fields of a node that may be a variant. Both are empty in a base, so that a sweep leaves its parameters alone.

    variant_of: the base, a node of the same section. varied: the keys in which its lineage differs from the base's, such as
    `encoders.simclr.objective.temperature`, where `simclr` is the base that was swept.
    """

    variant_of: str | None = None
    varied: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Key:
    """A key of the plan: the section, the node and the path inside it."""

    section: str
    node: str
    path: tuple[str, ...]

    @staticmethod
    def of(text: str) -> Key:
        """`encoders.simclr.objective.temperature`. Raises ValueError where it names no key of a node."""
        section, node, *path = text.split(".")
        if not path or not all((section, node, *path)):
            raise ValueError(text)
        return Key(section, node, tuple(path))

    def __str__(self) -> str:
        return ".".join((self.section, self.node, *self.path))

    def value(self, plan: Mapping[str, Any]) -> Any:
        """Its value in a node's plan as plain data. Raises KeyError."""
        at: Any = plan
        for name in self.path:
            if not isinstance(at, Mapping):
                raise KeyError(str(self))
            at = at[name]
        return at


def brief(keys: list[str]) -> dict[str, str]:
    """{key: the fewest of its last words that tell it from the others}: `temperature`, `objective.hidden`."""
    found = {}
    for key in dict.fromkeys(keys):
        words = key.split(".")
        others = [k.split(".") for k in keys if k != key]
        length = next((n for n in range(1, len(words)) if all(o[-n:] != words[-n:] for o in others)), len(words))
        found[key] = ".".join(words[-length:])
    return found
