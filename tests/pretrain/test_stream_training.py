"""Training from a stream: the same bytes whatever happens to it, the curve of one process, memory that does not grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.distributed as dist

from stages.common import corpus, process
from stages.common.corpus import Column, CorpusWriter
from stages.common.errors import UserError
from stages.common.plan import EncoderPlan
from stages.common.schema import build
from stages.common.workspace import Workspace
from stages.pretrain.core import distributed, memory, streaming
from stages.pretrain.core.task import Task
from stages.pretrain.core.trainer import Trainer
from tests.builders import image_corpus, wave_corpus
from tests.killing import run_killed
from tests.pretrain.conftest import Pretrain, bytes_of, draw_in_forward, node
from tests.pretrain.media import frontend, media_corpus
from tests.pretrain.test_resume import Power, cut_at

ROOT = Path(__file__).resolve().parents[2]
STREAM: dict[str, Any] = {"window": 3}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """60 training items in 16 row groups."""
    monkeypatch.setattr(corpus, "ROW_GROUP_BYTES", 600)
    image_corpus(tmp_path / "data" / "corpora" / "squares", n=100)
    return Workspace(tmp_path)


def test_one_window_trains_to_the_bytes_of_a_corpus_that_is_held(pretrain: Pretrain, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_in_forward(monkeypatch)
    found = bytes_of(pretrain(accumulate=2, batch_size=8, stream={"window": 1000}))
    assert found == bytes_of(pretrain(accumulate=2, batch_size=8))
    assert found != bytes_of(pretrain(accumulate=2, batch_size=8, stream=STREAM))


@pytest.mark.parametrize(("step", "threads"), [(1, 4), (6, 1), (11, 4)])  # before a snapshot, in mid-epoch, late
def test_a_cut_run_goes_on_to_the_same_bytes_with_any_number_of_threads(
    pretrain: Pretrain, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, step: int, threads: int
) -> None:
    draw_in_forward(monkeypatch)
    whole = bytes_of(pretrain(epochs=4, stream=STREAM, decode_threads=1))
    with monkeypatch.context() as power:
        cut_at(step, power)
        with pytest.raises(Power):
            pretrain(epochs=4, stream=STREAM, decode_threads=threads)
    (workspace.encoder("e") / "manifest.json").unlink()
    assert bytes_of(pretrain(epochs=4, stream=STREAM, decode_threads=5 - threads)) == whole
    record = json.loads((workspace.record("pretrain", "e") / "record.json").read_text())
    assert record["details"]["resumed_at_step"] == ({"0": step // 4 * 4} if step >= 4 else {})
    assert record["timings"]["data_s"] > 0


def test_a_corpus_that_is_refused_for_its_size_trains_from_a_stream(
    pretrain: Pretrain, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_corpus(workspace.root / "data/corpora/many", n=400)
    many: dict[str, Any] = {"corpus": "many", "parent": "corpora/many", "epochs": 1}
    monkeypatch.setattr(memory, "free_memory", lambda: 2 * 240 * 64 - 2)  # its decoded pictures take half of it and a byte
    with pytest.raises(UserError, match=r"`stream: \{\}` in the encoder"):
        pretrain(**many)
    with pytest.raises(UserError, match=r"lower `stream\.window`"):
        pretrain(**many, stream={"window": 1000})
    assert (pretrain(**many, stream={"window": 1}) / "seed=0/encoder.safetensors").exists()


def test_units_are_those_of_a_corpus_that_is_held(pretrain: Pretrain, workspace: Workspace) -> None:
    """masked_units draws its frames from items all over the corpus before the first step."""
    wave_corpus(workspace.root / "data/corpora/waves", n=40)
    speech: dict[str, Any] = {
        "corpus": "waves",
        "parent": "corpora/waves",
        "frontend": {"name": "log_mel", "samples": 2000, "n_mels": 20},
        "backbone": {"name": "mel_transformer", "dim": 16, "depth": 1, "heads": 2},
        "views": {"name": "none"},
        "objective": {"name": "masked_units", "clusters": 4, "frames": 200, "rounds": 3, "code": 8},
        "monitor": {"label": "pitch", "rows": 8},
        "batch_size": 8,
        "epochs": 2,
    }
    assert bytes_of(pretrain(**speech, stream={"window": 1000})) == bytes_of(pretrain(**speech))


def test_a_stream_is_decoded_by_a_thread_at_least(pretrain: Pretrain) -> None:
    with pytest.raises(UserError, match="decode_threads must be 1 or more, got -1"):
        pretrain(stream=STREAM, decode_threads=-1)


def test_an_encoder_that_is_not_trained_may_have_a_stream(pretrain: Pretrain) -> None:
    random: dict[str, Any] = {"objective": {"name": "none"}}
    assert bytes_of(pretrain(**random, stream=STREAM)) == bytes_of(pretrain(**random))


def curve(task: Task, steps: int = 12) -> list[float]:
    """Losses of this process' share of the batches."""
    torch.manual_seed(0)
    items = streaming.opened(task, torch.device("cpu"))
    trainer = Trainer(0, task, items, distributed.world())
    while trainer.done < steps:
        trainer.step()
    trainer.settle()
    items.close()
    return [value for _, value in trainer.history.of("total")]


