"""A training step of the masked autoencoder against transformers' ViTMAEForPreTraining, at equal sizes.

One thread, seconds of the processor. Both sides: draw masks, forward, loss on normalised pixels, backward, AdamW. Ours does not
hand the class token to the decoder, whose sequence is one token shorter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import steps
from benchmarks.core.case import Case, Line, Options, Run, Way, at_most

SIDE, PATCH, HIDDEN = 32, 4, 0.75
DIM, DEPTH, HEADS, DECODER_DIM, DECODER_DEPTH, DECODER_HEADS = 192, 6, 3, 96, 2, 3


def cases(options: Options) -> list[Case]:
    batch, times = (8, 1) if options.quick else (64, 3)
    given = {"batch": batch, "times": times}
    name = f"step of MAE, {batch} x {SIDE} px, patches of {PATCH}, {DEPTH} blocks of {DIM}, 1 thread"
    return [
        Case(
            "step",
            {
                "ours": Way("objective mae", ours, given),
                "theirs": Way("ViTMAEForPreTraining", theirs, given, ("transformers",)),
            },
            (Line(name, "ours", ("theirs",), "cost", at_most(1.2), "cpu_s"),),
            same=("weights", "loss"),
            tolerance=0.1,  # of the first loss: other weights and masks are drawn; weights are whole numbers, so equal
        )
    ]


def pictures(batch: int) -> Any:
    """Noise (B, 3, 32, 32)."""
    import torch

    return torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def ours(folder: Path, batch: int, times: int) -> Run:
    from stages.common.column import Column
    from stages.common.schema import Part

    vit = {"patch": PATCH, "dim": DIM, "depth": DEPTH, "heads": HEADS, "positions": "sincos"}
    loss = {"hidden": HIDDEN, "decoder_dim": DECODER_DIM, "decoder_depth": DECODER_DEPTH, "decoder_heads": DECODER_HEADS}
    column = Column("image", "media", "pixels", shape=[SIDE, SIDE, 3])
    return steps.ours(column, Part("image"), Part("vit", vit), Part("mae", loss), pictures(batch), times)


def theirs(folder: Path, batch: int, times: int) -> Run:
    import torch

    from benchmarks.core import torchvision

    torchvision.load()
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(
        image_size=SIDE,
        patch_size=PATCH,
        mask_ratio=HIDDEN,
        norm_pix_loss=True,
        hidden_size=DIM,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=4 * DIM,
        decoder_hidden_size=DECODER_DIM,
        decoder_num_hidden_layers=DECODER_DEPTH,
        decoder_num_attention_heads=DECODER_HEADS,
        decoder_intermediate_size=4 * DECODER_DIM,
    )
    torch.manual_seed(0)
    model, x = ViTMAEForPreTraining(config).train(), pictures(batch)
    return steps.theirs(model, lambda: model(pixel_values=x).loss, times)
