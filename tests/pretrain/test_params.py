"""The configuration groups of this stage name parts and arguments that exist."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stages.common import registry
from stages.common.plan import OptimPlan
from stages.common.schema import Part, build

PARAMS = Path(__file__).resolve().parents[2] / "params"


@pytest.mark.parametrize("path", sorted([*PARAMS.glob("views/*.yaml"), *PARAMS.glob("objective/*.yaml")]), ids=lambda p: p.stem)
def test_a_part_group_fits_its_parts_signature(path: Path) -> None:
    part = Part.of(yaml.safe_load(path.read_text()), path.name)
    registry.check(path.parent.name, part, path.name)


@pytest.mark.parametrize("path", sorted(PARAMS.glob("optim/*.yaml")), ids=lambda p: p.stem)
def test_an_optimiser_group_fits_the_plan(path: Path) -> None:
    assert build(OptimPlan, yaml.safe_load(path.read_text()), path.name).name == path.stem


def test_every_objective_and_view_has_a_group() -> None:
    for kind in ("objective", "views"):
        assert set(registry.names(kind)) <= {p.stem for p in (PARAMS / kind).glob("*.yaml")}