def as_rank(rank: int, store: str, task: Task) -> list[float]:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        return curve(task)
    finally:
        dist.destroy_process_group()


def test_the_loss_curve_of_two_ranks_is_that_of_one_process(tmp_path: Path) -> None:
    """Fifty-four items in groups of a few, so that batches span windows and the curve two epochs."""
    made = media_corpus(tmp_path / "c")
    plan = node(stream=STREAM, media="pixels", monitor={"rows": 4}, batch_size=8, optim={"lr": 0.002})
    encoder, column = build(EncoderPlan, plan, "node"), made.card.media("pixels")
    streaming.prepare(made, column, frontend(made, "pixels"), encoder, tmp_path / "m", "encoders.e")
    paths = {"media": str(tmp_path / "m"), "assets": str(made.folder), "corpus": str(made.folder)}
    unused = dict.fromkeys(("corpus_digest", "split_digest", "out", "work", "live", "digest"), "")
    task = Task(key="e", node=encoder, column=column, mean=[0.5], std=[0.3], device="cpu", decode_threads=2, **paths, **unused)
    alone = curve(task)
    assert len(alone) == 12 and max(alone) - min(alone) > 1e-3 * abs(alone[0])
    for found in process.per_seed(as_rank, range(2), str(tmp_path / "store"), task, jobs=2):
        assert found == pytest.approx(alone, rel=1e-4)


