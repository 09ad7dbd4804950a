"""The system files that docs/own-data.md prints are composed and checked as a user's would be."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from flows import compose

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"`params/(corpus|system)/(\w+)\.yaml`(?:(?!```).)*```yaml\n(.*?)```", re.DOTALL)
PRINTED = {(kind, name): text for kind, name, text in BLOCK.findall((ROOT / "docs" / "own-data.md").read_text())}

GRID = {  # what `prelude ingest-check grid.csv` writes
    "title": "grid",
    "source": {"name": "url", "url": "grid.csv"},
    "reader": {"name": "event_table", "files": ["grid.csv"], "entity": "day", "time": "when", "code": ["what"]},
    "labels": {"season": {"kind": "class"}},
    "split": {"by": "hash", "fractions": {"train": 0.7, "valid": 0.1, "test": 0.2}, "stratify": "season"},
    "codes": 400,
}


@pytest.mark.parametrize("name", sorted(name for kind, name in PRINTED if kind == "system"))
def test_a_system_on_the_page_is_composed(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "params", tmp_path / "params")
    corpus = PRINTED.get(("corpus", name)) or yaml.safe_dump(GRID)
    (tmp_path / f"params/corpus/{name}.yaml").write_text(corpus)
    (tmp_path / f"params/system/{name}.yaml").write_text(PRINTED["system", name])
    plan = compose.make(tmp_path, [name])[1]
    assert set(plan.systems) == {name} and set(plan.corpora) == {name}
    assert all(task in plan.tasks for claim in plan.systems[name].claims.values() for task in claim.order)


def test_the_page_has_systems_of_pictures_events_and_graphs() -> None:
    systems = [yaml.safe_load(text) for (kind, _), text in PRINTED.items() if kind == "system"]
    groups = {
        v for s in systems for d in s["defaults"] if isinstance(d, dict) for k, v in d.items() if k.startswith("/encoder@")
    }
    assert {"resnet", "event_gru", "gcn", "text_transformer"} <= groups
