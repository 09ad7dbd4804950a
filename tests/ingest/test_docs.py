"""What docs/own-data.md and docs/ingest.md print is what happens."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
import yaml

from stages.common import registry
from tests.ingest.making import ingest, picture, put, tone

DOCS = Path(__file__).parents[2] / "docs"


def test_the_plan_on_the_page_on_own_data_runs_and_gives_what_the_page_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (DOCS / "own-data.md").read_text()
    plans = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])["corpora"]  # type: ignore[index]
    names = [f"birds/{c}/{i:03d}.jpg" for c, n in (("robin", 30), ("wren", 25), ("crow", 45)) for i in range(n)]
    files = {name: picture(i, (48, 64), "JPEG") for i, name in enumerate(names)}
    files |= {"birds/crow/broken.jpg": b"", "birds/wren/025.jpg": files["birds/robin/004.jpg"]}
    rows = [(f"X{i:03d}", f"S{i // 5}", "C" * (1 + i % 9), "yes" if i % 3 else "no", str(-i / 10)) for i in range(60)]
    table = io.StringIO()
    csv.writer(table).writerows([("compound", "series", "smiles", "active", "solubility"), *rows])
    files["assay.csv"] = table.getvalue().encode()
    for s in range(6):
        files |= {f"calls/bat{s}/{'feed' if i % 2 else 'roam'}_{i}.wav": tone(i, 44100) for i in range(8)}
    monkeypatch.chdir(put(tmp_path, files))
    birds, assay, calls = (ingest(tmp_path / "w", plans[name], name) for name in ("birds", "assay", "calls"))
    for printed in (
        f"{birds.card.counts} {birds.card.totals}",
        str(birds.card.quarantined),
        str(birds.card.duplicates["exact"]["examples"]),
        str(birds.table(["id", "split", "label"], ["test"]).to_pylist()[:2]),
    ):
        assert printed in page
    assert assay.card.groups == {"train": 6, "test": 6} and calls.card.groups == {"train": 4, "valid": 1, "test": 1}


@pytest.mark.parametrize("kind", ["source", "reader"])
def test_every_source_and_reader_is_on_the_page(kind: str) -> None:
    page = (DOCS / "ingest.md").read_text()
    assert [name for name in registry.names(kind) if f"| `{name}` |" not in page] == []


def test_every_corpus_is_on_the_page() -> None:
    page = (DOCS / "ingest.md").read_text()
    names = [p.stem for p in (DOCS.parent / "params" / "corpus").glob("*.yaml")]
    assert [n for n in names if f"| `{n}` |" not in page] == [] and len(names) >= 14
