"""Workspaces that the command line works in, and what it said."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import cli, compose, worker
from flows.server import Server
from stages.common import atomic, stage
from stages.common.stage import Job
from stages.common.workspace import Workspace
from tests.flows import toy
from tests.flows.params_tree import GROUPS, put, write_tree
from tests.toy import install_parts

CLAIMS = """
        systems:
          one:
            title: One
            provenance: simulated
            claims:
              better: {says: "trained beats [all] random", metric: accuracy, order: [probe, control]}
              open: {says: "and it is open", metric: accuracy, order: [probe, control]}
        """
RESULT = {
    "system": "one",
    "claims": [
        {
            "id": "better",
            "says": "trained beats [all] random",
            "verdict": "holds",
            "seeds": 3,
            "values": {
                "probe": {"accuracy": {"mean": 0.91, "std": 0.02}},
                "control": {"accuracy": {"mean": 0.5, "std": None}},
            },
        }
    ],
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace of two systems, nothing run, the current folder."""
    write_tree(tmp_path)
    system = GROUPS["system/one"].replace("systems: {one: {title: One}}", "").rstrip()
    system = system.replace("task@tasks.probe: probe\n", "task@tasks.probe: probe\n          - /task@tasks.control: probe\n")
    tasks = "tasks: {probe: {system: one, corpus: digits, features: trained}"
    control = "control: {system: one, corpus: digits, features: trained}"
    put(tmp_path, "system/one", system.replace(tasks, f"{tasks}, {control}") + CLAIMS)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    for _ in install_parts(tmp_path / "parts", monkeypatch):
        yield tmp_path


@pytest.fixture
def ran(root: Path) -> Path:
    """The same with every node of system one made, and its result."""
    whole, workspace = compose.write(root, ["one"]), Workspace(root)

    def make(name: str, key: str, inputs: dict[str, Path], out: Path, **files: Any) -> None:
        def work(job: Job) -> None:
            job.record.metric("accuracy", 0.9, seed=0, slice="5", n=40)
            job.record.warn("a warning")
            for file, content in (files or {"a.json": key}).items():
                atomic.write_json(job.out / file, content)

        stage.execute(name, key, whole, workspace, work, lambda *_: inputs, lambda *_: out)

    corpus = workspace.corpus("digits")
    make("ingest", "digits", {}, corpus)
    for key in ("trained", "random"):
        make("pretrain", key, {"corpus": corpus}, workspace.encoder(key))
    features = workspace.features("trained")
    make("extract", "trained", {"encoder": workspace.encoder("trained"), "corpus": corpus}, features)
    for key in ("probe", "control"):
        make("fit", key, {"features": features}, workspace.task("one", key))
    tasks = {key: workspace.task("one", key) for key in ("probe", "control")}
    make("evaluate", "one", tasks, workspace.report("one"), **{"result.json": RESULT})
    return root


class Said:
    """What a command printed and its exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *argv: str) -> None:
        self.code = cli.main(list(argv))
        self.out, self.err = capsys.readouterr()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.create(tmp_path_factory.mktemp("toy") / "project")


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(worker, "PRELOAD", ["stages.common.stage"])
    return Path(shutil.copytree(template, tmp_path / "project", symlinks=True))


@pytest.fixture(autouse=True)
def prefect_variables() -> Iterator[None]:
    """What a run sets for Prefect in this process is gone with the test."""
    before = {k: v for k, v in os.environ.items() if k.startswith("PREFECT_")}
    yield
    for name in [k for k in os.environ if k.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server as `prelude serve` starts it, in a workspace of its own; whatever asks Prefect in this process asks it.

    It schedules nothing by itself: a test of schedules asks for that.
    """
    from prefect import context
    from prefect.settings import PREFECT_API_URL, temporary_settings

    before, server = dict(os.environ), Server(Workspace(tmp_path_factory.mktemp("prefect")))
    os.environ["PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED"] = "false"
    try:
        server.start()
        assert server.own and not server.ready()
    finally:
        os.environ.clear()
        os.environ.update(before)
    # threads that begin without a context find the settings of the process
    temporary, everywhere = temporary_settings({PREFECT_API_URL: server.url}), context._temporary_global_settings_context
    with temporary, everywhere(context.get_settings_context()):
        yield
    server.stop()
