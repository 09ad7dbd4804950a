"""The head ctc: it learns to spell tones, trains what it should, and its loss is that of all paths."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.common import atomic, tasks
from stages.common.column import Column
from stages.common.errors import UserError
from stages.common.media import wav_bytes
from stages.common.plan import Plan
from stages.common.schema import Part, build
from stages.common.stage import execute
from stages.common.workspace import Workspace
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Padded
from stages.fit.core.material import Material
from stages.fit.heads.ctc import _log_probs, _Loss
from stages.pretrain import __main__ as pretraining
from tests.builders import split_of, write_corpus, write_features
from tests.fit import workspace as w
from tests.oracles import wav2vec2 as slow

RATE, SAMPLES = 2000, 1200
BACKBONE = {"name": "wav2vec2", "channels": 16, "kernels": [8, 4, 4], "strides": [4, 3, 3], "dim": 16, "depth": 1, "heads": 2}
BACKBONE |= {"inner": 32, "position_kernel": 4, "position_groups": 2, "dropout": 0.0, "layer_drop": 0.0}
HEAD: dict[str, Any] = {"name": "ctc", "updates": 240, "batch_size": 8, "lr": 3e-3, "head_lr": 1e-2}
HEAD |= {"frozen_share": 0.0, "still": [], "probability": 0.0}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def made(root: Path, n: int = 60, backbone: dict[str, Any] = BACKBONE) -> Workspace:
    """Items of one to four tones, a letter each, with an untrained encoder and features of it."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    time = np.arange(240) / RATE
    for i in range(n):
        text = "".join(rng.choice(list("abc"), rng.integers(1, 5)))
        tones = [np.append(9000 * np.sin(2 * np.pi * 150 * (1 + "abc".index(c)) * time), np.zeros(40)) for c in text]
        wave = (np.concatenate(tones) + rng.normal(0, 300, 280 * len(text))).astype(np.int16)
        stored = {"bytes": wav_bytes(wave, RATE), "path": f"i{i}.wav"}
        rows.append({"id": f"i{i:04d}", "split": split_of(i), "group": f"g{i}", "text": text, "audio": stored})
    found = Workspace(root)
    columns = [Column("text", "label", "text"), Column("audio", "media", "waveform", rate=RATE)]
    write_corpus(found.corpus("c"), columns, rows)
    node = {"corpus": "c", "parent": "corpora/c", "frontend": {"name": "waveform", "samples": SAMPLES, "normalise": True}}
    node |= {"backbone": backbone, "views": {"name": "none"}, "objective": {"name": "none"}, "epochs": 0, "seeds": [0]}
    plan = build(Plan, {"encoders": {"e": node}, "compute": {"device": "cpu", "jobs": 1}}, "plan")
    execute("pretrain", "e", plan, found, pretraining.work, pretraining.inputs, pretraining.target)
    ids, splits = [str(r["id"]) for r in rows], [str(r["split"]) for r in rows]
    write_features(found.features("f"), ids, splits, {0: rng.normal(size=(n, 2)).astype(np.float32)})
    return found


def node(**changes: Any) -> dict[str, Any]:
    plain = w.node(HEAD, label="text", metrics=["cer", "wer"], support="encoders/e", seeds=[0])
    return plain | {"head": HEAD | changes.pop("head", {})} | changes


def test_it_learns_to_spell_and_writes_texts(tmp_path: Path) -> None:
    out = w.run(made(tmp_path), node(labels=["50%", "all"], head={"updates": 150}))
    result = tasks.read_result(out)
    assert result.values("cer")[0] < 0.2
    fits = result.details["fits"]
    assert [f["rows"]["train"] for f in fits] == [18, 36] and fits[1]["alphabet"] == "abc"
    assert fits[1]["loss"][1] < 0.5 < fits[1]["loss"][0]
    p = tasks.read_predictions(out, 0, "all")
    edits = sum(slow.edits(list(t), list(g)) for t, g in zip(p.target, p.prediction, strict=True))
    assert result.values("cer")[0] == pytest.approx(edits / sum(map(len, p.target)))
    wrong = sum(t != g for t, g in zip(p.target, p.prediction, strict=True))
    assert result.values("wer")[0] == pytest.approx(wrong / len(p.target))  # a text is one word


def test_a_second_run_is_the_same_to_the_byte_and_another_seed_is_not(tmp_path: Path) -> None:
    found = made(tmp_path, n=20)
    task = node(head={"updates": 4, "probability": 0.1, "span": 2, "beam": 3}, seeds=[0, 1])
    first = atomic.manifest(w.run(found, task))
    assert atomic.manifest(w.run(found, task)) == first
    fits = tasks.read_result(found.task("q", "t")).details["fits"]
    assert fits[0]["loss"] != fits[1]["loss"]


