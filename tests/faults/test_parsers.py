"""Whatever bytes a parser is given, it gives a value, a broken item or one clear error: never another exception."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.hostile.mutations import ALL
from tests.faults.parsers import REFUSALS, Parser, parsers

PARSERS = parsers()
ROOT = Path(__file__).resolve().parents[2]
RUNS = 50_000
FEWER = {"wthor": 5_000}  # what the fuzzer notes of arrays compared in a loop stays in memory: 100 kB a call


@pytest.fixture(params=PARSERS)
def parser(request: pytest.FixtureRequest) -> Parser:
    return PARSERS[request.param]


def test_a_sound_input_of_each_parser_is_taken(parser: Parser) -> None:
    for seed in parser.seeds:
        parser.parse(seed)


@settings(max_examples=25, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_bytes_give_a_value_a_broken_item_or_one_error(parser: Parser, data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(parser.seeds))
    if data.draw(st.booleans()):  # from the middle of a sound input, whatever follows
        start = data.draw(st.integers(0, len(whole)))
        whole = whole[:start] + data.draw(st.binary(max_size=200)) + whole[start + data.draw(st.integers(0, 20)) :]
    else:
        whole = data.draw(st.sampled_from(ALL))(whole, data.draw(st.randoms(use_true_random=False)))
    try:
        parser.parse(whole)
    except REFUSALS as error:
        assert str(error).strip()


fuzzer = pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has wheels for Linux on x86-64 alone")


def fuzz(name: str, runs: int, folder: Path) -> str:
    """What the fuzzer said of a parser, in a process of its own: it ends the one that it runs in."""
    command = [sys.executable, "-m", "tests.faults.fuzzing", name, str(runs), str(folder)]
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ).stdout


@fuzzer
@pytest.mark.soak
@pytest.mark.parametrize("name", PARSERS)
def test_guided_by_coverage_no_input_is_found_that_raises_anything_else(name: str, tmp_path: Path) -> None:
    runs = FEWER.get(name, RUNS)
    said = fuzz(name, runs, tmp_path)
    assert f"Done {runs} runs" in said and list(tmp_path.iterdir()) == [tmp_path / "corpus"], said[-3000:]
    assert len(list((tmp_path / "corpus").iterdir())) > len(PARSERS[name].seeds), "no input reached anything new"


@fuzzer
@pytest.mark.slow
def test_the_fuzzer_finds_a_crash_behind_six_doors(tmp_path: Path) -> None:
    said = fuzz("planted", 100_000, tmp_path)
    assert "KeyError: 'planted'" in said and list(tmp_path.glob("crash-*")), said[-3000:]
