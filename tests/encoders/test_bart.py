"""The backbone `bart` and its decoder, against others' implementations with the same weights, and its own promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stages.common.errors import ContractError, UserError
from stages.encoders.backbones.bart import Bart
from stages.encoders.core.decoder import DecoderBlock, cut, shifted
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Padded

SYMBOLS, WIDTH = 30, 12


class Words(Frontend):
    """Nothing but the shape of symbols."""

    def __init__(self, tokenizer: str | None = "t", shape: tuple[int, ...] = (WIDTH,), vocabulary: int = SYMBOLS) -> None:
        self.shape, self.vocabulary, self.contract = shape, vocabulary, {"tokenizer": tokenizer}


def make(**arguments: Any) -> Bart:
    """A small one whose weights are large enough to tell its parts apart; biases and norms are not at their start."""
    torch.manual_seed(0)
    net = Bart(Words(), **{"dim": 16, "depth": 2, "decoder_depth": 2, "heads": 4, "dropout": 0.0, **arguments})
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.4)
    return net.eval()


def texts(lengths: list[int]) -> Padded:
    x = torch.randint(5, SYMBOLS, (len(lengths), WIDTH), generator=torch.Generator().manual_seed(1))
    x[:, 0] = 2
    for row, n in zip(x, lengths, strict=True):
        row[n - 1], row[n:] = 3, 0
    return Padded(x, torch.tensor(lengths))


def test_states_logits_and_greedy_text_are_those_of_transformers() -> None:
    pytest.importorskip("transformers")
    from tests.peers import bart as peer

    net, x = make(), texts([12, 5, 9])
    theirs = peer.of(net, 4)
    before, mask = shifted(x.x, 3), x.own()
    with torch.no_grad():
        told = theirs(input_ids=x.x, attention_mask=mask.long(), decoder_input_ids=before, output_hidden_states=True)
        hidden = net.hidden(x)
        written = theirs.generate(input_ids=x.x, attention_mask=mask.long(), max_new_tokens=8, num_beams=1, do_sample=False)
    for ours, other in zip(hidden, [*told.encoder_hidden_states[1:], *told.decoder_hidden_states[1:]], strict=True):
        torch.testing.assert_close(ours[mask], other[mask], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(net.logits(hidden[-1])[mask], told.logits[mask], atol=1e-3, rtol=1e-4)
    found = net.generate(x, 8)
    assert torch.equal(found, written[:, 1 : 1 + found.shape[1]])


def test_the_paper_size_has_the_weights_of_barts_large_form() -> None:
    pytest.importorskip("transformers")
    from transformers import BartModel

    from tests.peers import bart as peer

    with torch.device("meta"):
        ours = Bart(Words(shape=(128,), vocabulary=1021))
        theirs = BartModel(peer.config(1024, 12, 12, 16, 1021, 128))
    unused = 2 * 2 * 1024  # two places of each half
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters()) - unused


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_decoder_block_is_torchs_with_the_same_weights(norm: Any) -> None:
    torch.manual_seed(0)
    ours = DecoderBlock(16, 4, 32, norm)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.4)
    theirs = nn.TransformerDecoderLayer(16, 4, 32, 0.0, "gelu", batch_first=True, norm_first=norm == "pre")
    own = ours.block
    weights: dict[str, Tensor] = {
        "multihead_attn.in_proj_weight": torch.cat([ours.query.weight, ours.memory.weight]),
        "multihead_attn.in_proj_bias": torch.cat([ours.query.bias, ours.memory.bias]),
        "self_attn.in_proj_weight": own.qkv.weight,
        "self_attn.in_proj_bias": own.qkv.bias,
    }
    pairs = {"self_attn.out_proj": own.out, "multihead_attn.out_proj": ours.out, "linear1": own.mlp[0], "linear2": own.mlp[2]}
    for name, module in (pairs | {"norm1": own.norm1, "norm2": ours.norm, "norm3": own.norm2}).items():
        weights |= {f"{name}.{kind}": getattr(module, kind) for kind in ("weight", "bias")}
    theirs.load_state_dict(weights)
    x, memory = torch.randn(3, 7, 16), torch.randn(3, 5, 16)
    seen = torch.arange(5) < torch.tensor([5, 2, 4])[:, None]
    causal = nn.Transformer.generate_square_subsequent_mask(7)
    expected = theirs(x, memory, tgt_mask=causal, memory_key_padding_mask=(~seen).float().masked_fill(~seen, -torch.inf))
    torch.testing.assert_close(ours(x, memory, seen[:, None, None]), expected, atol=1e-4, rtol=1e-4)


def test_h_is_the_decoders_state_at_the_last_symbol_or_the_encoders_mean() -> None:
    x = texts([12, 5, 9])
    hidden = make().hidden(x)
    torch.testing.assert_close(make()(x), torch.stack([hidden[-1][i, n - 1] for i, n in enumerate([12, 5, 9])]))
    mean = torch.stack([hidden[1][i, :n].mean(0) for i, n in enumerate([12, 5, 9])])
    torch.testing.assert_close(make(pool="mean")(x), mean)


def test_padding_batch_and_groups_change_nothing() -> None:
    x = texts([12, 5, 9, 3, 7])
    h = make()(x)
    torch.testing.assert_close(make(groups=3)(x), h, atol=1e-5, rtol=1e-5)
    for i in range(5):
        torch.testing.assert_close(make()(cut(x, torch.tensor([i]))), h[i : i + 1], atol=1e-5, rtol=1e-5)
    other = Padded(torch.where(x.own(), x.x, 7), x.lengths)  # symbols in place of padding
    torch.testing.assert_close(make()(other), h)


def test_the_decoder_sees_no_symbol_before_its_time_and_all_of_the_encoder() -> None:
    net, x = make(), texts([12])
    tokens = net.embed(x)
    memory = net.encode(tokens)[-1]
    before = x.x.clone()
    changed = before.clone()
    changed[0, 6] = 29 if before[0, 6] != 29 else 28
    first, second = (net.decode(b, memory, tokens.own)[-1] for b in (before, changed))
    assert torch.equal(first[0, :6], second[0, :6]) and not torch.allclose(first[0, 6:], second[0, 6:])
    assert not torch.allclose(first[0, 0], net.decode(before, memory.flip(2), tokens.own)[-1][0, 0])


def test_writing_stops_at_its_end_or_at_the_length() -> None:
    net = make()
    with torch.no_grad():
        net.decoder[-1].block.norm2.weight.zero_()
        net.decoder[-1].block.norm2.bias.copy_(10 * net.symbols.weight[3])
    x = texts([12, 5])
    assert net.generate(x, 6).tolist() == [[3], [3]]
    with torch.no_grad():
        net.symbols.weight[7] = 2 * net.symbols.weight[3]
    assert net.generate(x, 6).tolist() == [[7] * 6] * 2


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ContractError, match="takes a text's symbols"):
        Bart(Words(tokenizer=None))
    with pytest.raises(ContractError, match="takes a text's symbols"):
        Bart(Words(shape=(3, 8)))
    for wrong in ({"dim": 18}, {"decoder_depth": 0}, {"dropout": 1.0}, {"groups": 0}, {"std": 0.0}):
        with pytest.raises(UserError, match="must be a multiple"):
            make(**wrong)
    for small in ({"positions": 5}, {"table": 10}):
        with pytest.raises(ContractError, match="raise `positions` or `table`"):
            make(**small)
    with pytest.raises(ContractError, match="13 symbols, and 12 positions"):
        make()(torch.full((1, 13), 6))
