"""PubTator text: abstracts with mentions of concepts."""

from __future__ import annotations

from collections.abc import Iterator

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.item import Broken, Item, Source
from stages.ingest.core.patterns import matching
from stages.ingest.core.splits import in_order

_FIELDS = 6  # document, start, end, mention, kind, concept


@part
class PubTator:
    """One item per mention's text and concept: `<concept>/<n>`. Labels `concept`, `type` (of the first such mention).

    files: {split: patterns}; a text that occurs in several of them (letter case apart) lies in the first of train, valid, test
    and others by name, so that later splits hold unseen names. A concept that train does not mention has no name to be found
    by: its mentions lie in the split `unlinked`. Each item is its own group. A mention of several concepts (`|`, `+`, `,`) or
    of none (`-1`) is left out; a line of a mention that lacks a field is broken. Titles and abstracts are not read.
    """

    def __init__(self, *, files: dict[str, list[str]]) -> None:
        if "train" not in files:
            raise UserError("no file gives names to find mentions by", where="reader.files", do="list `train: [patterns]`")
        self.wanted = {split: matching(files[split]) for split in in_order(set(files))}
        self.columns = [Column("text", "media", "text")]

    def read(self, source: Source) -> Iterator[Item | Broken]:
        found: dict[str, dict[str, tuple[str, str, str]]] = {}  # concept -> folded text -> (text, kind, split)
        for split, wanted in self.wanted.items():
            for file in source.files().each(wanted):
                try:
                    text = file.read().decode("utf-8")
                except UnicodeDecodeError as error:
                    raise UserError(f"the file is not UTF-8 at byte {error.start}", where=file.path) from None
                for number, line in enumerate(text.splitlines(), 1):
                    cells = line.split("\t")
                    if len(cells) < 2:
                        continue
                    if len(cells) < _FIELDS or not cells[3].strip():
                        yield Broken(f"{file.path}, line {number}", "a mention without all its fields")
                        continue
                    mention, kind, concept = (cell.strip() for cell in cells[3:_FIELDS])
                    if concept in ("", "-", "-1") or any(mark in concept for mark in "|+,"):
                        continue
                    found.setdefault(concept, {}).setdefault(mention.casefold(), (mention, kind, split))
        for concept, texts in found.items():
            linked = any(split == "train" for *_, split in texts.values())
            for n, (mention, kind, split) in enumerate(texts.values()):
                labels = {"concept": concept, "type": kind}
                yield Item(f"{concept}/{n:03d}", {"text": mention}, labels, split=split if linked else "unlinked")
