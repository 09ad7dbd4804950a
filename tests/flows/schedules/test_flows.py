"""The flows themselves, each in a flow run on a real server: what they do, the state they end in, and the notices they send."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import pipeline, worker
from flows.alone import alone
from flows.schedules import notices
from flows.verdicts import Row
from stages.common.workspace import Workspace
from tests.flows import toy
from tests.flows.schedules import kit
from tests.flows.test_verify import flip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def block(prefect_server: None) -> Iterator[list[dict[str, Any]]]:
    """What the webhook of the block `alerts` was sent."""
    from prefect.blocks.webhook import Webhook

    with kit.webhook() as (address, heard):
        Webhook(url=address).save("alerts", overwrite=True)
        yield heard


@pytest.fixture(scope="module")
def once(block: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.watched(tmp_path_factory.mktemp("watched") / "project")


@pytest.fixture
def place(once: Path, block: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh project, the current folder; its commands are no stages: no torch, and nothing to track."""
    root = Path(shutil.copytree(once, tmp_path / "project", symlinks=True))
    monkeypatch.setattr(worker, "PRELOAD", ["stages.common.stage"])
    monkeypatch.setattr(pipeline, "_track", lambda *_: {})
    monkeypatch.chdir(root)
    block.clear()
    return root


def _state(flow: Any, **parameters: Any) -> Any:
    return flow(**parameters, return_state=True)


def _logs(run: Any) -> str:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()
    with get_client(sync_client=True) as client:
        mine = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.state_details.flow_run_id]))
        return "\n".join(entry.message for entry in client.read_logs(mine, limit=200, offset=0))


def _run_of(state: Any) -> Any:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.read_flow_run(state.state_details.flow_run_id)


def test_nightly_runs_the_graph_and_tells_of_a_verdict_that_changed(place: Path, block: list[dict[str, Any]]) -> None:
    from flows.schedules.nightly import nightly

    first = _state(nightly, notify="alerts")
    assert (first.name, first.message) == ("Completed", "3 ran, 0 cached")
    assert block == []  # a claim that is new has not changed its verdict
    (place / "verdict.txt").write_text("open\n")
    second = _state(nightly, notify="alerts")
    assert second.message == "1 ran, 2 cached"
    (sent,) = block
    assert (sent["kind"], sent["flow"], sent["run"]) == ("verdict", "nightly", _run_of(second).name)
    assert sent["changes"] == ["quick.order: holds -> open (probe 0.910)"]
    assert "quick.order: holds -> open" in sent["text"]
    assert _state(nightly, notify="alerts").message == "0 ran, 3 cached" and len(block) == 1


def test_nightly_fails_with_the_stages_words_and_tells_of_it_without_the_address(
    place: Path, block: list[dict[str, Any]]
) -> None:
    from flows.schedules.nightly import nightly

    (place / "make.py").write_text(
        "import sys\nif 'joined' in sys.argv[1]: sys.exit('error: a column is missing')\n" + toy.MAKE
    )
    state = _state(nightly, notify="alerts")
    assert state.name == "Failed" and "join: " in state.message and "a column is missing" in state.message
    (sent,) = block
    assert (sent["kind"], sent["run"]) == ("failed", _run_of(state).name)
    assert "a column is missing" in sent["errors"][0]
    run = _run_of(state)
    assert run.parameters["notify"] == "alerts"
    for told in (str(run.model_dump()), _logs(state)):
        assert "SECRET" not in told


def test_a_webhook_that_fails_is_logged_without_its_address_and_fails_nothing(place: Path) -> None:
    from prefect.blocks.webhook import Webhook

    from flows.schedules.nightly import nightly

    Webhook(url="http://127.0.0.1:9/hooks/SECRET").save("away", overwrite=True)
    _state(nightly, notify="away")
    (place / "verdict.txt").write_text("open\n")
    state = _state(nightly, notify="away")
    assert state.name == "Completed"
    logs = _logs(state)
    assert "no notice was sent: the webhook 'away' cannot be called (ConnectError)" in logs and "SECRET" not in logs
    assert notices.send("none", {}) == "there is no Webhook block named 'none'"
    with kit.webhook(answer=500) as (address, heard):
        Webhook(url=address).save("refuses", overwrite=True)
        assert notices.send("refuses", {"a": 1}) == "the webhook 'refuses' answered 500" and heard == [{"a": 1}]


def test_weekly_verify_sets_damage_aside_makes_it_again_and_tells(place: Path, block: list[dict[str, Any]]) -> None:
    from flows.schedules.nightly import nightly
    from flows.schedules.weekly_verify import weekly_verify

    (place / "make.py").write_text(toy.MAKE + kit.SEAL)
    _state(nightly)
    toy.ran(place)
    whole = _state(weekly_verify, notify="alerts")
    assert whole.name == "Completed" and whole.message.startswith("all whole: 2 outputs and ") and block == []
    content = (place / "data/joined/all.txt").read_bytes()
    for path in (p for p in (place / ".dvc/cache/files/md5").rglob("*") if p.is_file() and p.read_bytes() == content):
        flip(path)
    flip(place / "data/joined/all.txt")
    refused = _state(weekly_verify, repair=False, notify="alerts")
    assert refused.name == "Failed" and "prelude verify --repair" in refused.message
    assert [sent["kind"] for sent in block] == ["damage", "failed"]
    state = _state(weekly_verify, notify="alerts")
    assert state.name == "Repaired" and "all whole again" in state.message, state.message
    assert toy.ran(place) == ["joined"] and (place / "data/joined/all.txt").read_bytes() == content
    assert [sent["kind"] for sent in block] == ["damage", "failed", "damage"]
    assert list((place / ".prelude/quarantine").glob("*/data/joined/all.txt"))
    table = _artifact("verify")
    assert '"why": "differs from its manifest"' in table and '"done": "ran"' in table


