"""Every committed figure is of a plan that is committed, and every page says what its figures say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows import compose, scoreboard

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted(path.stem for path in (ROOT / "docs/systems").glob("*.json"))


def result(system: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / f"docs/systems/{system}.json").read_text(encoding="utf-8"))
    return found


def plain(text: str) -> str:
    return " ".join(text.split()).lower()


@pytest.mark.parametrize("system", RESULTS)
def test_a_committed_result_is_of_the_plan_as_it_is(system: str) -> None:
    assert result(system)["run"]["plan"] == scoreboard.plan_digest(compose.make(ROOT, [system])[0])


@pytest.mark.parametrize("system", RESULTS)
def test_its_page_gives_each_claim_the_verdict_that_was_judged(system: str) -> None:
    lines = [plain(line) for line in (ROOT / f"docs/systems/{system}.md").read_text(encoding="utf-8").splitlines()]
    for claim in result(system)["claims"]:
        row = next((line for line in lines if line.startswith(f"| {plain(claim['says'])} |")), None)
        assert row is not None, f"no row for: {claim['says']}"
        assert f"| {claim['verdict']} |" in row


@pytest.mark.parametrize("system", RESULTS)
def test_simulated_data_is_called_so(system: str) -> None:
    data, found = compose.compose(ROOT, system), result(system)
    simulated = [name for name, corpus in data["corpora"].items() if corpus.get("provenance", "real") == "simulated"]
    simulated += [name for name, corpus in data["corpora"].items() if corpus["source"]["name"] == "simulated"]
    assert found["provenance"] == data["systems"][system].get("provenance", "real")
    if simulated:
        assert found["provenance"] == "simulated" and "simulated" in (ROOT / f"docs/systems/{system}.md").read_text().lower()
