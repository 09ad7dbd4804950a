"""transformers' BART with the weights of ours: an implementation of the same network by others."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import BartConfig, BartForConditionalGeneration

from stages.encoders.backbones.bart import Bart


def config(dim: int, depth: int, decoder_depth: int, heads: int, symbols: int, places: int) -> BartConfig:
    """Their settings for ours; [PAD] 0, [CLS] 2, [SEP] 3."""
    return BartConfig(
        vocab_size=symbols,
        max_position_embeddings=places,
        d_model=dim,
        encoder_layers=depth,
        decoder_layers=decoder_depth,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=4 * dim,
        decoder_ffn_dim=4 * dim,
        activation_function="gelu",
        dropout=0.0,
        attention_dropout=0.0,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        decoder_start_token_id=3,
        forced_eos_token_id=None,
    )


def of(ours: Bart, heads: int) -> Any:
    """Their model, which computes what `ours` does, in evaluation mode."""
    table, dim = ours.symbols.weight.shape
    theirs: Any = BartForConditionalGeneration(config(dim, len(ours.blocks), len(ours.decoder), heads, table, ours.places))
    inner = theirs.model
    with torch.no_grad():
        inner.shared.weight.copy_(ours.symbols.weight)
        for half, stack, blocks in ((0, inner.encoder, ours.blocks), (1, inner.decoder, ours.decoder)):
            stack.embed_positions.weight[2:].copy_(ours.positions[half])  # their first two places are never used
            _same(stack.layernorm_embedding, ours.norms[half])
            for layer, block in zip(stack.layers, blocks, strict=True):
                own: Any = block.block if half else block
                for part, weight, bias in zip("qkv", own.qkv.weight.chunk(3), own.qkv.bias.chunk(3), strict=True):
                    _set(getattr(layer.self_attn, f"{part}_proj"), weight, bias)
                _same(layer.self_attn.out_proj, own.out)
                _same(layer.self_attn_layer_norm, own.norm1)
                _same(layer.fc1, own.mlp[0])
                _same(layer.fc2, own.mlp[2])
                _same(layer.final_layer_norm, own.norm2)
                if half:
                    _same(layer.encoder_attn.q_proj, block.query)
                    for part, weight, bias in zip("kv", block.memory.weight.chunk(2), block.memory.bias.chunk(2), strict=True):
                        _set(getattr(layer.encoder_attn, f"{part}_proj"), weight, bias)
                    _same(layer.encoder_attn.out_proj, block.out)
                    _same(layer.encoder_attn_layer_norm, block.norm)
    return theirs.eval()


def _same(theirs: Any, ours: Any) -> None:
    _set(theirs, ours.weight, ours.bias)


def _set(theirs: nn.Module, weight: torch.Tensor, bias: torch.Tensor) -> None:
    theirs.weight.copy_(weight)
    theirs.bias.copy_(bias)
