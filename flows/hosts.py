"""Prefect's server for this machine alone: it answers to loopback's names, so that no page in a browser reaches it by its own.

A page may point a name of its own at 127.0.0.1 (DNS rebinding); the request then still says that name. MLflow checks it itself.
"""

from __future__ import annotations

from fastapi import FastAPI

NAMES = ["127.0.0.1", "localhost"]


def create_app() -> FastAPI:
    """Prefect's application, behind a look at every request's Host. uvicorn calls it (`--factory`)."""
    from prefect.server.api.server import create_app
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = create_app()
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=NAMES)
    return app
