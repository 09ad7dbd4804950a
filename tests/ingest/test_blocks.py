"""Items are checked block by block, by one process or by several, and a block that is finished is not checked again."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pytest

from stages.common import atomic, cluster, process, stage
from stages.common.corpus import Corpus
from stages.common.errors import UserError
from stages.common.plan import Plan
from stages.common.schema import build
from stages.common.workspace import Workspace
from stages.ingest.__main__ import inputs, target, work
from stages.ingest.core import blocks, gather
from stages.ingest.core.blocks import Block
from stages.ingest.core.item import Undecoded
from tests.ingest.making import images, ingest, put, tone

PIXELS = {"name": "image_folder", "store": "pixels"}
LABELS = {"label": {"kind": "class"}}


def plan(folder: Path, reader: dict[str, Any], **more: Any) -> dict[str, Any]:
    source = {"name": "folder", "path": str(folder)}
    return {"source": source, "reader": reader, "labels": LABELS, "quarantine_share": 0.5, **more}


def pictures(folder: Path) -> Path:
    """Two classes of pictures; of the 24, one is empty, one cut short, and one of another size."""
    files = images({"a": 12, "b": 12})
    whole = files["a/004.png"]
    odd = next(iter(images({"x": 1}, size=(8, 8)).values()))
    return put(folder, files | {"a/005.png": b"", "b/003.png": whole[: len(whole) // 2], "b/007.png": odd})


def sounds(folder: Path) -> Path:
    """The first clip is broken, so that the second says the rate; a later one has another."""
    clips: dict[str, bytes | str] = {f"{'ab'[i % 2]}/{i:02d}.wav": tone(i) for i in range(16)}
    return put(folder, clips | {"a/00.wav": b"no sound", "b/09.wav": tone(9, rate=16000)})


def side_by_side(monkeypatch: pytest.MonkeyPatch, rows: int = 3) -> None:
    """Blocks of a few rows, checked by two processes from the second one on."""
    monkeypatch.setattr(blocks, "BLOCK_ROWS", rows)
    monkeypatch.setattr(process, "cores", lambda: 2)
    plain = process.in_order
    monkeypatch.setattr(process, "in_order", lambda work, units, jobs: plain(work, units, jobs, alone_s=0))


@pytest.mark.parametrize(
    ("made", "reader", "broken"),
    [
        (pictures, PIXELS, ["a/005.png", "b/003.png", "b/007.png"]),
        (sounds, {"name": "audio_folder"}, ["a/00.wav", "b/09.wav"]),
    ],
)
def test_two_processes_give_the_bytes_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[Path], Path], reader: dict[str, Any], broken: list[str]
) -> None:
    folder = made(tmp_path / "files")
    alone = ingest(tmp_path / "alone", plan(folder, reader))
    side_by_side(monkeypatch)
    both = ingest(tmp_path / "both", plan(folder, reader))
    assert atomic.manifest(both.folder) == atomic.manifest(alone.folder)
    assert [q["item"] for q in both.card.quarantined] == broken


def test_all_but_the_first_picture_are_decoded_where_they_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[type] = []
    plain = blocks.check

    def check(block: Block) -> str:
        seen.extend(type(entry.media["image"]) for entry in block.entries if hasattr(entry, "media"))
        return plain(block)

    monkeypatch.setattr(gather, "check", check)
    ingest(tmp_path, plan(put(tmp_path / "files", images({"a": 8, "b": 8})), PIXELS))
    assert [kind is Undecoded for kind in seen] == [False] + [True] * 15


class Stopped(BaseException):
    """The machine loses its power."""


def stopped_after(count: int, folder: Path, root: Path) -> None:
    """An ingest in blocks of 3 items that ends after so many blocks."""
    done: list[Block] = []

    def check(block: Block) -> str:
        if len(done) == count:
            raise Stopped
        done.append(block)
        return blocks.check(block)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_ROWS", 3)
        patch.setattr(gather, "check", check)
        with pytest.raises(Stopped):
            ingest(root, plan(folder, PIXELS))


def checked_again(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Blocks of 3 items; the list fills with the numbers of those that are checked from here on."""
    numbers: list[int] = []
    plain = blocks.SpillWriter

    def writer(path: Path, form: Any) -> Any:
        numbers.append(int(path.name.split("-")[1].split(".")[0]))
        return plain(path, form)

    monkeypatch.setattr(blocks, "BLOCK_ROWS", 3)
    monkeypatch.setattr(blocks, "SpillWriter", writer)
    return numbers


def test_a_killed_run_goes_on_with_the_blocks_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pictures(tmp_path / "files")
    alone = ingest(tmp_path / "alone", plan(folder, PIXELS))
    stopped_after(4, folder, tmp_path / "killed")
    numbers, carried, plain = checked_again(monkeypatch), list[int](), blocks.check
    monkeypatch.setattr(gather, "check", lambda block: [carried.append(len(block.entries)), plain(block)][1])
    again = ingest(tmp_path / "killed", plan(folder, PIXELS))
    assert numbers == [4, 5, 6, 7]
    assert carried[:8] == [0] * 4 + [3] * 4  # what is there is not sent to anyone
    assert atomic.manifest(again.folder) == atomic.manifest(alone.folder)
    record = atomic.read_json(tmp_path / "killed/data/records/ingest/c/record.json")
    assert record["details"]["reused_blocks"] == 4
    assert not list((tmp_path / "killed/.prelude/resume").rglob("block-*"))


def test_blocks_of_other_files_are_not_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pictures(tmp_path / "files")
    stopped_after(4, folder, tmp_path / "killed")
    put(folder, {"a/000.png": images({"x": 30})["x/029.png"]})
    numbers = checked_again(monkeypatch)
    again = ingest(tmp_path / "killed", plan(folder, PIXELS))
    assert numbers == list(range(8))
    assert atomic.manifest(again.folder) == atomic.manifest(ingest(tmp_path / "alone", plan(folder, PIXELS)).folder)


def test_two_items_of_one_id_in_two_blocks_are_the_users_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 3)
    folder = put(tmp_path / "files", images({"a": 5, "b": 5}))
    with pytest.raises(UserError, match="two items have the id '000'"):
        ingest(tmp_path, plan(folder, {**PIXELS, "pattern": r"(?P<id>\d+)\.png"}))


def test_on_a_cluster_the_same_blocks_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pictures(tmp_path / "files")
    alone: Corpus = ingest(tmp_path / "alone", plan(folder, PIXELS))
    given: list[Any] = []

    def in_order(ray: Any, check: Callable[[Any], Any], units: Iterable[Any]) -> Generator[Any, None, None]:
        given.append(ray.retries)
        yield from map(check, units)

    monkeypatch.setattr(cluster, "in_order", in_order)
    whole = {"corpora": {"c": {"title": "made by a test", **plan(folder, PIXELS)}}, "compute": {"ray": {"retries": 7}}}
    found = stage.execute("ingest", "c", build(Plan, whole, "plan"), Workspace(tmp_path / "ray"), work, inputs, target)
    assert given == [7]
    assert atomic.manifest(found) == atomic.manifest(alone.folder)
