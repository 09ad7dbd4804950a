"""One synthetic workspace and its page for all tests of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.common.workspace import Workspace
from tests.report.workspace import write, write_report


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return write(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="session")
def page_folder(full: Workspace) -> Path:
    return write_report(full)
