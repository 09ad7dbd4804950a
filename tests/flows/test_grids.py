"""Grids of a recipe become nodes, and claims name them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import compose
from flows.grids import spread_grids
from stages.common import plan
from stages.common.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def base() -> dict[str, Any]:
    return compose.compose(ROOT, "quickstart")


def with_grid(base: dict[str, Any], grid: Any, **claims: Any) -> dict[str, Any]:
    systems = {"quickstart": {**base["systems"]["quickstart"], "claims": claims}}
    return spread_grids({**base, "systems": systems, "grids": {"g": grid}}, "quickstart")


TEMPERATURE, RATE = "encoders.simclr.objective.temperature", "encoders.simclr.optim.lr"


def test_every_combination_is_a_copy_of_the_node_and_of_what_follows(base: dict[str, Any]) -> None:
    found = with_grid(base, {TEMPERATURE: [0.1, 0.2], RATE: [1e-3, 5e-3]})
    copies = [n for n, e in found["encoders"].items() if e.get("variant_of") == "simclr"]
    assert len(copies) == 4
    assert [(found["encoders"][n]["objective"]["temperature"], found["encoders"][n]["optim"]["lr"]) for n in copies] == [
        (0.1, 1e-3),
        (0.1, 5e-3),
        (0.2, 1e-3),
        (0.2, 5e-3),
    ]
    probes = [t for t in found["tasks"].values() if t.get("variant_of") == "probe_simclr"]
    assert [found["features"][p["features"]]["encoder"] for p in probes] == copies
    assert found["encoders"]["simclr"] == base["encoders"]["simclr"] and "grids" not in found


def test_a_list_of_grids_is_their_union_and_the_bases_own_value_makes_no_copy(base: dict[str, Any]) -> None:
    found = with_grid(base, [{TEMPERATURE: [0.1, 0.5]}, {RATE: [5e-3]}])
    assert len([e for e in found["encoders"].values() if e.get("variant_of")]) == 2  # 0.5 is the base


def test_claims_name_the_base_and_all_its_variants_in_one_order(base: dict[str, Any]) -> None:
    correlation = {"x": ["measures_simclr*"], "x_metric": "rankme", "y": ["probe_simclr*"], "y_metric": "accuracy"}
    choice = {"among": ["probe_simclr*", "probe_random"], "by": ["measures_simclr*", "measures_random"], "by_metric": "rankme"}
    found = with_grid(
        base,
        {TEMPERATURE: [0.1, 0.2]},
        ranks={"says": "s", "correlation": correlation},
        picks={"says": "s", "metric": "accuracy", "choice": choice},
        plain={"says": "s", "metric": "accuracy", "order": ["probe_simclr", "probe_random"]},
    )["systems"]["quickstart"]["claims"]
    x, y = found["ranks"]["correlation"]["x"], found["ranks"]["correlation"]["y"]
    assert x[0] == "measures_simclr" and [n.replace("measures", "probe") for n in x] == y and len(y) == 3
    assert found["picks"]["choice"]["among"] == [*y, "probe_random"]
    assert found["plain"]["order"] == ["probe_simclr", "probe_random"]


@pytest.mark.parametrize("grid", [{}, {TEMPERATURE: 0.1}, "simclr"])
def test_what_is_no_grid_is_refused(base: dict[str, Any], grid: Any) -> None:
    with pytest.raises(UserError, match="a grid maps keys of nodes to lists of values"):
        with_grid(base, [grid])


def test_a_key_that_names_nothing_and_a_grid_too_large_are_refused(base: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="unknown node 'simcl'"):
        with_grid(base, {"encoders.simcl.optim.lr": [1]})
    with pytest.raises(UserError, match="make a plan of"):
        with_grid(base, {RATE: [1e-3 + i * 1e-5 for i in range(80)]})


def test_a_plan_whose_grids_hydra_left_alone_is_refused_by_every_stage(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"grids": {"g": {RATE: [1]}}}))
    with pytest.raises(UserError, match="not spread into nodes") as caught:
        plan.load(tmp_path / "params.yaml")
    assert caught.value.do == "compose it with `prelude plan`"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"grids": {}}))
    assert plan.load(tmp_path / "params.yaml").encoders == {}