@pytest.mark.parametrize(
    ("changes", "moved", "kept"),
    [
        ({"frozen_share": 1.0}, [], ["backbone.projection.weight", "backbone.convolutions.0.weight"]),
        ({"still": ["backbone.convolutions"]}, ["backbone.projection.weight"], ["backbone.convolutions.0.weight"]),
        ({"probability": 0.3, "span": 2}, ["backbone.mask", "backbone.convolutions.0.weight"], []),
    ],
)
def test_it_trains_what_it_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], moved: list[str], kept: list[str]
) -> None:
    found = made(tmp_path, n=20)
    handed: list[Encoder] = []
    plain = Material.encoder
    monkeypatch.setattr(Material, "encoder", lambda self: handed.append(plain(self)) or handed[-1])
    w.run(found, node(head={"updates": 3} | changes))
    before = dict(encoders.load(found.encoder("e") / "seed=0")[0].named_parameters())
    after = dict(handed[0].named_parameters())
    assert all(not torch.equal(before[name], after[name]) for name in moved)
    assert all(torch.equal(before[name], after[name]) for name in kept)


def net(backbone: dict[str, Any] = BACKBONE) -> Encoder:
    torch.manual_seed(0)
    column = Column("audio", "media", "waveform", rate=RATE)
    part = Part(backbone["name"], {k: v for k, v in backbone.items() if k != "name"})
    return encoders.new(Part("waveform", {"samples": 260}), part, column, Path())


def test_its_loss_is_that_of_all_paths_that_spell_the_text() -> None:
    encoder, head = net().train(), nn.Linear(16, 3)
    x = Padded(torch.randn(2, 1, 260), torch.tensor([260, 200]))
    codes = [torch.tensor([1, 2]), torch.tensor([2, 2])]
    log_probs, lengths = _log_probs(encoder, head, x)
    expected = []
    for item, length, code in zip(log_probs, lengths, codes):
        every = slow.texts(item[:length].detach().double().numpy())
        expected.append(-np.log(every[tuple(code.tolist())]) / len(code))
    loss = _Loss(encoder, head, codes, 0, 0.0, 1)(x, torch.arange(2))
    assert float(loss.detach()) == pytest.approx(np.mean(expected), rel=1e-4)


def test_a_text_longer_than_its_frames_teaches_nothing_and_is_warned_of() -> None:
    encoder, head = net().train(), nn.Linear(16, 3)
    loss = _Loss(encoder, head, [torch.tensor([1] * 9)], 0, 0.0, 1)
    assert float(loss(Padded(torch.randn(1, 1, 260), torch.tensor([260])), torch.arange(1)).detach()) == 0
    assert loss.short == 1


def test_while_the_encoder_is_frozen_it_takes_no_gradient() -> None:
    encoder, head = net(), nn.Linear(16, 3)
    x = Padded(torch.randn(2, 1, 260), torch.tensor([260, 200]))

    def gradients(training: bool) -> list[Tensor | None]:
        encoder.train(training)
        encoder.zero_grad(set_to_none=True)
        _log_probs(encoder, head, x)[0].sum().backward()
        return [p.grad for p in encoder.parameters()]

    assert all(g is None for g in gradients(False))
    assert any(g is not None for g in gradients(True))


def test_any_backbone_with_frames_will_do(tmp_path: Path) -> None:
    found = made(tmp_path, n=20, backbone={"name": "conv1d", "widths": [8], "kernels": [16], "strides": [8]})
    assert tasks.read_result(w.run(found, node(head={"updates": 3, "probability": 0.2}))).values("cer")


@functools.cache
def mistakes() -> dict[str, tuple[dict[str, Any], str]]:
    return {
        "an encoder without a name": ({"support": "features/f"}, "support: encoders/<name>"),
        "a parameter that is not there": ({"head": {"still": ["backbone.stem"]}}, "begins with 'backbone.stem'"),
        "a count of texts": ({"labels": ["5"]}, "counts labels per class"),
        "no update": ({"head": {"updates": 0}}, "1 or more"),
        "a share beyond one": ({"head": {"probability": 1.2}}, "between 0 and 1"),
        "a metric of classes": ({"metrics": ["accuracy"]}, "choose one of: cer, wer"),
        "a share of updates beyond one": ({"head": {"frozen_share": 2.0}}, "frozen_share lies between"),
    }


@pytest.mark.parametrize("mistake", mistakes())
def test_each_mistake_is_one_clear_error(tmp_path: Path, mistake: str) -> None:
    changes, says = mistakes()[mistake]
    with pytest.raises(UserError) as caught:
        w.run(made(tmp_path, n=20), node(**changes))
    assert says in str(caught.value)
