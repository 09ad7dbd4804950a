"""Prefect's server for the length of a run: on loopback, its database in .prelude/prefect, started while other work goes on.

A server that is named in PREFECT_API_URL is used instead, or the one that `prelude serve` keeps in this workspace.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from flows.loopback import free_port, spare_loopback
from stages.common.process import die_with_parent
from stages.common.workspace import Workspace

STARTUP_S = 120.0
SERVE_LOCK = "serve.lock"
_APP = ("--factory", "flows.application:create_app", "--host", "127.0.0.1", "--lifespan", "on", "--log-level", "error")


def environment(workspace: Workspace) -> None:
    """Settings that Prefect reads when it is imported: no analytics, its files in the workspace, a quiet console."""
    home = (workspace.state / "prefect").absolute()
    for name, value in {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": f"{STARTUP_S:.0f}",
        "PREFECT_HOME": str(home),
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",  # its client's threads, where a server is gone: the run says so itself
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }.items():
        os.environ.setdefault(name, value)


def serving(workspace: Workspace) -> str:
    """The address of the server that `prelude serve` keeps in this workspace; empty where it does not run."""
    path = workspace.state / "locks" / SERVE_LOCK
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return str(json.load(file)["url"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return ""


class Server:
    """`start` returns at once; `ready` waits. The server dies with this process, however that ends.

    ui: with Prefect's pages, at `page`. port: taken if it is free; else, and without one, any that is.
    """

    def __init__(self, workspace: Workspace, *, ui: bool = False, port: int | None = None) -> None:
        self.workspace, self.url = workspace, os.environ.get("PREFECT_API_URL", "") or serving(workspace)
        self.own, self.ui, self.port = not self.url, ui, port
        self.log = workspace.state / "logs" / "prefect.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._named, self._until = False, time.monotonic() + STARTUP_S

    def start(self) -> None:
        """Starts the server. Call it on the main thread: a child of another thread dies with that thread."""
        environment(self.workspace)
        spare_loopback()
        if not self.own:
            self._named = "PREFECT_API_URL" not in os.environ
            os.environ["PREFECT_API_URL"] = self.url
            return
        os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "1")  # by default a minute a question; ours is never restarted
        port = _free_port(self.port)
        self.url = f"http://127.0.0.1:{port}/api"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
        extra = {"PREFECT_API_URL": self.url, "PREFECT_LOGGING_SERVER_LEVEL": "ERROR", "PREFECT_UI_ENABLED": str(int(self.ui))}
        if self.ui:
            extra["PREFECT_UI_STATIC_DIRECTORY"] = str(Path(os.environ["PREFECT_HOME"]) / "ui")
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", *_APP, "--port", str(port)],
                env={**os.environ, **extra},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl+C in the terminal is for the run, which stops the server last
                preexec_fn=die_with_parent,
            )
        os.environ["PREFECT_API_URL"] = self.url

    @property
    def page(self) -> str:
        """Where the server's pages are, if it has them."""
        return self.url.removesuffix("/api")

    def look(self) -> str | None:
        """Nothing where the server answers, else why it never will; None while it starts."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return ""
        except (urllib.error.URLError, OSError) as error:
            if not self.own:
                return f"Prefect's server at {self.url} does not answer ({error})"
        if self._process is not None and self._process.poll() is not None:
            return f"Prefect's server ended with code {self._process.returncode}; see {self.log}"
        return None if time.monotonic() < self._until else f"Prefect's server did not answer in time; see {self.log}"

    def ready(self) -> str:
        """Waits until the server answers; returns the reason why it does not, or nothing."""
        while (why := self.look()) is None:
            time.sleep(0.1)
        return why

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
            self._named = True
        if self._named:
            os.environ.pop("PREFECT_API_URL", None)


def _free_port(wanted: int | None) -> int:
    with contextlib.suppress(OSError):
        if wanted:
            return free_port("127.0.0.1", wanted)
    return free_port("127.0.0.1")
