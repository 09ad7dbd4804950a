"""The stage as a whole: what it writes, what it honours, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from stages.common import live
from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.workspace import Workspace
from stages.encoders.core import encoder as encoders
from stages.pretrain.core.objective import Batch
from stages.pretrain.objectives.simclr import SimCLR
from tests.builders import image_corpus, split_of, wave_corpus, write_corpus
from tests.pretrain.conftest import Pretrain, bytes_of, draw_in_forward


def record(workspace: Workspace, key: str = "e") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workspace.record("pretrain", key) / "record.json").read_text())
    return found


def weights(folder: Path, seed: int = 0) -> dict[str, Tensor]:
    return dict(encoders.load(folder / f"seed={seed}")[0].state_dict())


def test_each_seed_leaves_an_encoder_its_card_and_its_history(pretrain: Pretrain, workspace: Workspace) -> None:
    folder = pretrain(seeds=[3, 5])
    assert encoders.seeds(folder) == [3, 5]
    net, card = encoders.load(folder / "seed=5")
    assert (card.seed, card.steps, card.objective, card.parent) == (5, 9, "simclr", None)  # 60 items, 3 steps an epoch
    assert card.width == net.width == 8 and card.parameters == sum(p.numel() for p in net.parameters())
    assert set(card.metrics) == {"loss", "rankme", "feature_std", "knn_accuracy"}
    history = pq.read_table(folder / "seed=5" / "history.parquet").to_pylist()
    totals = [(r["step"], r["value"]) for r in history if r["name"] == "total"]
    assert [s for s, _ in totals] == list(range(1, 10)) and totals[-1][1] == card.metrics["loss"]
    assert [r["step"] for r in history if r["name"] == "rankme"] == [3, 6, 9]
    assert {p.name for p in (folder / "seed=5").iterdir()} == {
        "encoder.safetensors",
        "encoder.json",
        "history.parquet",
        "projector.safetensors",
    }
    assert not list((workspace.state / "resume" / "pretrain").iterdir())


def test_the_record_holds_metrics_clocks_and_the_series(pretrain: Pretrain, workspace: Workspace) -> None:
    pretrain(seeds=[0, 1])
    found = record(workspace)
    assert {(m["name"], m["seed"]) for m in found["metrics"]} >= {("knn_accuracy", 0), ("loss", 1)}
    assert found["throughput"]["samples_per_s"] > 0 and found["timings"]["views_s"] > 0
    assert found["details"]["input_shape"] == [1, 8, 8] and found["details"]["peak_memory_mb"]["0"] > 0
    series = pq.read_table(workspace.record("pretrain", "e") / "series.parquet").to_pylist()
    assert {r["seed"] for r in series} == {0, 1} and {r["name"] for r in series} >= {"total", "lr", "rankme"}
    events = live.read(workspace.live("pretrain", "e") / "seed=1.jsonl")
    assert [e["step"] for e in events if "rankme" in e["values"]] == [3, 6, 9]


@pytest.mark.slow
def test_bytes_do_not_depend_on_how_many_seeds_run_at_once(pretrain: Pretrain) -> None:
    alone = bytes_of(pretrain(seeds=[0, 1, 2], jobs=1))
    together = bytes_of(pretrain(seeds=[0, 1, 2], jobs=2))
    assert together == alone


def test_the_callers_generator_and_settings_are_left_as_they_were(pretrain: Pretrain) -> None:
    torch.manual_seed(42)
    before, mode = torch.get_rng_state(), torch.get_deterministic_debug_mode()
    pretrain()
    assert torch.equal(before, torch.get_rng_state()) and torch.get_deterministic_debug_mode() == mode


def test_a_run_does_not_depend_on_what_the_process_drew_before(pretrain: Pretrain) -> None:
    torch.manual_seed(1)
    first = bytes_of(pretrain())
    torch.manual_seed(2)
    assert bytes_of(pretrain()) == first


def test_training_does_not_depend_on_the_monitor_even_where_the_network_draws(
    pretrain: Pretrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_in_forward(monkeypatch)
    watched, blind = weights(pretrain()), weights(pretrain(monitor={"rows": 4, "every": 9}))
    assert all(torch.equal(watched[n], blind[n]) for n in watched)


def test_training_changes_the_weights_and_keeps_the_standardisation(pretrain: Pretrain) -> None:
    trained, control = weights(pretrain()), weights(pretrain("r", objective={"name": "none"}, views={"name": "none"}))
    assert not torch.equal(trained["backbone.stem.0.weight"], control["backbone.stem.0.weight"])
    assert torch.equal(trained["mean"], control["mean"]) and torch.equal(trained["std"], control["std"])


def test_objective_none_leaves_seeds_at_different_initial_weights_with_the_corpus_statistics(pretrain: Pretrain) -> None:
    folder = pretrain(objective={"name": "none"}, views={"name": "none"}, seeds=[0, 1], batch_size=4096)
    first, second = weights(folder, 0), weights(folder, 1)
    assert not torch.equal(first["backbone.stem.0.weight"], second["backbone.stem.0.weight"])
    assert float(first["mean"]) > 0.1 and float(first["std"]) > 0.05 and torch.equal(first["mean"], second["mean"])
    card = encoders.load_card(folder / "seed=1")
    assert card.steps == 0 and set(card.metrics) == {"rankme", "feature_std", "knn_accuracy"}
    assert pq.read_table(folder / "seed=1" / "history.parquet").num_rows == 0


def test_statistics_come_from_the_media_not_from_the_views(pretrain: Pretrain) -> None:
    plain = weights(pretrain(views={"name": "crop_colour", "views": 2, "jitter": 0.0, "blur": 0.0}))
    strong = weights(pretrain(views={"name": "crop_colour", "views": 2, "jitter": 1.0, "blur": 1.0}))
    assert torch.equal(plain["mean"], strong["mean"]) and torch.equal(plain["std"], strong["std"])


@pytest.mark.parametrize(
    "objective", [{"name": "vicreg", "hidden": 8, "out": 8}, {"name": "lejepa", "hidden": 8, "out": 4, "slices": 8}]
)
def test_other_objectives_train_and_log_their_terms(pretrain: Pretrain, objective: dict[str, Any]) -> None:
    card = encoders.load_card(pretrain(objective=objective, epochs=1) / "seed=0")
    terms = {"vicreg": {"invariance", "variance", "covariance"}, "lejepa": {"prediction", "sigreg"}}[objective["name"]]
    assert terms <= set(card.metrics)


def test_waveforms_train_through_spectrograms(pretrain: Pretrain, workspace: Workspace) -> None:
    wave_corpus(workspace.corpus("tones"), n=60)
    folder = pretrain(
        corpus="tones",
        parent="corpora/tones",
        frontend={"name": "log_mel", "samples": 2400, "n_mels": 16},
        views={"name": "wave_spec"},
        monitor={"label": "pitch", "rows": 16},
    )
    assert encoders.load_card(folder / "seed=0").column.rate == 8000


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "bfloat16"},
        {"channels_last": True},
        {"accumulate": 2, "batch_size": 8},
        {"optim": {"lr": 0.01, "clip_norm": 1e-3}},
        {"optim": {"name": "sgd", "lr": 0.01}},
        {"optim": {"name": "lars", "lr": 0.01}},
        {"optim": {"lr": 0.01, "weight_decay": 0.5}},
        {"optim": {"lr": 0.01, "schedule": "constant"}},
        {"optim": {"lr": 0.01, "warmup": 0.9}},
        {"optim": {"lr": 0.01, "betas": [0.5, 0.9]}},
    ],
)
def test_every_setting_has_an_effect_and_gives_the_same_bytes_again(pretrain: Pretrain, change: dict[str, Any]) -> None:
    base, changed = weights(pretrain("base", epochs=1)), pretrain(epochs=1, **change)
    first = bytes_of(changed)
    found = weights(changed)
    if change.get("channels_last"):
        for name in base:
            torch.testing.assert_close(found[name], base[name], atol=1e-3, rtol=1e-2)
    else:
        assert any(not torch.equal(base[n], found[n]) for n in base if n.endswith("weight"))
    assert bytes_of(pretrain(epochs=1, **change)) == first


def test_accumulation_takes_separate_batches_of_the_loss_for_one_step(pretrain: Pretrain) -> None:
    card = encoders.load_card(pretrain(accumulate=2, batch_size=8) / "seed=0")
    assert card.steps == 9  # as many as of batches of 16
    assert card.metrics["loss"] < 2.71  # log(2 * 8 - 1): a guess among 15, where 16 items would give log(31) = 3.43


def test_accumulated_gradients_average(pretrain: Pretrain, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a loss that is a mean over items, two batches of 8 are one of 16."""
    monkeypatch.setattr(SimCLR, "forward", lambda self, net, batch: {"total": net(batch.views[0]).square().mean()})
    settings = {"backbone": {"name": "mlp", "widths": [8], "batch_norm": False}, "optim": {"name": "sgd", "lr": 0.05}}
    one, two = weights(pretrain(**settings)), weights(pretrain(accumulate=2, batch_size=8, **settings))
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=1e-6, rtol=1e-4)


