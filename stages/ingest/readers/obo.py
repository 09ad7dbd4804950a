"""Ontologies in OBO text: the names and synonyms of concepts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.item import Broken, Item, Source
from stages.ingest.core.patterns import matching

_SYNONYM = re.compile(r'"((?:[^"\\]|\\.)*)"\s+(\w+)')


@dataclass
class Term:
    """One [Term]: names[0] is its name, the others synonyms with their scope (EXACT, BROAD, NARROW, RELATED)."""

    id: str = ""
    names: list[tuple[str, str]] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    obsolete: bool = False


@part
class Obo:
    """One item per name or synonym of a term; group = term, so that a concept lies in one split.

    Ids: `<term>` for the name, `<term>/<n>` for synonyms. Label `concept` (the term), `scope` (NAME, EXACT, ...). `edges`: the
    name's parents (is_a) by id, a synonym's own name. Obsolete terms are left out; a term in several files is taken once, and
    a synonym that repeats one of the term (letter case apart) as well. scopes: which synonyms to take.
    """

    def __init__(self, *, files: list[str] | None = None, scopes: list[str] | None = None) -> None:
        self.wanted, self.scopes = matching(files or ["*.obo"]), {"NAME", *(scopes or ["EXACT"])}
        self.columns = [Column("text", "media", "text"), Column("edges", "media", "edges")]

    def read(self, source: Source) -> Iterator[Item | Broken]:
        terms: dict[str, Term] = {}
        for file in source.files().each(self.wanted):
            try:
                text = file.read().decode("utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"the file is not UTF-8 at byte {error.start}", where=file.path) from None
            for term in read_terms(text):
                terms.setdefault(term.id, term)
        for term in terms.values():
            if not term.obsolete:
                yield from self._items(term, terms)

    def _items(self, term: Term, terms: dict[str, Term]) -> Iterator[Item | Broken]:
        if not term.names or term.names[0][1] != "NAME":
            yield Broken(term.id, "a term without a name")
            return
        seen: set[str] = set()
        parents = [p for p in term.parents if p in terms and not terms[p].obsolete]
        for text, scope in term.names:
            if scope not in self.scopes or text.casefold() in seen:
                continue
            identity = f"{term.id}/{len(seen):02d}" if seen else term.id
            seen.add(text.casefold())
            labels = {"concept": term.id, "scope": scope}
            yield Item(identity, {"text": text, "edges": parents if scope == "NAME" else [term.id]}, labels, group=term.id)


def read_terms(text: str) -> Iterator[Term]:
    """The [Term] stanzas of an OBO file. Raises UserError for one without an id."""
    for stanza in re.split(r"\n\s*\n", text):
        lines = stanza.strip().splitlines()
        if not lines or lines[0].strip() != "[Term]":
            continue
        term = Term()
        for line in lines[1:]:
            tag, _, value = line.partition(": ")
            if tag == "id":
                term.id = value.strip()
            elif tag == "name":
                term.names.insert(0, (_plain(value.strip()), "NAME"))
            elif tag == "synonym" and (found := _SYNONYM.match(value)):
                term.names.append((_plain(found[1]), found[2]))
            elif tag == "is_a":
                term.parents.append(value.partition(" ")[0].strip())
            elif tag == "is_obsolete":
                term.obsolete = value.strip() == "true"
        if not term.id:
            raise UserError("a [Term] has no id", do="correct the ontology file")
        yield term


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
