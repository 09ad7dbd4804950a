"""What a look at a source sees: what changed, what only looks different, and what cannot change."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from flows.schedules import sighting
from flows.schedules.sighting import Sighting
from flows.schedules.watch import keep, look, plan_of, seen
from stages.common.errors import UserError
from stages.common.plan import CorpusPlan
from stages.common.schema import build
from stages.common.workspace import Workspace
from tests.flows.schedules import kit


def _corpus(**source: object) -> CorpusPlan:
    return build(CorpusPlan, {"title": "T", "source": source, "reader": {"name": "none"}}, "corpora.a")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "one.txt").write_text("one\n")
    (folder / "two.txt").write_text("two\n")
    return folder


@pytest.fixture
def web(raw: Path) -> Iterator[tuple[str, list[str]]]:
    """A server of the folder, and the requests it had; with `?plain` it says nothing of a file's time."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(raw))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            asked.append(self.command)

        def send_header(self, keyword: str, value: str) -> None:
            if keyword != "Last-Modified" or "plain" not in self.path:
                super().send_header(keyword, value)

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def _later(path: Path, text: str | None = None) -> None:
    """The file with a later time, and other content if given."""
    if text is not None:
        path.write_text(text)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 2_000_000_000))


def test_a_folder_is_noted_at_first_and_a_change_is_seen_until_it_was_ingested(raw: Path, tmp_path: Path) -> None:
    workspace, plan = Workspace(tmp_path), _corpus(name="folder", path=str(raw))
    assert look(workspace, "a", plan) == (None, "seen for the first time")
    assert look(workspace, "a", plan) == (None, "nothing changed")
    _later(raw / "one.txt", "uno\n")
    for _ in range(2):  # nobody ingested it after the first look
        now, what = look(workspace, "a", plan)
        assert now is not None and what.startswith("the source of a changed: ")
    assert now is not None
    keep(workspace, "a", now)
    assert look(workspace, "a", plan) == (None, "nothing changed")


@pytest.mark.parametrize("change", ["a new file", "a file less", "another name"])
def test_a_folders_files_count_not_only_their_content(raw: Path, tmp_path: Path, change: str) -> None:
    workspace, plan = Workspace(tmp_path), _corpus(name="folder", path=str(raw))
    look(workspace, "a", plan)
    if change == "a new file":
        (raw / "three.txt").write_text("three\n")
    elif change == "a file less":
        (raw / "two.txt").unlink()
    else:
        (raw / "two.txt").rename(raw / "zwei.txt")
    assert look(workspace, "a", plan)[0] is not None


