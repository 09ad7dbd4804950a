"""transformers' wav2vec 2.0 with the weights of ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

SMALL: dict[str, Any] = {
    "channels": 6,
    "kernels": [10, 3, 2],
    "strides": [5, 2, 2],
    "dim": 8,
    "depth": 2,
    "heads": 2,
    "inner": 12,
    "position_kernel": 4,
    "position_groups": 2,
    "dropout": 0.0,
    "layer_drop": 0.0,
}


def config(ours: dict[str, Any] = SMALL, **others: Any) -> Any:
    """The peer's configuration for a backbone's arguments; `others` go through as they are."""
    from transformers import Wav2Vec2Config

    dropouts = ["hidden", "attention", "activation", "feat_proj", "feat_quantizer", "final"]
    return Wav2Vec2Config(
        conv_dim=[ours["channels"]] * len(ours["kernels"]),
        conv_kernel=ours["kernels"],
        conv_stride=ours["strides"],
        num_feat_extract_layers=len(ours["kernels"]),
        hidden_size=ours["dim"],
        num_hidden_layers=ours["depth"],
        num_attention_heads=ours["heads"],
        intermediate_size=ours["inner"],
        num_conv_pos_embeddings=ours["position_kernel"],
        num_conv_pos_embedding_groups=ours["position_groups"],
        layerdrop=0.0,
        mask_time_prob=0.05,  # else it has no mask
        **{f"{name}_dropout": 0.0 for name in dropouts},
        **others,
    )


@torch.no_grad()
def copied(net: nn.Module, peer: nn.Module) -> None:
    """Puts the backbone's weights into a peer's `Wav2Vec2Model`. Every weight of the peer is written."""
    mine, theirs = dict(net.named_parameters()), dict(peer.named_parameters())
    names = {
        "mask": "masked_spec_embed",
        "channel_norm.weight": "feature_extractor.conv_layers.0.layer_norm.weight",
        "channel_norm.bias": "feature_extractor.conv_layers.0.layer_norm.bias",
        "positions.bias": "encoder.pos_conv_embed.conv.bias",
        "positions.gain": "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
        "positions.v": "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
    }
    for end in ("weight", "bias"):
        names[f"feature_norm.{end}"] = f"feature_projection.layer_norm.{end}"
        names[f"projection.{end}"] = f"feature_projection.projection.{end}"
        names[f"norm.{end}"] = f"encoder.layer_norm.{end}"
        for i in range(len(net.blocks)):  # type: ignore[arg-type]
            pairs = {"norm1": "layer_norm", "norm2": "final_layer_norm", "out": "attention.out_proj"}
            pairs |= {"mlp.0": "feed_forward.intermediate_dense", "mlp.2": "feed_forward.output_dense"}
            names |= {f"blocks.{i}.{a}.{end}": f"encoder.layers.{i}.{b}.{end}" for a, b in pairs.items()}
            for part, its in enumerate("qkv"):
                third = mine[f"blocks.{i}.qkv.{end}"].chunk(3)[part]
                theirs.pop(f"encoder.layers.{i}.attention.{its}_proj.{end}").copy_(third)
            mine.pop(f"blocks.{i}.qkv.{end}")
    for i in range(len(net.convolutions)):  # type: ignore[arg-type]
        names[f"convolutions.{i}.weight"] = f"feature_extractor.conv_layers.{i}.conv.weight"
    for a, b in names.items():
        target = theirs.pop(b)
        target.copy_(mine.pop(a).view_as(target))
    assert not mine and not theirs
