"""`prelude verify`: a flipped bit is found wherever it is, and a repair sets aside no more than it must."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from flows.alone import alone
from stages.common import atomic
from stages.common.workspace import Workspace
from tests.flows.conftest import Said

Capture = pytest.CaptureFixture[str]


def flip(path: Path) -> None:
    """Flips one bit of a file, whatever its mode, without a trace in its size or time."""
    before, mode = path.stat(), path.stat().st_mode
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    path.chmod(mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cached(root: Path, content: bytes) -> Path:
    """An object in DVC's cache, of mode 0444 as DVC leaves them."""
    name = hashlib.md5(content).hexdigest()
    path = root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    path.chmod(0o444)
    return path


def test_verify_finds_nothing_where_all_is_whole(ran: Path, capsys: Capture) -> None:
    cached(ran, b"whole")
    said = Said(capsys, "verify")
    assert (said.code, said.out) == (0, "every output, cached file and state file is whole\n")
    assert Said(capsys, "verify", "--json").json == []


def test_verify_finds_a_flipped_bit_in_an_output_and_in_the_cache(ran: Path, capsys: Capture) -> None:
    flip(ran / "data/encoders/trained/a.json")
    flip(cached(ran, b"whole"))
    said = Said(capsys, "verify")
    assert said.code == 1 and "2 damaged" in said.out and "prelude verify --repair" in said.out
    found = Said(capsys, "verify", "--json")
    assert found.code == 1
    assert [(d["kind"], d["why"]) for d in found.json] == [
        ("output", "differs from its manifest"),
        ("cache", "its content is not what its name says"),
    ]
    assert found.json[0]["path"] == "data/encoders/trained/a.json"


def test_verify_repair_sets_aside_what_is_damaged_and_that_alone(ran: Path, capsys: Capture) -> None:
    flip(ran / "data/encoders/trained/a.json")
    good, bad = cached(ran, b"whole"), cached(ran, b"other")
    flip(bad)
    said = Said(capsys, "verify", "--repair")
    assert said.code == 0 and "2 damaged: moved to .prelude/quarantine/" in said.out and "run `prelude run`" in said.out
    assert not (ran / "data/encoders/trained").exists() and not bad.exists()
    (place,) = (ran / ".prelude/quarantine").iterdir()
    assert (place / "data/encoders/trained/a.json").is_file() and (place / "data/encoders/trained/manifest.json").is_file()
    assert (place / "cache" / bad.parent.name / bad.name).read_bytes() != b"other"
    assert [d["kind"] for d in atomic.read_json(place / "damage.json")] == ["output", "cache"]
    assert good.exists() and (ran / "data/encoders/random").is_dir()
    assert Said(capsys, "verify").code == 0


@pytest.mark.parametrize("damage", ["truncated", "gone", "no manifest digest"])
def test_verify_finds_every_kind_of_damage(ran: Path, capsys: Capture, damage: str) -> None:
    folder = ran / "data/tasks/one/probe"
    if damage == "truncated":
        (folder / "a.json").write_text("")
    elif damage == "gone":
        (folder / "a.json").unlink()
    else:
        (folder / "manifest.json").write_text("{}")
    said = Said(capsys, "verify", "--json")
    assert said.code == 1 and [d["path"] for d in said.json] == ["data/tasks/one/probe"]
    assert Said(capsys, "verify", "--repair").code == 0
    assert not folder.exists() and Said(capsys, "verify").code == 0


def test_a_repair_is_refused_while_a_run_is_at_work_and_a_look_is_not(ran: Path, capsys: Capture) -> None:
    flip(ran / "data/encoders/trained/a.json")
    with alone(Workspace(ran), "long"):
        said = Said(capsys, "verify", "--repair")
        assert said.code == 2 and "another run is at work" in said.err
        assert Said(capsys, "verify").code == 1
    assert (ran / "data/encoders/trained/a.json").exists()


def test_repair_stays_inside_the_data_folder(ran: Path, capsys: Capture) -> None:
    (ran / "manifest.json").write_text("{}")  # a user's own, of the same name
    folder = ran / "data/encoders/two_files"
    with atomic.replacing(folder) as inner:
        for name in ("a.txt", "b.txt"):
            (inner / name).write_text("x")
    flip(folder / "a.txt")
    flip(folder / "b.txt")
    assert Said(capsys, "verify", "--repair").code == 0
    assert not folder.exists() and (ran / "data/encoders/trained").is_dir() and (ran / "dvc.yaml").exists()


def test_a_manifest_that_the_user_keeps_elsewhere_is_not_verified(ran: Path, capsys: Capture) -> None:
    (ran / "manifest.json").write_text("{}")
    assert Said(capsys, "verify").code == 0


@pytest.mark.parametrize("file", ["config", "config.local"])
def test_verify_finds_a_cache_that_lies_elsewhere(ran: Path, capsys: Capture, tmp_path: Path, file: str) -> None:
    flip(cached(ran, b"whole"))
    (ran / ".dvc" / "cache").rename(ran / "shared_cache")
    (ran / ".dvc" / file).write_text("[cache]\n    dir = ../shared_cache\n")
    said = Said(capsys, "verify", "--json")
    assert said.code == 1 and [d["kind"] for d in said.json] == ["cache"]


def test_verify_leaves_folders_and_unfinished_downloads_in_the_cache_alone(ran: Path, capsys: Capture) -> None:
    whole = cached(ran, b"whole")
    (whole.parent / "folder.unpacked").mkdir()
    (whole.parent / ".unfinished.tmp").write_text("half")
    assert Said(capsys, "verify").code == 0
