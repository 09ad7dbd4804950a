"""What `prelude serve` registers, and what it refuses before it starts anything."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from pathlib import Path

import pytest

from flows import cli, schedules
from flows.schedules import serve, turns
from flows.schedules.deployments import Wish, wanted_by
from flows.server import Server, serving
from stages.common.errors import UserError
from stages.common.workspace import Workspace
from tests.flows.conftest import Said
from tests.flows.schedules import kit


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    root = tmp_path / "place"
    root.mkdir()
    pinned = "{name: url, url: 'http://a', sha256: ab}"
    kit.sources(
        root, fixed="{name: bundled}", here="{name: folder, path: raw}", there="{name: url, url: 'http://a'}", pinned=pinned
    )
    (root / "dvc.yaml").write_text("stages: {}\n")
    return root


def test_all_schedules_are_registered_with_their_times_and_every_corpus_that_can_change_is_watched(planned: Path) -> None:
    found = [(one.flow, one.name, one.cron, one.interval_s, one.parameters) for one in wanted_by(planned, Wish())]
    assert found == [
        ("nightly", "place", "0 2 * * *", None, {}),
        ("weekly_verify", "place", "0 4 * * 0", None, {}),
        ("watch", "place-here", None, 300.0, {"corpus": "here"}),
        ("watch", "place-there", None, 300.0, {"corpus": "there"}),
    ]


def test_what_the_call_names_is_what_is_registered(planned: Path) -> None:
    (one,) = wanted_by(
        planned, Wish(["nightly"], cron="5 3 * * 1", timezone="Europe/Berlin", systems=["x"], notify="alerts", label="l")
    )
    assert (one.name, one.cron, one.interval_s, one.timezone, one.asked) == ("l", "5 3 * * 1", None, "Europe/Berlin", True)
    assert one.parameters == {"systems": ["x"], "notify": "alerts"}
    (one,) = wanted_by(planned, Wish(["watch"], interval_s=60, corpora=["fixed"]))
    assert (one.name, one.cron, one.interval_s, one.parameters) == ("place-fixed", None, 60, {"corpus": "fixed"})


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["nihgtly"], "did you mean 'nightly'?"),
        (["--cron", "0 2 * * *"], "a time is for one schedule"),
        (["nightly", "watch", "--interval", "5"], "a time is for one schedule"),
        (["nightly", "--cron", "0 2 * * *", "--interval", "5"], "exclude each other"),
        (["nightly", "--cron", "at two"], "no time can be made of 'at two'"),
        (["nightly", "--cron", "0 2 * * *", "--timezone", "Mars"], "no time can be made of"),
        (["nightly", "--interval", "0.5"], "below a second"),
        (["nightly", "--corpus", "here"], "--corpus is for the schedule watch"),
        (["watch", "--corpus", "hear"], "did you mean 'here'?"),
    ],
)
def test_a_mistake_is_refused_before_a_server_is_started(
    planned: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argv: list[str], shown: str
) -> None:
    monkeypatch.chdir(planned)
    monkeypatch.setattr(Server, "start", lambda self: pytest.fail("a server was started"))
    said = Said(capsys, "serve", *argv)
    assert said.code == 2 and shown in said.err and said.out == ""


def test_nothing_to_watch_is_said(planned: Path) -> None:
    kit.sources(planned, fixed="{name: bundled}")
    assert [one.flow for one in wanted_by(planned, Wish())] == ["nightly", "weekly_verify"]
    with pytest.raises(UserError, match="no corpus whose source can change"):
        serve.serve(planned, Wish(["watch"]))


def test_a_second_serve_is_refused_and_a_run_finds_the_firsts_server(planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    workspace = Workspace(planned)
    assert serving(workspace) == ""
    (planned / ".prelude/locks").mkdir(parents=True)
    with (planned / ".prelude/locks/serve.lock").open("w") as held:
        json.dump({"pid": 1, "url": "http://127.0.0.1:1/api"}, held)
        held.flush()
        assert serving(workspace) == ""  # it was killed: its address is worth nothing
        fcntl.flock(held, fcntl.LOCK_EX)
        server = Server(workspace)
        assert (server.url, server.own) == ("http://127.0.0.1:1/api", False)
        server.start()
        assert os.environ["PREFECT_API_URL"] == server.url
        server.stop()
        assert "PREFECT_API_URL" not in os.environ
        with pytest.raises(UserError, match="at work here already"):
            serve.serve(planned, Wish(["nightly"]))
    with serve._lock(workspace):
        assert serving(workspace) == ""  # its server does not answer yet


def test_runs_of_one_kind_take_turns_and_kinds_do_not_stop_each_other(tmp_path: Path) -> None:
    workspace, seen = Workspace(tmp_path), []

    def other(kind: str) -> None:
        with turns.turn(workspace, kind) as mine:
            seen.append(mine)

    with turns.turn(workspace, "nightly") as mine:
        assert mine
        for kind in ("nightly", "weekly_verify"):
            thread = threading.Thread(target=other, args=(kind,))
            thread.start()
            thread.join()
    assert seen == [False, True]
    with turns.turn(workspace, "nightly") as again:
        assert again


def test_every_schedule_is_a_flow_of_its_name() -> None:
    assert set(schedules.CRON) | set(schedules.INTERVAL_S) == set(schedules.NAMES)
    help_text = cli.parser().format_help()
    assert "serve" in help_text
