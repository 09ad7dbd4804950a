"""A training step of wav2vec 2.0 against transformers' own model with its helpers for masks and distractors, at equal sizes.

One thread, seconds of the processor. Both sides: draw masks and distractors, forward, loss, backward, AdamW.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import steps
from benchmarks.core.case import Case, Line, Options, Run, Way, at_most

RATE, SAMPLES, BATCH = 8000, 22400, 6
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


def cases(options: Options) -> list[Case]:
    times = 1 if options.quick else 3
    name = f"step of wav2vec 2.0, {BATCH} x {SAMPLES / RATE:g} s, 4 blocks of 96, 1 thread"
    return [
        Case(
            "step",
            {
                "ours": Way("objective wav2vec2", ours, {"times": times}),
                "theirs": Way("Wav2Vec2ForPreTraining", theirs, {"times": times}, ("transformers",)),
            },
            (Line(name, "ours", ("theirs",), "cost", at_most(1.2), "cpu_s"),),
        )
    ]


def ours(folder: Path, times: int) -> Run:
    """Prelude's objective; transformers has no penalty and no scaled gradient, here they are left in."""
    import torch

    from stages.common.column import Column
    from stages.common.schema import Part

    x = torch.randn(BATCH, 1, SAMPLES, generator=torch.Generator().manual_seed(0))
    parts = Part("waveform", {"samples": SAMPLES}), Part("wav2vec2", SIZES), Part("wav2vec2", LOSS)
    return steps.ours(Column("audio", "media", "waveform", rate=RATE), *parts, x, times)


def theirs(folder: Path, times: int) -> Run:
    """transformers' Wav2Vec2ForPreTraining."""
    import torch

    from benchmarks.core import torchvision

    torchvision.load()
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
    from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

    drop = {f"{name}_dropout": SIZES["dropout"] for name in ("hidden", "feat_proj", "feat_quantizer")}
    config = Wav2Vec2Config(  # type: ignore[call-arg]  # its base takes more
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
    x = torch.randn(BATCH, SAMPLES, generator=torch.Generator().manual_seed(0))
    frames = int(model._get_feat_extract_output_lengths(SAMPLES))
    share = LOSS["probability"] * LOSS["span"]

    def loss() -> Any:
        hidden = _compute_mask_indices((BATCH, frames), share, LOSS["span"], min_masks=2)
        negatives = _sample_negative_indices((BATCH, frames), LOSS["distractors"], hidden)
        masks = {"mask_time_indices": torch.from_numpy(hidden), "sampled_negative_indices": torch.from_numpy(negatives)}
        return model(x, **masks).loss

    return steps.theirs(model, loss, times)
