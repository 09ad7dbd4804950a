"""While a flow runs: progress of pretraining goes to Prefect, a cancellation comes from it; runs whose process died are told.

Everything here is a view: when the server stops answering the work goes on.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.states import Crashed

from flows import progress
from stages.common.workspace import Workspace

INTERVAL_S = 1.0
AUTOMATION = "prelude: a run whose process died has crashed"
HEARTBEAT_S = 30
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed")


class Oversight:
    """`with Oversight(...)`: asks every second whether the flow run is to be cancelled, and publishes progress.

    at_work: names of the stages at work. cancel: called once when the run was cancelled in Prefect.
    """

    def __init__(self, run: UUID, workspace: Workspace, at_work: Callable[[], list[str]], cancel: Callable[[], None]) -> None:
        self.run, self.workspace, self.at_work, self.cancel = run, workspace, at_work, cancel
        self._artifacts: dict[str, UUID] = {}
        self._shown: dict[str, int] = {}
        self._stop = threading.Event()
        context = contextvars.copy_context()  # artifacts are filed under the flow run that they find there
        self._thread = threading.Thread(target=context.run, args=(self._follow,), name="prelude-oversight", daemon=True)

    def __enter__(self) -> Oversight:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _follow(self) -> None:
        with contextlib.suppress(Exception), get_client(sync_client=True) as client:
            while not self._stop.wait(INTERVAL_S):
                with contextlib.suppress(Exception):  # the server is away: ask again
                    if self._cancelled(client):
                        self.cancel()
                        return
                    self._publish()

    def _cancelled(self, client: SyncPrefectClient) -> bool:
        state = client.read_flow_run(self.run).state
        return state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED)

    def _publish(self) -> None:
        for name in self.at_work():
            stage, _, key = name.rpartition("@")
            now = progress.read(self.workspace, stage, key) if stage == "pretrain" else None
            if now is None or self._shown.get(name) == now.step:
                continue
            self._shown[name] = now.step
            percent, text = 100 * now.step / max(now.steps, 1), f"{name}: {now.text()}"
            if name in self._artifacts:
                update_progress_artifact(self._artifacts[name], progress=percent, description=text)
            else:
                artifact = name.replace("@", "-").replace("_", "-").lower()
                made = create_progress_artifact(progress=percent, key=artifact, description=text)
                assert isinstance(made, UUID)
                self._artifacts[name] = made


def limit_gpus(gpus: int) -> None:
    """At most so many tasks tagged `gpu` at once on this server, whichever run they belong to."""
    with get_client(sync_client=True) as client:
        client.create_concurrency_limit(tag="gpu", concurrency_limit=gpus)


def tell_of_the_dead() -> None:
    """Has the server call a run crashed that sends no heartbeat for three of its intervals. Once per server."""
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/automations/filter", json={"automations": {"name": {"any_": [AUTOMATION]}}}).json()
        if any(one["name"] == AUTOMATION for one in found):
            return
        ends = {f"prefect.flow-run.{end}" for end in _ENDS}
        trigger = EventTrigger(
            posture=Posture.Proactive,
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *ends},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            threshold=1,
            within=timedelta(seconds=3 * HEARTBEAT_S),
        )
        message = "Its process died: it sent no heartbeat."
        action = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message, force=True)
        automation = AutomationCore(name=AUTOMATION, trigger=trigger, actions=[action])
        client.request("POST", "/automations/", json=automation.model_dump(mode="json"))


def bury_the_dead(but: UUID | None = None) -> None:
    """Runs that the server of this workspace still shows as running died with an earlier server: none is at work `but` this."""
    running = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])))
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=running, sort=FlowRunSort.START_TIME_DESC, limit=50, offset=0):
            if run.id != but:
                client.set_flow_run_state(run.id, Crashed(message="Its process died."), force=True)