def test_watch_ingests_a_changed_source_and_what_follows(place: Path, block: list[dict[str, Any]]) -> None:
    from flows.schedules.nightly import nightly
    from flows.schedules.watch import watch

    _state(nightly)
    toy.ran(place)
    assert _state(watch, corpus="a", settle_s=0).message == "seen for the first time"
    assert _state(watch, corpus="a", settle_s=0).message == "nothing changed"
    (place / "raw" / "two.txt").write_text("two\n")
    with alone(Workspace(place), "a long run"):
        busy = _state(watch, corpus="a", settle_s=0)
        assert (busy.name, busy.type.value) == ("Skipped", "COMPLETED") and "'a long run'" in busy.message
    assert toy.ran(place) == []
    state = _state(watch, corpus="a", settle_s=0)
    assert (state.name, state.message) == ("Completed", "1 ran, 2 cached")
    assert toy.ran(place) == ["a", "joined"]
    assert (place / "data/joined/all.txt").read_text() == "one\ntwo\n"
    assert _state(watch, corpus="a", settle_s=0).message == "nothing changed"


def test_watch_tries_again_what_failed_and_says_what_cannot_change(place: Path) -> None:
    from flows.schedules.watch import watch

    _state(watch, corpus="a", settle_s=0)
    (place / "raw" / "two.txt").write_text("two\n")
    (place / "make.py").write_text("import sys; sys.exit('error: bad data')")
    assert _state(watch, corpus="a", settle_s=0).name == "Failed"
    (place / "make.py").write_text(toy.MAKE)
    assert _state(watch, corpus="a", settle_s=0).name == "Completed" and toy.ran(place) == ["a", "joined"]
    kit.sources(place, a="{name: git, commit: abc}")
    state = _state(watch, corpus="a", settle_s=0)
    assert (state.name, state.message) == ("Completed", "the source of a cannot change: it is pinned to commit abc")
    assert "did you mean 'a'?" in _state(watch, corpus="A", settle_s=0).message


def test_only_a_verdict_that_differs_is_a_change() -> None:
    def row(claim: str, verdict: str, figures: str = "") -> Row:
        return Row("s", claim, "", verdict, figures, "real")

    before = [row("a", "holds"), row("b", "open"), row("gone", "holds")]
    after = [row("a", "contradicted", "x 0.1"), row("b", "open", "x 0.2"), row("new", "holds")]
    assert notices.changes(before, after) == ["s.a: holds -> contradicted (x 0.1)"]


def test_registering_again_keeps_what_was_set_on_the_server_and_forgets_what_was_missed(place: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.runner import Runner

    from flows.schedules.deployments import Deployment, register, unscheduled

    def again(paused: bool = False, **how: Any) -> str:
        one = Deployment("nightly", "here", how.pop("parameters", {}), **how)
        return " ".join(asyncio.run(register(Runner(pause_on_shutdown=False), one, paused)).split())

    assert again(cron="0 2 * * *", parameters={"systems": ["a"]}) == "nightly/here 0 2 * * * UTC"
    with get_client(sync_client=True) as client:
        made = client.read_deployment_by_name("nightly/here")
        assert (made.entrypoint, made.parameters) == ("flows.schedules.nightly.nightly", {"systems": ["a"]})
        properties = made.parameter_openapi_schema["properties"]
        assert properties["workers"]["description"].startswith("cores to use") and list(properties)[-1] == "notify"
        client.request(
            "PATCH", f"/deployments/{made.id}", json={"paused": True, "parameters": {"systems": ["a"], "workers": 2}}
        )
        assert again(cron="0 2 * * *", parameters={"notify": "alerts"}) == "nightly/here 0 2 * * * UTC paused"
        now = client.read_deployment_by_name("nightly/here")
        assert now.parameters == {"systems": ["a"], "workers": 2, "notify": "alerts"}
        assert again(interval_s=60.0, asked=True) == "nightly/here every 60 s paused"

        client.request("PATCH", f"/deployments/{made.id}", json={"paused": False})
        window = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T02:00:00Z", "min_runs": 5, "max_runs": 5}
        client.request("POST", f"/deployments/{made.id}/schedule", json=window)
        by_hand = client.create_flow_run_from_deployment(made.id)
        mine = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[made.id]))
        runs = client.read_flow_runs(flow_run_filter=mine, sort=FlowRunSort.EXPECTED_START_TIME_ASC)
        assert len([run for run in runs if run.auto_scheduled]) == 5
        again(interval_s=60.0)
        runs = client.read_flow_runs(flow_run_filter=mine, sort=FlowRunSort.EXPECTED_START_TIME_ASC)
        assert [run.id for run in runs] == [by_hand.id]
        assert asyncio.run(unscheduled(["nightly/here"])) == []
        client.request("DELETE", f"/flow_runs/{by_hand.id}")
        assert asyncio.run(unscheduled(["nightly/here"])) == ["nightly/here"]
        again(paused=True)
        assert asyncio.run(unscheduled(["nightly/here"])) == []


def _artifact(key: str) -> str:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        body = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
        return str(client.request("POST", "/artifacts/filter", json=body).json()[0]["data"])
