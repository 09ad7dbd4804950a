"""Tables of molecules: SMILES parsed, written canonically, grouped by scaffold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.item import Broken, Item, Source
from stages.ingest.core.patterns import matching
from stages.ingest.core.rows import Row, kind_of, rows_of


@part
class SmilesTable:
    """Rows of the tables that match `files`, one molecule each, as media `smiles`: RDKit's canonical SMILES (Weininger 1988).

    group: `scaffold` is the Bemis-Murcko framework, rings and what links them (Bemis and Murcko 1996), as SMILES, so that a
    split by group is one by scaffold (Wu et al. 2018, "MoleculeNet", sec. 3.2); molecules without a ring share the framework
    "" and are one group there, as in that split. `molecule` is the canonical SMILES itself. Equal molecules are in one group
    either way.

    writings: SMILES of each molecule, one item each: the canonical one, then others from atoms drawn at random (Bjerrum 2017,
    "SMILES enumeration as data augmentation"), seeded by the molecule, so that they are the same each time. Ids then end in
    `-w<i>`, and a meta column `molecule` has the canonical SMILES, for `pairs:`; equal writings of a molecule are given once.

    smiles: the column. id: the column of ids; without it, the file's name and the row's number. labels: {label: column}, where
    their names differ; every column is offered under its own name. Canonical SMILES are those of the installed RDKit.

    A row without SMILES, or with SMILES that RDKit does not parse, is quarantined. Raises UserError without RDKit.
    """

    def __init__(
        self,
        *,
        smiles: str = "smiles",
        files: list[str] | None = None,
        id: str | None = None,
        labels: dict[str, str] | None = None,
        group: Literal["scaffold", "molecule"] = "scaffold",
        writings: int = 1,
    ) -> None:
        if writings < 1:
            raise UserError("a molecule has one writing or more", where="reader smiles_table.writings")
        self.smiles, self.wanted, self.id, self.labels = smiles, matching(files or ["*"]), id, labels or {}
        self.group, self.writings = group, writings
        self.columns = [Column("smiles", "media", "molecule")]
        if writings > 1:
            self.columns.append(Column("molecule", "meta"))

    def read(self, source: Source) -> Iterator[Item | Broken]:
        try:
            from rdkit import rdBase
        except ImportError:
            raise UserError(
                "molecules are read by RDKit, and it is not installed", where="reader smiles_table", do="install rdkit"
            ) from None
        needed = [self.smiles, *([self.id] if self.id else []), *self.labels.values()]
        with rdBase.BlockLogs():  # what it says of a molecule is said as the item's reason
            for file in source.files().each(self.wanted):
                kind = kind_of(file.path)
                if kind is None:
                    continue
                for number, row in enumerate(rows_of(file, kind, needed, None, None)):
                    yield from [row] if isinstance(row, Broken) else self._items(row, f"{file.path}-{number:08d}")

    def _items(self, row: Row, place: str) -> Iterator[Item | Broken]:
        identity = str(row[self.id]).strip() if self.id else place
        text = str(row[self.smiles] or "").strip()
        if not identity or not text:
            yield Broken(identity or place, "no SMILES" if identity else "no id")
            return
        molecule = parsed(text)
        if molecule is None:
            yield Broken(identity, "RDKit does not parse its SMILES")
            return
        found = written(molecule, self.writings)
        group = scaffold(molecule) if self.group == "scaffold" else found[0]
        labels = {k: v if v != "" else None for k, v in row.items()}
        labels |= {name: labels.get(column) for name, column in self.labels.items()}
        for i, writing in enumerate(found):
            name = identity if self.writings == 1 else f"{identity}-w{i}"
            meta = {"molecule": found[0]} if self.writings > 1 else {}
            yield Item(name, {"smiles": writing}, labels, meta, f"{self.group}:{group}")


def parsed(smiles: str) -> Any | None:
    """RDKit's molecule, or None where it has none: it does not parse, is not a possible molecule, or has no atom."""
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles)
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


def scaffold(molecule: Any) -> str:
    """The Bemis-Murcko framework of RDKit's molecule as canonical SMILES; "" where it has no ring."""
    from rdkit.Chem.Scaffolds import MurckoScaffold

    found: str = MurckoScaffold.MurckoScaffoldSmiles(mol=molecule)
    return found


def written(molecule: Any, writings: int) -> list[str]:
    """At most so many SMILES of RDKit's molecule, no two equal: the canonical one, then others from its own seed."""
    from rdkit import Chem

    canonical: str = Chem.MolToSmiles(molecule)
    if writings == 1:
        return [canonical]
    seed = int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:3], "big") + 1
    others: list[str] = list(Chem.MolToRandomSmilesVect(molecule, writings - 1, randomSeed=seed))
    return list(dict.fromkeys([canonical, *others]))
