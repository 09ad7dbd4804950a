"""Tables of molecules: what is parsed, how it is written, and that no scaffold lies in two splits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.common.errors import UserError
from tests.ingest.making import ingest, put, shards

pytest.importorskip("rdkit")
from stages.ingest.readers.smiles_table import SmilesTable, parsed, scaffold, written

ROOT = Path(__file__).resolve().parents[2]
TABLE = """name,smiles,y
toluene,CC1:C:C:C:C:C:1,1
benzyl alcohol,OCc1ccccc1,0
phenethyl benzene,c1ccccc1CCc1ccccc1,1
ethanol,OCC,0
propane,CCC,1
none,,1
five bonds,C(C)(C)(C)(C)C,1
no ring end,C1CC,0
pyridine,c1ccncc1,
toluene again,Cc1ccccc1,0
"""


def plan(path: Path, fractions: dict[str, float] | None = None, **reader: Any) -> dict[str, Any]:
    return {
        "source": {"name": "folder", "path": str(path)},
        "reader": {"name": "smiles_table", "id": "name", "labels": {"active": "y"}, **reader},
        "labels": {"active": {"kind": "class", "classes": ["0", "1"]}},
        "split": {"by": "hash", "fractions": fractions or {"train": 1.0}},
        "quarantine_share": 0.5,
    }


def rows(corpus: Any, *columns: str) -> dict[str, tuple[Any, ...]]:
    table = corpus.table(["id", *columns]).to_pylist()
    return {r["id"]: tuple(r[c] for c in columns) for r in table}


def test_a_molecule_is_written_canonically_and_grouped_by_its_framework(tmp_path: Path) -> None:
    corpus = ingest(tmp_path, plan(put(tmp_path / "in", {"t.csv": TABLE})))
    assert rows(corpus, "smiles", "group", "active") == {
        "toluene": ("Cc1ccccc1", "scaffold:c1ccccc1", 1),
        "toluene again": ("Cc1ccccc1", "scaffold:c1ccccc1", 0),
        "benzyl alcohol": ("OCc1ccccc1", "scaffold:c1ccccc1", 0),
        "phenethyl benzene": ("c1ccc(CCc2ccccc2)cc1", "scaffold:c1ccc(CCc2ccccc2)cc1", 1),
        "ethanol": ("CCO", "scaffold:", 0),
        "propane": ("CCC", "scaffold:", 1),
        "pyridine": ("c1ccncc1", "scaffold:c1ccncc1", None),
    }


def test_what_is_no_molecule_is_quarantined_with_its_reason_and_counted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    card = ingest(tmp_path, plan(put(tmp_path / "in", {"t.csv": TABLE}))).card
    assert {q["item"]: q["reason"] for q in card.quarantined} == {
        "none": "no SMILES",
        "five bonds": "RDKit does not parse its SMILES",
        "no ring end": "RDKit does not parse its SMILES",
    }
    assert card.totals["quarantined"] == 3 and card.totals["items"] == 7
    assert "valence" not in "".join(capfd.readouterr())  # RDKit's own messages would name no item


def test_by_molecule_equal_molecules_alone_are_one_group(tmp_path: Path) -> None:
    corpus = ingest(tmp_path, plan(put(tmp_path / "in", {"t.csv": TABLE}), group="molecule"))
    found = rows(corpus, "group")
    assert found["toluene"] == found["toluene again"] == ("molecule:Cc1ccccc1",)
    assert len(set(found.values())) == 6


def test_further_writings_are_of_the_same_molecule_in_its_group_and_the_same_each_time(tmp_path: Path) -> None:
    given = plan(put(tmp_path / "in", {"t.csv": TABLE}), writings=4)
    corpus, again = ingest(tmp_path / "a", given), ingest(tmp_path / "b", given)
    assert shards(corpus) == shards(again)
    found = rows(corpus, "smiles", "group", "molecule")
    assert found["toluene-w0"] == ("Cc1ccccc1", "scaffold:c1ccccc1", "Cc1ccccc1")
    written_ = {k: v for k, v in found.items() if k.startswith("toluene-w")}
    assert len({smiles for smiles, _, _ in written_.values()}) == len(written_) > 2
    for smiles, group, molecule in found.values():
        known = parsed(smiles)
        assert known is not None and written(known, 1) == [molecule] and group == f"scaffold:{scaffold(known)}"


@pytest.mark.mirror
@pytest.mark.parametrize("name", ["smiles_clintox", "smiles_esol"])
def test_on_real_tables_no_framework_lies_in_two_splits(
    name: str, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRELUDE_MIRROR", str(mirror))
    given = yaml.safe_load((ROOT / f"params/corpus/{name}.yaml").read_text())
    corpus = ingest(tmp_path, {k: v for k, v in given.items() if k != "title"})
    split_of: dict[str, set[str]] = {}
    for smiles, split in rows(corpus, "smiles", "split").values():
        split_of.setdefault(scaffold(parsed(smiles)), set()).add(split)
    assert max(len(splits) for splits in split_of.values()) == 1 and len(split_of) > 200
    expected = {"smiles_clintox": (1478, 6), "smiles_esol": (1128, 0)}[name]
    assert (corpus.card.totals["items"], corpus.card.totals["quarantined"]) == expected


def test_wrong_arguments_and_columns_and_a_missing_rdkit_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="one writing or more"):
        SmilesTable(writings=0)
    put(tmp_path / "in", {"t.csv": TABLE})
    with pytest.raises(UserError, match="unknown column 'structure'"):
        ingest(tmp_path, plan(tmp_path / "in", smiles="structure"))
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(UserError, match="RDKit, and it is not installed"):
        ingest(tmp_path, plan(tmp_path / "in"))
