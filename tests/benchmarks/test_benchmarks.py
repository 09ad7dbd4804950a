"""Every benchmark runs at tiny size and yields a row for each of its lines; those whose peer is not installed say so."""

from __future__ import annotations

import importlib
import textwrap
import tomllib
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.core import runner
from benchmarks.core.case import Case, Options

ROOT = Path(__file__).resolve().parents[2]
LONG = ("data2vec2", "extract", "memory", "orchestration", "startup", "wav2vec2")  # `make bench-quick` runs them too
QUICK = Options(quick=True)


def cases_of(name: str, options: Options) -> list[Case]:
    found: list[Case] = importlib.import_module(f"benchmarks.{name}").cases(options)
    return found


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.soak] if n in LONG else []) for n in command.names()])
def test_it_runs_and_yields_its_rows(name: str) -> None:
    for case in cases_of(name, QUICK):
        rows = runner.rows(name, case, QUICK)
        assert len(rows) == len(case.lines) > 0
        for row in rows:
            assert row.verdict == "ran" or row.verdict.startswith(("no peer: ", "not run: --quick")), row.verdict
            assert (row.ratio is None) == (row.verdict != "ran")


@pytest.mark.parametrize("name", command.names())
def test_its_lines_name_ways_that_there_are_and_no_two_are_alike(name: str) -> None:
    for options in (QUICK, Options(), Options(long=True)):
        seen = [(line.what, line.ours, line.peers, line.limit) for c in cases_of(name, options) for line in c.lines]
        assert len(seen) == len(set(seen))
        for case in cases_of(name, options):
            named = {key for line in case.lines for key in (line.ours, *line.peers)}
            assert named <= set(case.ways)
            assert all(bool(line.peers) != (line.limit is not None) for line in case.lines)


def test_the_readmes_example_is_a_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "benchmarks/README.md").read_text()
    block = text[text.index('    """Sorting beside NumPy."""') : text.index("- `needs` names")]
    (tmp_path / "readmes_sorting.py").write_text(textwrap.dedent(block))
    monkeypatch.syspath_prepend(tmp_path)
    (case,) = importlib.import_module("readmes_sorting").cases(QUICK)
    (row,) = runner.rows("readmes_sorting", case, QUICK)
    assert (row.what, row.verdict) == ("sorting 100 numbers", "ran")


def test_the_peers_are_pinned_alike_in_the_extra_the_constraints_and_what_make_bench_installs() -> None:
    def lines(path: str) -> set[str]:
        text = (ROOT / path).read_text().splitlines()
        return {line.partition("#")[0].strip() for line in text} - {""}

    installed = lines("benchmarks/peers.txt")
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["bench"]
    assert {p for p in extra if "==" in p} == installed
    assert installed <= lines("constraints.txt")
    assert all("==" in line for line in installed)
