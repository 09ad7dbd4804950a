from __future__ import annotations

import contextlib
import functools
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_mirror(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources of the tests stand alone; a test of real corpora asks for `mirror` and sets the variable itself."""
    if "mirror" not in request.fixturenames:
        monkeypatch.delenv("PRELUDE_MIRROR", raising=False)


class Served:
    """A loopback server of a folder. asked: the paths asked for. moved: {path: address} it redirects.

    cut: paths of which it sends less than it stated; stalled: {path: seconds} that it waits, before a byte and before the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.moved = folder, list[str](), dict[str, str]()
        self.cut, self.stalled = set[str](), dict[str, tuple[float, float]]()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, self))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, served: Served, *args: object) -> None:
        self.served = served
        super().__init__(*args, directory=str(served.folder))  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.served.asked.append(self.path)
        if self.path in self.served.moved:
            self.send_response(302)
            self.send_header("Location", self.served.moved[self.path])
            self.end_headers()
        elif self.path in self.served.cut:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
        elif self.path in self.served.stalled:
            before, amid = self.served.stalled[self.path]
            time.sleep(before)
            with contextlib.suppress(OSError):  # who asked has gone
                self.send_response(200)
                self.send_header("Content-Length", "6")
                self.end_headers()
                self.wfile.write(b"one")
                time.sleep(amid)
                self.wfile.write(b"two")
        else:
            super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "served"
    folder.mkdir()
    found = Served(folder)
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
