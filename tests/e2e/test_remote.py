"""DVC remotes: one pushes, another clones and pulls, and nothing is computed twice: a folder, and S3 as moto serves it."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from flows.remote import pull
from stages.common.plan import load
from stages.common.workspace import Workspace
from tests.e2e.copy import Clone, Copy
from tests.flows import tracking_db
from tests.flows.test_verify import flip

pytestmark = pytest.mark.slow
KINDS = ["folder", "s3"]
SECRET = "not-for-git"  # moto takes any
NODES = 10


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3-compatible server with a bucket named `bucket`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT"), timeout=5).close()
                break
            assert server.poll() is None
            time.sleep(0.1)
        yield address
    finally:
        server.kill()
        server.wait()


def credentials(clone: Clone) -> None:
    """Given where Git does not see them, in .dvc/config.local: each user has his own."""
    clone.dvc("remote", "modify", "--local", "s3", "access_key_id", "someone")
    clone.dvc("remote", "modify", "--local", "s3", "secret_access_key", SECRET)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, s3: str) -> Copy:
    """The tiny plan run, pushed to both remotes, and committed."""
    made = Copy(tmp_path_factory.mktemp("origin") / "repository")
    made.prelude("plan", "tiny")
    assert f"{NODES} ran" in made.prelude("run", "--no-prefect")
    made.dvc("remote", "add", "folder", str(made.folder.parent / "store"))
    made.dvc("remote", "add", "s3", "s3://bucket/prelude")
    made.dvc("remote", "modify", "s3", "endpointurl", s3)
    credentials(made)
    for kind in KINDS:
        made.dvc("push", "--run-cache", "-r", kind)
    made.commit("results")
    return made


@pytest.fixture(scope="module", params=KINDS)
def clone(origin: Copy, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A colleague's clone; its default remote is of the kind. Nothing is pulled yet."""
    made = origin.clone(tmp_path_factory.mktemp("clone") / request.param)
    made.dvc("config", "--local", "core.remote", request.param)
    if request.param == "s3":
        credentials(made)
    return made


def forget(clone: Clone) -> None:
    """Removes all results, DVC's cache of them and dvc.lock."""
    (clone.folder / "dvc.lock").unlink()
    for folder in [clone.folder / ".dvc/cache", *(p for p in (clone.folder / "data").iterdir() if p.is_dir())]:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_fresh_clone_pulls_every_output_and_has_nothing_left_to_compute(origin: Copy, clone: Clone) -> None:
    clone.dvc("pull")
    assert clone.digests() == origin.digests()
    assert "Running stage" not in clone.dvc("repro")
    assert "up to date" in clone.dvc("status")
    assert clone.run("git", "status", "--short") == ""


@pytest.mark.parametrize("clone", ["folder"], indirect=True)  # where the outputs came from makes no difference here
def test_a_run_there_shows_the_whole_lineage_and_the_verdicts(origin: Copy, clone: Clone) -> None:
    clone.dvc("pull")
    assert f"0 ran, {NODES} cached" in clone.prelude("run", "--no-prefect")
    there, here = shown(origin), shown(clone)
    assert there == here and len(here) > NODES
    assert [name for name, (_, inputs) in here.items() if not all(runs for _, runs in inputs)] == []
    verdicts = [json.loads(where.run(sys.executable, "-m", "flows.cli", "systems", "--json")) for where in (origin, clone)]
    assert verdicts[0] == verdicts[1]


def shown(where: Clone) -> dict[str, tuple[dict[str, float], list[tuple[str, list[str]]]]]:
    """What MLflow shows of each node: its figures, and the digests of what it read with the runs that made that."""
    found = tracking_db.by_name(Workspace(where.folder), load(where.folder / "params.yaml"))
    names = {run.info.run_id: name for name, run in found.items()}
    read = {name: json.loads(run.data.tags["prelude.inputs"]) for name, run in found.items()}
    inputs = {name: [(i["digest"], sorted(names[r] for r in i["runs"])) for i in given] for name, given in read.items()}
    return {name: (run.data.metrics, inputs[name]) for name, run in found.items()}


def test_without_dvc_lock_the_run_cache_of_the_remote_is_enough(origin: Copy, clone: Clone) -> None:
    forget(clone)
    assert pull(clone.folder, ["extract@simclr"]) == ["ingest@digits", "pretrain@simclr", "extract@simclr"]
    there, here = origin.digests(), clone.digests()
    assert here == {name: there[name] for name in here} and "features/simclr/manifest.json" in here
    assert "Running stage" not in clone.dvc("repro", "extract@simclr")


@pytest.mark.parametrize("clone", ["folder"], indirect=True)
def test_dvc_repro_can_do_that_too(origin: Copy, clone: Clone) -> None:
    forget(clone)
    said = clone.dvc("repro", "--pull")
    assert said.count("is cached - skipping run") == NODES and "Running stage" not in said
    assert clone.digests() == origin.digests()


def test_a_damaged_object_comes_back_from_the_remote(origin: Copy, clone: Clone) -> None:
    clone.run("git", "checkout", "-q", "dvc.lock")
    clone.dvc("pull")
    weights = "data/encoders/simclr/seed=0/encoder.safetensors"
    flip(clone.folder / weights)  # a hard link into the cache: DVC trusts both
    whole = (origin.folder / weights).read_bytes()
    assert (clone.folder / weights).read_bytes() != whole
    assert "encoders/simclr" in clone.prelude("verify", code=1)
    clone.prelude("verify", "--repair")
    clone.dvc("pull")
    assert (clone.folder / weights).read_bytes() == whole
    assert clone.prelude("verify") == "every output, cached file and state file is whole\n"


def test_credentials_are_in_no_committed_file(origin: Copy) -> None:
    origin.run("git", "grep", "-q", "s3://bucket", "HEAD", "--", ".dvc")
    origin.run("git", "grep", "-q", SECRET, "HEAD", "--", ".dvc", code=1)