MEASURED = """
import resource, sys
from pathlib import Path
import torch
from stages.common import process
from stages.common.corpus import Corpus
from stages.pretrain.core.row_groups import RowGroups, Reader
from stages.pretrain.core.items import Schedule
from stages.pretrain.core.stream import Stream
process.set_threads(1)
corpus = Corpus(Path(sys.argv[1]))
column = corpus.card.media()
groups = RowGroups.of(corpus, ["train"])
contract = {"kind": "image", "height": 32, "width": 32, "channels": 3}
stream = Stream(Reader(corpus, groups, ["train"], column, None), contract, 2, 2)
per_epoch = groups.items // 64
seen = sum(len(block) for block in stream.blocks())
seen += sum(len(drawn.index) for drawn in stream.batches(Schedule(0, 64, per_epoch, 0, per_epoch, lambda index: index)))
print(len(groups), seen, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def pixels(folder: Path, n: int) -> Path:
    """n random pictures of 3 kB each."""
    columns = [*corpus.KEYS, Column("image", "media", "pixels", shape=[32, 32, 3])]
    folder.mkdir(parents=True)
    writer = CorpusWriter(folder, columns)
    values = pa.array(np.random.default_rng(0).integers(0, 256, 1000 * 3072, np.uint8))
    for at in range(0, n, 1000):
        keys = pa.array([str(at + i) for i in range(1000)]), pa.array(["train"] * 1000), pa.array(["g"] * 1000)
        writer.write(pa.record_batch([*keys, pa.FixedSizeListArray.from_arrays(values, 3072)], writer.schema))
    writer.close()
    card = corpus.Card("c", "t", "none", "simulated", {}, columns, {"train": n}, {"train": 1}, writer.shards, "d")
    corpus.write_card(folder, card)
    corpus.atomic.seal(folder)
    return folder


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """About 16 and 128 row groups of 0.8 MB, of which 6 are in memory at most; the larger corpus has 84 MB more of media."""
    monkeypatch.setattr(corpus, "ROW_GROUP_BYTES", 1 << 20)
    found = []
    for n in (4_000, 32_000):
        command = [sys.executable, "-c", MEASURED, str(pixels(tmp_path / str(n), n))]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "ARROW_DEFAULT_MEMORY_POOL": "system"}
        said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=120).stdout
        groups, seen, peak = map(int, said.split())
        assert seen >= 2 * n - 64
        found.append((groups, peak))
    assert found[1][0] >= 7 * found[0][0]
    assert found[1][1] < 1.1 * found[0][1]


@pytest.mark.slow
def test_a_process_killed_in_mid_epoch_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 on the stage's process, with other numbers of threads before and after."""
    monkeypatch.setattr(corpus, "ROW_GROUP_BYTES", 1000)
    outputs = []
    for name in ("whole", "killed"):
        root = tmp_path / name
        image_corpus(root / "data" / "corpora" / "squares", n=300)
        changes: dict[str, Any] = {"epochs": 8, "batch_size": 32, "snapshot_every": 3, "stream": STREAM}
        compute = {"jobs": 1, "decode_threads": 4 if name == "killed" else 1}
        (root / "plan.json").write_text(json.dumps({"encoders": {"e": node(**changes)}, "compute": compute}))
        command = [sys.executable, "-m", "stages.pretrain", "e", "--plan", "plan.json"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        if name == "killed":
            run_killed(command, r"seed=0/step=0*9$", tmp_path / "hooks", root, environment)  # at 6 of 40 steps, 5 an epoch
            assert not (root / "data" / "encoders" / "e").exists()
            compute["decode_threads"] = 2
            (root / "plan.json").write_text(json.dumps({"encoders": {"e": node(**changes)}, "compute": compute}))
        subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, timeout=120)
        outputs.append(bytes_of(root / "data" / "encoders" / "e"))
    assert outputs[0] == outputs[1] and len(outputs[0]) == 5
    record = json.loads((tmp_path / "killed/data/records/pretrain/e/record.json").read_text())
    assert record["details"]["resumed_at_step"]


@pytest.mark.soak
def test_under_torchrun_the_stage_gives_the_history_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(corpus, "ROW_GROUP_BYTES", 1000)
    found = []
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, start in (("one", [sys.executable]), ("two", launcher)):
        root = tmp_path / name
        image_corpus(root / "data" / "corpora" / "squares", n=200)
        changes: dict[str, Any] = {"epochs": 4, "batch_size": 24, "snapshot_every": 3, "optim": {"lr": 0.002}, "stream": STREAM}
        (root / "plan.json").write_text(json.dumps({"encoders": {"e": node(**changes)}, "compute": {"jobs": 1}}))
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        run = [*start, "-m", "stages.pretrain", "e", "--plan", "plan.json"]
        subprocess.run(run, cwd=root, env=environment, check=True, capture_output=True, timeout=180)
        found.append(pq.read_table(root / "data/encoders/e/seed=0/history.parquet").to_pylist())
    one, two = ([(r["step"], r["name"]) for r in rows] for rows in found)
    assert one == two and one[-1][0] == 20
    for a, b in zip(*found, strict=True):
        if a["name"] == "total":
            assert b["value"] == pytest.approx(a["value"], rel=1e-4)