def test_a_folder_that_was_only_touched_is_no_change_and_is_read_once(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, plan, read = Workspace(tmp_path), _corpus(name="folder", path=str(raw)), []
    digest = sighting.digest
    monkeypatch.setattr(sighting, "digest", lambda *args: (read.append(1), digest(*args))[1])
    look(workspace, "a", plan)
    _later(raw / "one.txt")
    assert look(workspace, "a", plan) == (None, "it looks different, but its content did not change")
    assert look(workspace, "a", plan) == (None, "nothing changed")
    assert len(read) == 2


def test_files_that_the_source_leaves_out_are_not_watched(raw: Path, tmp_path: Path) -> None:
    workspace, plan = Workspace(tmp_path), _corpus(name="folder", path=str(raw), include=["one*"])
    look(workspace, "a", plan)
    _later(raw / "two.txt", "zwei\n")
    assert look(workspace, "a", plan) == (None, "nothing changed")


def test_a_folder_that_is_being_written_waits_for_the_next_look(raw: Path, tmp_path: Path) -> None:
    workspace, plan = Workspace(tmp_path), _corpus(name="folder", path=str(raw))
    look(workspace, "a", plan)
    _later(raw / "one.txt", "half\n")
    writer = threading.Timer(0.2, _later, (raw / "one.txt", "whole\n"))
    writer.start()
    assert look(workspace, "a", plan, settle_s=0.6) == (None, "the source is being written; looked at again in the next round")
    writer.join()
    assert look(workspace, "a", plan, settle_s=0.1)[0] is not None


def test_a_folder_that_changes_while_it_is_read_waits_for_the_next_look(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, plan = Workspace(tmp_path), _corpus(name="folder", path=str(raw))
    look(workspace, "a", plan)
    _later(raw / "one.txt", "half\n")
    digest = sighting.digest
    monkeypatch.setattr(sighting, "digest", lambda *args: (digest(*args), _later(raw / "one.txt", "whole\n"))[0])
    assert look(workspace, "a", plan)[1] == "the source is being written; looked at again in the next round"


def test_a_plan_that_names_another_source_is_no_change_of_the_source(raw: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    look(workspace, "a", _corpus(name="folder", path=str(raw)))
    _, what = look(workspace, "a", _corpus(name="folder", path=str(raw), include=["one*"]))
    assert what == "the plan names another source: seen for the first time"


def test_a_damaged_note_is_as_none(raw: Path, tmp_path: Path) -> None:
    workspace, plan = Workspace(tmp_path), _corpus(name="folder", path=str(raw))
    look(workspace, "a", plan)
    assert isinstance(seen(workspace, "a"), Sighting)
    for text in ("{", "{}", '{"source": "s", "glance": "g", "other": 1}'):
        (tmp_path / ".prelude/watch/a.json").write_text(text)
        assert seen(workspace, "a") is None
    assert look(workspace, "a", plan) == (None, "seen for the first time")


def test_an_address_is_asked_for_its_head_and_fetched_only_where_that_changed(
    raw: Path, tmp_path: Path, web: tuple[str, list[str]]
) -> None:
    address, asked = web
    workspace, plan = Workspace(tmp_path), _corpus(name="url", url=f"{address}/one.txt")
    assert look(workspace, "a", plan) == (None, "seen for the first time")
    asked.clear()
    assert look(workspace, "a", plan) == (None, "nothing changed")
    assert asked == ["HEAD"]
    _later(raw / "one.txt", "uno\n")
    assert look(workspace, "a", plan)[0] is not None
    assert "GET" in asked


def test_an_address_that_says_nothing_of_its_file_is_fetched_and_compared(
    raw: Path, tmp_path: Path, web: tuple[str, list[str]]
) -> None:
    address, asked = web
    workspace, plan = Workspace(tmp_path), _corpus(name="url", url=f"{address}/one.txt?plain")
    look(workspace, "a", plan)
    assert look(workspace, "a", plan) == (None, "nothing changed")
    assert asked.count("GET") == 2
    (raw / "one.txt").write_text("uno\n")
    assert look(workspace, "a", plan)[0] is not None


def test_a_file_by_its_path_is_watched_as_an_address_is(raw: Path, tmp_path: Path) -> None:
    workspace, plan = Workspace(tmp_path), _corpus(name="url", url=str(raw / "one.txt"))
    look(workspace, "a", plan)
    assert look(workspace, "a", plan) == (None, "nothing changed")
    time.sleep(0.01)
    (raw / "one.txt").write_text("uno\n")
    assert look(workspace, "a", plan)[0] is not None


@pytest.mark.parametrize("source", [{"name": "folder", "path": "none"}, {"name": "url", "url": "http://127.0.0.1:9/a"}])
def test_a_source_that_is_away_is_an_error_and_no_change(tmp_path: Path, source: dict[str, str]) -> None:
    with pytest.raises(UserError):
        look(Workspace(tmp_path), "a", _corpus(**source))
    assert seen(Workspace(tmp_path), "a") is None


def test_pinned_sources_say_that_they_cannot_change() -> None:
    assert "commit 1234" in sighting.fixed(_corpus(name="git", commit="1234"))
    assert "SHA-256" in sighting.fixed(_corpus(name="url", url="http://a", sha256="ab"))
    for name in ("bundled", "simulated"):
        assert name in sighting.fixed(_corpus(name=name))
    assert sighting.fixed(_corpus(name="folder", path="a")) == sighting.fixed(_corpus(name="url", url="http://a")) == ""


def test_an_unknown_corpus_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    kit.sources(tmp_path, digits="{name: bundled}")
    with pytest.raises(UserError, match="did you mean 'digits'"):
        plan_of(Workspace(tmp_path), "digit")