def test_an_encoder_starts_from_its_parents_same_seed(pretrain: Pretrain) -> None:
    parent = pretrain("p", seeds=[0, 1])
    child = pretrain("c", parent="encoders/p", objective={"name": "none"}, views={"name": "none"}, seeds=[0, 1])
    for seed in (0, 1):
        before, after = weights(parent, seed), weights(child, seed)
        assert all(torch.equal(before[n], after[n]) for n in before)
    assert encoders.load_card(child / "seed=1").parent == "encoders/p"


def test_a_parent_with_one_seed_serves_all_and_one_that_lacks_a_seed_is_named(pretrain: Pretrain) -> None:
    only = pretrain("p", seeds=[7])
    child = pretrain("c", parent="encoders/p", objective={"name": "none"}, views={"name": "none"}, seeds=[0, 1])
    assert torch.equal(weights(child, 1)["backbone.stem.0.weight"], weights(only, 7)["backbone.stem.0.weight"])
    pretrain("q", seeds=[7, 8])
    with pytest.raises(UserError, match="the parent has no seed 0"):
        pretrain("d", parent="encoders/q")


def test_a_parent_of_another_shape_is_refused(pretrain: Pretrain) -> None:
    pretrain("p")
    with pytest.raises(UserError, match="differ in front end or backbone"):
        pretrain("c", parent="encoders/p", backbone={"name": "mlp", "widths": [8]})


