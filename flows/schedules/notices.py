"""Notices: JSON to a webhook when a run failed, when a claim changed its verdict, when files were found damaged.

The address lies in a Prefect block of type Webhook and never leaves it: parameters name the block, and what is logged of a
webhook that fails is the kind of its error.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from typing import Any, cast

from prefect import Flow
from prefect.blocks.webhook import Webhook
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from flows.verdicts import Row

TIMEOUT_S = 15.0
Body = dict[str, Any]


def body(kind: str, flow: str, run: str, lines: list[str]) -> Body:
    """What is sent. kind: failed, crashed, verdict or damage. text: for people; the rest for programs."""
    what = {"failed": "failed", "crashed": "crashed", "verdict": "a claim changed its verdict", "damage": "found damaged files"}
    key = "changes" if kind == "verdict" else "errors"
    text = "\n".join([f"prelude: {flow} ({run}): {what[kind]}", *lines])
    return {"kind": kind, "flow": flow, "run": run, "text": text, key: lines}


def changes(before: list[Row], after: list[Row]) -> list[str]:
    """Claims of both whose verdict differs: `quick.order: holds -> open (probe_a 0.910, probe_b 0.905)`."""
    old = {(row.system, row.claim): row.verdict for row in before}
    return [
        f"{row.system}.{row.claim}: {old[row.system, row.claim]} -> {row.verdict}"
        + (f" ({row.figures})" if row.figures else "")
        for row in after
        if old.get((row.system, row.claim), row.verdict) != row.verdict
    ]


def send(block: str, body: Body) -> str:
    """Calls the webhook of a block; returns why it could not, or nothing. Never raises, never names the address."""
    answer: list[str] = []

    def work() -> None:
        try:
            answer.append(asyncio.run(asyncio.wait_for(_post(block, body), TIMEOUT_S)))
        except Exception as error:  # its text may hold the address
            answer.append(f"the webhook {block!r} cannot be called ({type(error).__name__})")

    context = contextvars.copy_context()  # Prefect's settings
    thread = threading.Thread(target=context.run, args=(work,), name="prelude-notice")
    thread.start()
    thread.join()
    return answer[0]


async def _post(block: str, body: Body) -> str:
    for name in ("httpx", "httpcore"):  # they would log the address
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        hook = await Webhook.aload(block)
    except ValueError:
        return f"there is no Webhook block named {block!r}"
    response = await cast(Webhook, hook).call(body)
    return "" if response.status_code < 400 else f"the webhook {block!r} answered {response.status_code}"


def on_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect's hook of a flow that failed or crashed: sends its errors to the webhook that its parameter `notify` names."""
    block = flow_run.parameters.get("notify") or ""
    if not block:
        return
    kind = "crashed" if state.is_crashed() else "failed"
    errors = [part for part in (state.message or "").split("\n\n") if part.strip()]
    why = send(block, body(kind, flow.name, flow_run.name, errors))
    if why:
        flow_run_logger(flow_run, flow).warning("no notice was sent: %s", why)
