"""Whatever bytes a parser is given, it gives a value, a broken item or one clear error: never another exception."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.covering import fuzz
from tests.faults.hostile.mutations import ALL
from tests.faults.parsers import REFUSALS, STAGES, Parser, parsers

PARSERS = parsers()
BUDGET = 4000


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


@pytest.mark.soak
def test_guided_by_coverage_no_input_is_found_that_raises_anything_else(parser: Parser) -> None:
    found = fuzz(parser.parse, parser.seeds, REFUSALS, STAGES, executions=BUDGET)
    assert found.crash is None, f"{found.crash[1]!r} of {found.crash[0][:2000]!r}"
    assert found.executions == BUDGET and len(found.lines) > 5


_SEED, _TRIES = b"nothing", 20_000


def planted(data: bytes) -> int:
    """Raises KeyError behind six doors, each a line of its own and open to 15 of 256 values of a byte."""
    doors = 0
    if len(data) > 6 and 0x80 < data[1] < 0x90:
        doors = 1
        if 0x80 < data[2] < 0x90:
            doors = 2
            if 0x80 < data[3] < 0x90:
                doors = 3
                if 0x80 < data[4] < 0x90:
                    doors = 4
                    if 0x80 < data[5] < 0x90 and 0x80 < data[6] < 0x90:
                        raise KeyError("planted")
    return doors


def test_the_fuzzer_finds_a_crash_that_blind_mutation_does_not() -> None:
    here = Path(__file__).resolve().parent
    guided, again, blind = (
        fuzz(planted, [_SEED], REFUSALS, here, executions=_TRIES, seed=1, guided=guided) for guided in (True, True, False)
    )
    assert guided.crash is not None and isinstance(guided.crash[1], KeyError) and guided.executions < _TRIES
    assert again.crash is not None and (again.executions, again.crash[0]) == (guided.executions, guided.crash[0])
    assert blind.crash is None and blind.executions == _TRIES
