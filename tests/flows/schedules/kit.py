"""What the tests of schedules share: a project whose corpus comes from a folder, and a webhook that keeps what it is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from tests.flows import toy

ROOT = Path(__file__).parents[3]
SEAL = f"sys.path.insert(0, {str(ROOT)!r})\nfrom stages.common import atomic\natomic.seal(out)\n"
JUDGE = """
import json, pathlib
out = pathlib.Path("data/reports/quick")
out.mkdir(parents=True, exist_ok=True)
claim = {"id": "order", "says": "a beats b", "verdict": pathlib.Path("verdict.txt").read_text().strip()}
claim["values"] = {"probe": {"accuracy": {"mean": 0.91}}}
(out / "result.json").write_text(json.dumps({"system": "quick", "claims": [claim]}))
"""
PIPELINE = """
stages:
  ingest:
    foreach: ${corpora}
    do:
      cmd: python make.py data/items/${key} raw
      deps: [make.py]
      params: ["corpora.${key}"]
      outs: ["data/items/${key}"]
  join:
    cmd: python make.py data/joined data/items
    deps: [make.py, data/items]
    outs: [data/joined]
  judge:
    cmd: python judge.py
    deps: [judge.py, verdict.txt]
    outs: [data/reports/quick]
"""


def watched(root: Path) -> Path:
    """A project whose corpus `a` comes from the folder `raw`, no dependency, and whose claim is what verdict.txt says."""
    toy.create(root, PIPELINE)
    (root / "raw").mkdir()
    (root / "raw" / "one.txt").write_text("one\n")
    (root / "judge.py").write_text(JUDGE)
    (root / "verdict.txt").write_text("holds\n")
    sources(root, a="{name: folder, path: raw}")
    return root


def sources(root: Path, **corpora: str) -> None:
    """A plan of corpora with these sources."""
    lines = [f"  {name}: {{title: T, reader: {{name: none}}, source: {source}}}\n" for name, source in corpora.items()]
    (root / "params.yaml").write_text("corpora:\n" + "".join(lines))


@contextmanager
def webhook(answer: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(address, what was sent to it); the address holds a secret."""
    heard: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/hooks/SECRET"
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answer)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hooks/SECRET", heard
    finally:
        server.shutdown()
        server.server_close()
