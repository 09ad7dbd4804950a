"""A flipped bit, in every kind of file, is found, named, and never taken for a result; what was cut never passes for whole."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from flows import verify
from stages.common import atomic, features, live, tasks
from stages.common.corpus import Corpus
from stages.common.errors import ContractError
from stages.pretrain.core import snapshot

KINDS = {".parquet", ".safetensors", ".json", ".html", ".csv"}


@contextmanager
def flipped(path: Path, place: int, bit: int = 0) -> Iterator[None]:
    """One bit of the file is another one in this block; size, times and mode stay."""
    before, whole = path.stat(), path.read_bytes()
    damaged = bytearray(whole)
    damaged[place] ^= 1 << bit
    for data in (bytes(damaged), whole):
        path.chmod(0o644)
        path.write_bytes(data)
        path.chmod(before.st_mode)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        if data != whole:
            yield


@pytest.mark.slow
@pytest.mark.parametrize("mode", [0o644, 0o444])
def test_a_flipped_bit_in_any_file_of_data_is_found_and_named(made: Path, mode: int) -> None:
    files = sorted(path for path in (made / "data").rglob("*") if path.is_file())
    assert {path.suffix for path in files} == KINDS
    assert verify.check(made).found == []
    draw = random.Random(mode)
    for path in files:
        path.chmod(mode)
        with flipped(path, draw.randrange(path.stat().st_size), draw.randrange(8)):
            (found,) = verify.check(made).found
        whole = path.parent if path.name == atomic.MANIFEST else path  # of what a damaged manifest lists nothing is known
        assert (found.kind, found.path) == ("output", str(whole)), path
        path.chmod(0o644)


@pytest.mark.slow
def test_no_bit_of_a_manifest_can_flip_unnoticed(made: Path) -> None:
    manifest = made / "data" / "corpora" / "digits" / atomic.MANIFEST
    draw = random.Random(0)
    for place in range(manifest.stat().st_size):
        with flipped(manifest, place, draw.randrange(8)), pytest.raises(ContractError):
            atomic.manifest(manifest.parent)


@pytest.mark.slow
def test_a_manifest_cut_at_any_byte_is_no_manifest(made: Path) -> None:
    folder = made / "data" / "tasks" / "quickstart" / "probe_simclr"
    whole = (folder / atomic.MANIFEST).read_bytes()
    try:
        for length in range(len(whole) - 1):  # without the last line's end it is whole
            (folder / atomic.MANIFEST).write_bytes(whole[:length])
            with pytest.raises(ContractError):
                atomic.manifest(folder)
    finally:
        (folder / atomic.MANIFEST).write_bytes(whole)


def test_a_snapshot_with_a_flipped_bit_is_passed_over_for_an_older_one(tmp_path: Path) -> None:
    old, new = ({"step": step, "weight": torch.full((3,), float(step))} for step in (1, 2))
    snapshot.save(tmp_path, 1, old)
    shutil.copytree(tmp_path / "step=0000000001", tmp_path / "kept")  # saving drops earlier ones
    snapshot.save(tmp_path, 2, new)
    (tmp_path / "kept").rename(tmp_path / "step=0000000001")
    draw = random.Random(1)
    for path in sorted((tmp_path / "step=0000000002").iterdir()):
        for place in range(path.stat().st_size):
            with flipped(path, place, draw.randrange(8)):
                found = snapshot.latest(tmp_path)
            assert found is not None and found["step"] == 1, f"{path.name} at {place}"
    found = snapshot.latest(tmp_path)
    assert found is not None and found["step"] == 2


def test_live_events_cut_at_any_byte_are_the_whole_ones_before_it(tmp_path: Path) -> None:
    written = live.Live(tmp_path, 0, "d", 3)
    for step in (1, 2, 3):
        written.event(step, {"loss": step / 3})
    written.close()
    whole, events = written.path.read_bytes(), live.read(written.path)
    assert [e["step"] for e in events] == [1, 2, 3]
    for length in range(len(whole)):
        written.path.write_bytes(whole[:length])
        found = live.read(written.path)
        assert found == events[: len(found)]
        ended = whole[:length].count(b"\n")
        assert len(found) in (ended, ended + 1)  # a last line may lack its end alone
    assert json.loads(whole.splitlines()[2]) == events[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["corpus", "features", "predictions"])
def test_a_bit_that_flips_in_a_table_is_never_read_as_another_value(made: Path, kind: str) -> None:
    folder, read = {
        "corpus": (made / "data/corpora/digits", lambda at: Corpus(at).table(["id", "split", "digit", "image"]).to_pydict()),
        "features": (made / "data/features/simclr", lambda at: _plain(features.read(at, 0))),
        "predictions": (made / "data/tasks/quickstart/probe_simclr", lambda at: _plain(tasks.read_predictions(at, 0, "all"))),
    }[kind]
    (path,) = folder.rglob("*.parquet")
    whole, draw, refused = read(folder), random.Random(kind), 0
    for _ in range(150):
        with flipped(path, draw.randrange(path.stat().st_size), draw.randrange(8)):
            try:
                assert read(folder) == whole  # in what no value depends on, such as statistics
            except ContractError:
                refused += 1
    assert refused > 75


def _plain(value: object) -> dict[str, object]:
    """A result's arrays as lists, so that they can be compared."""
    return {name: array.tolist() if hasattr(array, "tolist") else array for name, array in vars(value).items()}