def test_a_batch_larger_than_the_split_is_the_users_mistake(pretrain: Pretrain) -> None:
    with pytest.raises(UserError, match=r"a step takes 64 items .* the splits have 60"):
        pretrain(batch_size=64)


def test_a_split_that_is_not_there_is_named(pretrain: Pretrain) -> None:
    with pytest.raises(UserError, match="unknown split 'unlabelled'"):
        pretrain(splits=["train", "unlabelled"])


def test_a_corpus_that_does_not_fit_the_front_end_is_refused(pretrain: Pretrain, workspace: Workspace) -> None:
    wave_corpus(workspace.corpus("tones"), n=20)
    with pytest.raises(ContractError, match="waveform"):
        pretrain(corpus="tones", parent="corpora/tones")


def test_media_with_numbers_that_are_not_finite_are_refused(pretrain: Pretrain, workspace: Workspace) -> None:
    rows = [
        {"id": f"s{i}", "split": split_of(i), "group": f"s{i}", "s": [0.5, 1.0, float("inf") if i == 5 else 2.0]}
        for i in range(20)
    ]
    write_corpus(workspace.corpus("series"), [Column("s", "media", "series", shape=[3, 1])], rows)
    with pytest.raises(ContractError, match="item 's5' hold a number that is not finite"):
        pretrain(corpus="series", parent="corpora/series", frontend={"name": "series"}, monitor={})


def test_a_loss_that_is_not_finite_stops_with_the_step_and_leaves_no_output(
    pretrain: Pretrain, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = SimCLR.forward

    def diverge(self: SimCLR, encoder: encoders.Encoder, batch: Batch) -> dict[str, Tensor]:
        terms = plain(self, encoder, batch)
        self.calls = getattr(self, "calls", 0) + 1
        return {n: v * float("nan") if self.calls == 5 else v for n, v in terms.items()}

    monkeypatch.setattr(SimCLR, "forward", diverge)
    with pytest.raises(UserError, match="the loss is not finite at step 5: total is nan"):
        pretrain(snapshot_every=1000)
    assert not workspace.encoder("e").exists()


def test_a_collapse_is_warned_of_in_the_record_and_the_encoder_is_kept(
    pretrain: Pretrain, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(objective={"name": "lejepa", "weight": 0.0, "hidden": 8, "out": 2, "slices": 2}, optim={"lr": 0.3}, epochs=8)
    (warning,) = [w for w in record(workspace)["warnings"] if "collapsed" in w]
    assert warning.startswith("seed 0: ") and "batch_size" in warning
    assert capsys.readouterr().err.count("has collapsed") == 1


def test_without_a_valid_split_the_missing_knn_is_said(pretrain: Pretrain, workspace: Workspace) -> None:
    rows = [
        {"id": f"i{i}", "split": "train", "group": f"i{i}", "digit": i % 2, "image": np.full(64, i, np.uint8)}
        for i in range(40)
    ]
    columns = [Column("digit", "label", "class", classes=["0", "1"]), Column("image", "media", "pixels", shape=[8, 8, 1])]
    write_corpus(workspace.corpus("bare"), columns, rows)
    folder = pretrain(corpus="bare", parent="corpora/bare", epochs=1)
    assert "knn_accuracy" not in encoders.load_card(folder / "seed=0").metrics
    assert any("no kNN was measured" in w for w in record(workspace)["warnings"])


def test_the_command_line_ends_with_2_and_one_clear_error_for_a_users_mistake(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from stages.pretrain.__main__ import main
    from tests.pretrain.conftest import node

    monkeypatch.chdir(workspace.root)
    monkeypatch.setattr("stages.common.process.die_with_parent", lambda: None)
    (workspace.root / "plan.json").write_text(json.dumps({"encoders": {"e": node(batch_size=9999)}}))
    assert main(["e", "--plan", "plan.json"]) == 2
    error = capsys.readouterr().err
    assert "a step takes 9999 items" in error and "Traceback" not in error


def test_colour_pictures_are_standardised_per_channel(pretrain: Pretrain, workspace: Workspace) -> None:
    image_corpus(workspace.corpus("colour"), n=60, channels=3)
    folder = pretrain(corpus="colour", parent="corpora/colour", views={"name": "crop_colour"}, epochs=1)
    assert weights(folder)["mean"].shape == (3,)
