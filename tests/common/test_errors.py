"""Errors say what, where and what to do, and cross a process border whole."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from stages.common.errors import ContractError, UserError, unknown


def test_an_error_shows_what_where_and_what_to_do() -> None:
    shown = str(UserError("the file is empty", where=Path("a/b.csv"), do="write rows into it"))
    assert shown == "the file is empty\n  where: a/b.csv\n  do: write rows into it"


def test_parts_of_an_error_that_were_not_given_are_not_shown() -> None:
    assert str(UserError("the file is empty")) == "the file is empty"
    assert str(UserError("the file is empty", do="fill it")) == "the file is empty\n  do: fill it"


@pytest.mark.parametrize("kind", [UserError, ContractError])
def test_an_error_survives_pickling(kind: type[UserError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what", where="here", do="that")))
    assert (type(error), error.what, error.where, error.do) == (kind, "what", "here", "that")


def _fail() -> None:
    raise ContractError("column 'id' is missing", where="part-00000.parquet", do="run the ingest again")


def test_an_error_raised_in_another_process_arrives_whole() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, pytest.raises(ContractError) as caught:
        pool.submit(_fail).result()
    assert (caught.value.where, caught.value.do) == ("part-00000.parquet", "run the ingest again")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    error = unknown("objective", "simcrl", ["vicreg", "simclr", "none"], where="encoders.a")
    assert (error.what, error.where, error.do) == ("unknown objective 'simcrl'", "encoders.a", "did you mean 'simclr'?")


def test_a_name_that_is_near_to_nothing_is_answered_with_the_whole_list() -> None:
    assert unknown("objective", "xyz", ["vicreg", "simclr"]).do == "choose one of: simclr, vicreg"


def test_a_name_where_none_is_allowed_is_to_be_removed() -> None:
    assert unknown("key", "xyz", []).do == "remove it: none is allowed here"


def test_a_name_in_the_wrong_case_is_answered_with_the_right_one() -> None:
    assert unknown("objective", "SimCLR", ["vicreg", "simclr", "none"]).do == "did you mean 'simclr'?"
    assert unknown("label", "DIGIT", ["Digit", "writer"]).do == "did you mean 'Digit'?"
