"""The stage starts its own ranks; when one is killed all go on from the last snapshot, to the bytes of an undisturbed run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stages.common.errors import PassingError, UserError
from stages.common.plan import Plan
from stages.common.schema import build
from stages.common.stage import execute
from stages.common.workspace import Workspace
from stages.pretrain.__main__ import inputs, target, work
from tests.builders import image_corpus
from tests.pretrain.conftest import bytes_of, node

ROOT = Path(__file__).resolve().parents[2]

# Found by every Python process: when rank 0 is about to write a matching snapshot, rank `KILLED_RANK` dies, while its starts
# are numbered below `KILLED_STARTS`. Ranks are children of one agent and have their number in their environment.
HOOK = """
import os, re, signal, sys, time
def killed(number):
    for folder in os.listdir("/proc"):
        try:
            words = open(f"/proc/{folder}/environ", "rb").read().split(b"\\0")
            parent = int(open(f"/proc/{folder}/stat").read().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if folder.isdigit() and parent == os.getppid() and b"RANK=%d" % number in words:
            os.kill(int(folder), signal.SIGKILL)
            time.sleep(30)
def hook(event, args):
    if event == "os.rename" and re.search(os.environ["KILLED_AT"], os.fspath(args[1])):
        if int(os.environ["TORCHELASTIC_RESTART_COUNT"]) < int(os.environ["KILLED_STARTS"]):
            killed(int(os.environ["KILLED_RANK"]))
if os.environ.get("RANK") == "0":
    sys.addaudithook(hook)
"""


def pretrain(root: Path, ranks: dict[str, Any], **changes: Any) -> Path:
    """The encoder's folder; the stage runs in this process, its ranks in their own."""
    corpus = root / "data" / "corpora" / "squares"
    if not corpus.exists():
        image_corpus(corpus, n=100)
    encoders = {"e": node(**({"epochs": 4, "snapshot_every": 4} | changes))}
    plan = build(Plan, {"encoders": encoders, "compute": {"device": "cpu", "ranks": ranks}}, "plan")
    return execute("pretrain", "e", plan, Workspace(root), work, inputs, target)


@contextlib.contextmanager
def killing(folder: Path, monkeypatch: pytest.MonkeyPatch, rank: int, at: str, starts: int = 1) -> Iterator[None]:
    """In this block ranks meet the hook."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HOOK)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")
        for name, value in {"AT": at, "RANK": str(rank), "STARTS": str(starts)}.items():
            patch.setenv(f"KILLED_{name}", value)
        yield


def record(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "data/records/pretrain/e/record.json").read_text())["details"]
    return found


def totals(encoder: Path) -> list[float]:
    rows = pq.read_table(encoder / "seed=0" / "history.parquet").to_pylist()
    return [row["value"] for row in rows if row["name"] == "total"]


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks find the project."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def undisturbed_and_killed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, ranks: dict[str, Any], victim: int, **changes: Any
) -> tuple[Path, Path]:
    whole = pretrain(folder / "whole", ranks, **changes)
    last = f"seed={changes.get('seeds', [0])[-1]}/step=0*8$"
    with killing(folder / "hooks", monkeypatch, victim, last):
        broken = pretrain(folder / "killed", ranks, **changes)
    assert "a rank was lost" in capfd.readouterr().err
    assert record(folder / "whole")["restarts"] == 0 and record(folder / "killed")["restarts"] == 1
    assert record(folder / "killed")["processes"] == ranks["count"]
    return whole, broken


@pytest.mark.slow
def test_after_a_rank_was_killed_the_encoder_is_that_of_an_undisturbed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    whole, broken = undisturbed_and_killed(tmp_path, monkeypatch, capfd, {"count": 2}, victim=1)
    assert bytes_of(whole) == bytes_of(broken)
    assert record(tmp_path / "killed")["resumed_at_step"] == {"0": 4}  # it died as the state after 8 of 12 steps was written
    alone = pretrain(tmp_path / "alone", {"count": 1})
    assert totals(whole) == pytest.approx(totals(alone), rel=1e-5) and len(totals(alone)) == 12


@pytest.mark.soak
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
@pytest.mark.parametrize(("count", "victim"), [(2, 0), (4, 3)])
def test_any_rank_of_two_or_four_may_be_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, count: int, victim: int, sharding: str
) -> None:
    ranks = {"count": count, "sharding": sharding}
    change = {"backbone": {"name": "resnet", "width": 4, "blocks": [1]}, "seeds": [0, 1]}
    whole, broken = undisturbed_and_killed(tmp_path, monkeypatch, capfd, ranks, victim, **change)
    assert bytes_of(whole) == bytes_of(broken)
    alone = pretrain(tmp_path / "alone", {"count": 1}, **change)
    assert totals(whole) == pytest.approx(totals(alone), rel=1e-5)


@pytest.mark.soak
def test_after_as_many_restarts_as_allowed_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = {"count": 2, "restarts": 1}
    with killing(tmp_path / "hooks", monkeypatch, 1, "step=0*8$", starts=9), pytest.raises(PassingError) as caught:
        pretrain(tmp_path / "a", ranks)
    assert "a rank was killed (rank 1 by SIGKILL), after 1 restart\n" in str(caught.value)
    assert not (tmp_path / "a/data/encoders/e").exists()
    later = pretrain(tmp_path / "a", ranks)  # from the last snapshot
    assert record(tmp_path / "a")["resumed_at_step"] == {"0": 4}
    assert bytes_of(later) == bytes_of(pretrain(tmp_path / "b", ranks))


@pytest.mark.soak
def test_a_state_of_shards_is_taken_up_by_one_process_and_the_other_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[dict[str, Any]] = [{"count": 1}, {"count": 2}, {"count": 2, "sharding": "fsdp"}]
    alone = totals(pretrain(tmp_path / "alone", kinds[0]))
    for i, (first, second) in enumerate([(kinds[2], kinds[0]), (kinds[2], kinds[1]), (kinds[1], kinds[2])]):
        root = tmp_path / str(i)
        with killing(tmp_path / f"hooks{i}", monkeypatch, 1, "step=0*8$", starts=9), pytest.raises(PassingError):
            pretrain(root, first | {"restarts": 0})
        assert totals(pretrain(root, second)) == pytest.approx(alone, rel=1e-5)
        assert record(root)["resumed_at_step"] == {"0": 4}


@pytest.mark.soak
def test_a_mistake_is_told_once_and_not_tried_again(tmp_path: Path, capfd: Any) -> None:
    with pytest.raises(UserError, match="a batch of 15 does not divide among 2 processes"):
        pretrain(tmp_path, {"count": 2}, batch_size=15)
    assert "a rank was lost" not in capfd.readouterr().err


@pytest.mark.soak
def test_ranks_die_with_the_stage(tmp_path: Path) -> None:
    image_corpus(tmp_path / "data" / "corpora" / "squares", n=100)
    plan = {"encoders": {"e": node(epochs=10_000)}, "compute": {"device": "cpu", "ranks": {"count": 2}}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    stage = subprocess.Popen([sys.executable, "-m", "stages.pretrain", "e", "--plan", "plan.json"], cwd=tmp_path)
    live = tmp_path / ".prelude/live/pretrain/e/seed=0.jsonl"
    until = time.monotonic() + 120
    while not (live.exists() and len(live.read_text().splitlines()) > 2) and time.monotonic() < until:
        time.sleep(0.2)
    ranks = children(stage.pid)
    assert len(ranks) == 2
    os.kill(stage.pid, signal.SIGKILL)
    stage.wait()
    while any(map(alive, ranks)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, ranks))


def children(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(folder.name))
    return found


def alive(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
