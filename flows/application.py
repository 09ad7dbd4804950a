"""Prefect's server as Prelude starts it: for this machine alone, and able to watch runs on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from flows.loopback import LOOPBACK

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


def create_app() -> FastAPI:
    """Prefect's application, behind a look at every request's Host. uvicorn calls it (`--factory`).

    A page may point a name of its own at 127.0.0.1 (DNS rebinding); the request then still says that name. MLflow checks it
    itself.
    """
    from prefect.server.api.server import create_app
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    lock_before_reading()
    app = create_app()
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))
    return app


def lock_before_reading() -> None:
    """Has automations take SQLite's write lock when they begin, not after they have read.

    A transaction that has read cannot wait for another writer: SQLite refuses its write at once ("database is locked"). The
    end of a watched run is read, then counted; refused, its statement is freed late, on the event loop's thread, which then
    waits for the connection while that waits for a lock whose holder waits for the event loop: the server stands still for
    the 60 s of its `busy_timeout`.
    """
    from prefect.server.database import provide_database_interface
    from prefect.server.events import triggers

    @asynccontextmanager
    async def session(begin_transaction: bool = False) -> AsyncIterator[AsyncSession]:
        database = provide_database_interface()
        async with database.session_context(begin_transaction=begin_transaction, with_for_update=True) as opened:
            yield opened

    triggers.automations_session = session  # type: ignore[assignment]
