"""The workspace that faults are tried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import pipeline


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which every stage of the tiny plan ran undisturbed. A test that changes it puts it back."""
    root = tmp_path_factory.mktemp("faults")
    pipeline.write_plan(root)
    pipeline.warm()
    for stage in pipeline.NODES:
        assert pipeline.run(root, stage).code == 0, pipeline.said(root).read_text()
    return root


@pytest.fixture(params=pipeline.NODES)
def stage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def undisturbed(made: Path, stage: str) -> dict[str, bytes]:
    """What the stage makes. The report shows clocks of the records, which other tests have made anew."""
    if stage == "report":
        assert pipeline.run(made, stage).code == 0
    return pipeline.content(pipeline.target(made, stage))
