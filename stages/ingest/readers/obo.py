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
from stages.ingest.core.splits import in_order, place

_SYNONYM = re.compile(r'"((?:[^"\\]|\\.)*)"\s+(\w+)')
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WORD = re.compile(r"\w+")


@dataclass
class Term:
    """One [Term]: names[0] is its name, the others synonyms with their scope (EXACT, BROAD, NARROW, RELATED)."""

    id: str = ""
    names: list[tuple[str, str]] = field(default_factory=list)
    definition: str = ""
    parents: list[str] = field(default_factory=list)
    obsolete: bool = False


@part
class Obo:
    """One item per name or synonym of a term; group = term, so that a concept lies in one split.

    Ids: `<term>` for the name, `<term>/<n>` for synonyms. Label `concept` (the term), `scope` (NAME, EXACT, ...). `edges`: the
    name's parents (is_a) by id, a synonym's own name. Obsolete terms are left out; a term in several files is taken once, and
    a synonym that repeats one of the term (letter case apart) as well. scopes: which synonyms to take.

    take: [low, high), terms whose hash lies there in [0, 1): corpora of [0, 0.8] and [0.8, 1] share an ontology and no term.
    unseen: {split: share}: unseen names of known terms, for `split: {by: declared}`. Each synonym is put in one of these splits
    with such a probability, by a hash of its id; the name and the other synonyms are `train`, and each item is its own group.
    Label `apart` is `concept` again, but null for a name outside train that shares a word with a train name of its term.
    definitions: a split in which each term's definition lies as well: `<term>/definition`, scope DEFINITION, no concept.
    """

    def __init__(
        self,
        *,
        files: list[str] | None = None,
        scopes: list[str] | None = None,
        take: tuple[float, float] = (0.0, 1.0),
        unseen: dict[str, float] | None = None,
        definitions: str | None = None,
    ) -> None:
        self.wanted, self.scopes = matching(files or ["*.obo"]), {"NAME", *(scopes or ["EXACT"])}
        self.take, self.unseen, self.definitions = take, unseen or {}, definitions
        if not 0 <= take[0] < take[1] <= 1:
            raise UserError(f"no range: {take}", where="reader.take", do="write [low, high] between 0 and 1")
        if min(self.unseen.values(), default=0) < 0 or sum(self.unseen.values()) > 1 or "train" in self.unseen:
            raise UserError(
                f"{self.unseen} are no shares of the synonyms", where="reader.unseen", do="write shares of 1 in all"
            )
        if definitions and not self.unseen:
            raise UserError(
                "a term's definition would lie in a split of its own", where="reader.definitions", do="add `unseen`"
            )
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
            if not term.obsolete and self.take[0] <= place("take", term.id) < self.take[1]:
                yield from self._items(term, terms)

    def _items(self, term: Term, terms: dict[str, Term]) -> Iterator[Item | Broken]:
        if not term.names or term.names[0][1] != "NAME":
            yield Broken(term.id, "a term without a name")
            return
        parents = [p for p in term.parents if p in terms and not terms[p].obsolete]
        named = self._named(term)
        known = {word for _, text, _, split in named if split == "train" for word in _words(text)}
        for identity, text, scope, split in named:
            apart = None if split not in (None, "train") and known & _words(text) else term.id
            labels = {"concept": term.id, "apart": apart, "scope": scope}
            edges = parents if scope == "NAME" else [term.id]
            yield Item(identity, {"text": text, "edges": edges}, labels, group=None if self.unseen else term.id, split=split)
        if self.definitions and term.definition:
            labels = {"concept": None, "apart": None, "scope": "DEFINITION"}
            media = {"text": term.definition, "edges": [term.id]}
            yield Item(f"{term.id}/definition", media, labels, split=self.definitions)

    def _named(self, term: Term) -> list[tuple[str, str, str, str | None]]:
        """(id, text, scope, split) of the names to take."""
        seen: set[str] = set()
        found = []
        for text, scope in term.names:
            if scope not in self.scopes or text.casefold() in seen:
                continue
            identity = f"{term.id}/{len(seen):02d}" if seen else term.id
            seen.add(text.casefold())
            found.append((identity, text, scope, self._split(identity, scope)))
        return found

    def _split(self, identity: str, scope: str) -> str | None:
        if not self.unseen:
            return None
        at = 1.0 if scope == "NAME" else place("unseen", identity)
        for split in in_order(set(self.unseen)):  # not as the plan happens to list them
            if at < self.unseen[split]:
                return split
            at -= self.unseen[split]
        return "train"


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))


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
            elif tag == "def" and (found := _TEXT.match(value)):
                term.definition = _plain(found[1])
            elif tag == "is_a":
                term.parents.append(value.partition(" ")[0].strip())
            elif tag == "is_obsolete":
                term.obsolete = value.strip() == "true"
        if not term.id:
            raise UserError("a [Term] has no id", do="correct the ontology file")
        yield term


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
