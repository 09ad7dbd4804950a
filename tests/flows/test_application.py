"""Prefect's server as Prelude starts it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def automations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A SQLite file for Prefect, and its automations as our server has them."""
    from prefect.server.events import triggers
    from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings

    from flows.application import lock_before_reading

    monkeypatch.setattr(triggers, "automations_session", triggers.automations_session)  # as it was, when the test is over
    lock_before_reading()
    with temporary_settings({PREFECT_SERVER_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{tmp_path}/prefect.db"}):
        yield


@pytest.mark.slow
def test_an_automation_that_reads_and_then_counts_is_not_refused_for_what_others_write_meanwhile(automations: None) -> None:
    import sqlalchemy
    from prefect.server.database import provide_database_interface
    from prefect.server.events import triggers

    async def twice() -> int:
        database, read = provide_database_interface(), asyncio.Event()
        async with database.session_context(begin_transaction=True) as session:
            await session.execute(sqlalchemy.text("CREATE TABLE bucket AS SELECT 0 AS count"))

        async def counts() -> None:
            async with triggers.automations_session(begin_transaction=True) as session:
                (count,) = (await session.execute(sqlalchemy.text("SELECT count FROM bucket"))).one()
                read.set()
                await asyncio.sleep(0.3)
                await session.execute(sqlalchemy.text("UPDATE bucket SET count = :count"), {"count": count + 1})

        async def writes() -> None:
            await read.wait()
            async with database.session_context(begin_transaction=True) as session:
                await session.execute(sqlalchemy.text("UPDATE bucket SET count = count + 1"))

        await asyncio.gather(counts(), writes())
        async with database.session_context() as session:
            return int((await session.execute(sqlalchemy.text("SELECT count FROM bucket"))).scalar_one())

    assert asyncio.run(twice()) == 2
