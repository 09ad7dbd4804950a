"""A training step of wav2vec 2.0 against transformers' own model with its helpers for masks and distractors, at equal sizes.

One thread; medians of processor milliseconds over alternating blocks of steps, so that the other load of the machine falls out.
Both sides: draw masks and distractors, forward, loss, backward, AdamW.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from stages.common import process, registry
from stages.common.column import Column
from stages.common.plan import OptimPlan
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders
from stages.pretrain.core import optimisers
from stages.pretrain.core.objective import Batch
from stages.views.core.base import Key

AIM = 1.2
RATE, SAMPLES, BATCH, STEPS, BLOCKS = 8000, 22400, 6, 3, 5
SIZES: dict[str, Any] = {
    "channels": 64,
    "kernels": [10, 3, 3, 3, 4],
    "strides": [5, 2, 2, 2, 4],
    "dim": 96,
    "depth": 4,
    "heads": 4,
    "inner": 384,
    "position_kernel": 32,
    "position_groups": 8,
    "dropout": 0.1,
    "layer_drop": 0.0,
}
LOSS: dict[str, Any] = {"probability": 0.08, "span": 8, "distractors": 50, "entries": 64, "code_dim": 64, "final_dim": 64}


def ours(x: torch.Tensor) -> Callable[[], None]:
    """A step of Prelude's objective on x (B, T); transformers has no penalty and no scaled gradient, here they are left in."""
    column = Column("audio", "media", "waveform", rate=RATE)
    net = encoders.new(Part("waveform", {"samples": SAMPLES}), Part("wav2vec2", SIZES), column, Path()).train()
    objective = registry.make("objective", Part("wav2vec2", LOSS), net).train()
    plan = OptimPlan(lr=1e-3)
    optimiser = optimisers.AdamW(plan, objective.optimised(net))
    done = 0

    def step() -> None:
        nonlocal done
        index = torch.arange(BATCH)
        objective(net, Batch([x[:, None]], Key(0, done, index), index))["total"].backward()
        optimiser.step(plan.lr)
        optimiser.clear()
        done += 1
        objective.after_step(net, done, done)

    return step


def theirs(x: torch.Tensor) -> Callable[[], None]:
    """A step of transformers' Wav2Vec2ForPreTraining on x (B, T)."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
    from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

    drop = {f"{name}_dropout": SIZES["dropout"] for name in ("hidden", "feat_proj", "feat_quantizer")}
    config = Wav2Vec2Config(
        conv_dim=[SIZES["channels"]] * len(SIZES["kernels"]),
        conv_kernel=SIZES["kernels"],
        conv_stride=SIZES["strides"],
        num_feat_extract_layers=len(SIZES["kernels"]),
        hidden_size=SIZES["dim"],
        num_hidden_layers=SIZES["depth"],
        num_attention_heads=SIZES["heads"],
        intermediate_size=SIZES["inner"],
        num_conv_pos_embeddings=SIZES["position_kernel"],
        num_conv_pos_embedding_groups=SIZES["position_groups"],
        num_codevectors_per_group=LOSS["entries"],
        codevector_dim=LOSS["code_dim"],
        proj_codevector_dim=LOSS["final_dim"],
        num_negatives=LOSS["distractors"],
        layerdrop=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        **drop,
    )
    model = Wav2Vec2ForPreTraining(config).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    frames = int(model._get_feat_extract_output_lengths(SAMPLES))
    share = LOSS["probability"] * LOSS["span"]

    def step() -> None:
        hidden = _compute_mask_indices((BATCH, frames), share, LOSS["span"], min_masks=2)
        negatives = _sample_negative_indices((BATCH, frames), LOSS["distractors"], hidden)
        found = model(x, mask_time_indices=torch.from_numpy(hidden), sampled_negative_indices=torch.from_numpy(negatives))
        found.loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def main() -> None:
    process.set_threads(1)
    torch.manual_seed(0)
    x = torch.randn(BATCH, SAMPLES)
    times: dict[Callable[[], None], list[float]] = {ours(x): [], theirs(x): []}
    for _ in range(BLOCKS + 1):
        for step in times:  # in turn
            begun = time.process_time()
            for _ in range(STEPS):
                step()
            times[step].append((time.process_time() - begun) / STEPS * 1e3)
    mine, its = (statistics.median(found[1:]) for found in times.values())
    print(f"{'case':44} {'ours ms':>9} {'theirs ms':>11} {'ratio':>6} {'aim':>6}")
    print(f"{f'wav2vec 2.0, {BATCH} x {SAMPLES / RATE:g} s, 4 x 96':44} {mine:9.1f} {its:11.1f} {mine / its:6.3f} {AIM:6.2f}")


if __name__ == "__main__":
    main()
