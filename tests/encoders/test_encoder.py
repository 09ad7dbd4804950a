from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stages.common import atomic, registry
from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.plan import read
from stages.common.schema import Part, as_plain
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder, EncoderCard

PIXELS = Column("image", "media", "pixels", shape=[8, 8, 3])
SERIES = Column("trace", "media", "series", shape=[32, 2])
PARAMS = Path(__file__).parents[2] / "params"
CASES = [
    (Part("image"), Part("resnet", {"width": 4, "blocks": [1, 1]}), PIXELS),
    (Part("image"), Part("vit", {"dim": 8, "heads": 2, "depth": 2}), PIXELS),
    (Part("image"), Part("vit", {"dim": 8, "heads": 2, "depth": 1, "positions": "sincos", "pool": "mean"}), PIXELS),
    (Part("image"), Part("mlp", {"widths": [6, 5]}), PIXELS),
    (Part("series"), Part("conv1d", {"widths": [4], "kernels": [3], "strides": [2]}), SERIES),
    (Part("image"), Part("raw_input", {"side": 2}), PIXELS),
]
IDS = [f"{backbone.name}-{i}" for i, (_, backbone, _) in enumerate(CASES)]


def card(frontend: Part, backbone: Part, column: Column, width: int) -> EncoderCard:
    return EncoderCard(frontend, backbone, column, "c", "digest", "splits", "none", seed=0, steps=0, width=width)


def made(frontend: Part, backbone: Part, column: Column) -> Encoder:
    """With statistics and batch norms that differ from those of a new encoder."""
    torch.manual_seed(0)
    encoder = encoders.new(frontend, backbone, column, Path())
    encoder.mean.normal_()
    encoder.std.uniform_(0.5, 2)
    encoder.train()
    encoder(torch.rand(16, *encoder.frontend.shape))
    return encoder.eval()


@pytest.mark.parametrize(("frontend", "backbone", "column"), CASES, ids=IDS)
def test_a_saved_encoder_comes_back_bit_for_bit(tmp_path: Path, frontend: Part, backbone: Part, column: Column) -> None:
    encoder = made(frontend, backbone, column)
    encoders.save(tmp_path, encoder, card(frontend, backbone, column, encoder.width))
    loaded, found = encoders.load(tmp_path)
    x = torch.rand(5, *encoder.frontend.shape)
    assert found == card(frontend, backbone, column, encoder.width)
    assert not loaded.training
    with torch.inference_mode():
        assert torch.equal(loaded(x), encoder(x))
        assert loaded(x).shape == (5, encoder.width)
        assert torch.isfinite(loaded(x)).all()


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        encoders.save(tmp_path / name, made(*CASES[0]), card(*CASES[0], 8))
    for file in (encoders.WEIGHTS, encoders.CARD):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_inputs_are_standardised_channel_by_channel() -> None:
    encoder = encoders.new(Part("image"), Part("raw_input"), PIXELS, Path())
    encoder.mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    encoder.std.copy_(torch.tensor([1.0, 2.0, 4.0]))
    h = encoder(torch.full((1, 3, 8, 8), 5.0)).view(3, 64)
    assert torch.equal(h, torch.tensor([[4.0], [1.5], [0.5]]).expand(3, 64))
    assert torch.equal(encoder.hidden(torch.full((1, 3, 8, 8), 5.0))[0][0, 7], torch.tensor([4.0, 1.5, 0.5]))


def test_damaged_weights_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    encoders.save(tmp_path, made(*CASES[0]), card(*CASES[0], 8))
    weights = tmp_path / encoders.WEIGHTS
    whole = weights.read_bytes()
    for damaged in (b"", b"\xff" * 20 + whole[20:], whole[:-100]):
        weights.write_bytes(damaged)
        with pytest.raises(ContractError, match="the weights do not load") as caught:
            encoders.load(tmp_path)
        assert caught.value.where == str(weights)


def test_weights_of_another_network_are_an_error(tmp_path: Path) -> None:
    encoders.save(tmp_path, made(*CASES[0]), card(*CASES[3], 5))
    with pytest.raises(ContractError, match="the weights do not load"):
        encoders.load(tmp_path)


def test_an_unknown_key_in_the_card_is_named(tmp_path: Path) -> None:
    encoders.save(tmp_path, made(*CASES[0]), card(*CASES[0], 8))
    atomic.write_json(tmp_path / encoders.CARD, as_plain(card(*CASES[0], 8)) | {"sead": 3})
    with pytest.raises(UserError, match="unknown key 'sead'"):
        encoders.load(tmp_path)


def test_images_fit_pixels_and_waves_fit_waves_of_their_rate() -> None:
    encoders.fits(card(*CASES[0], 8), Column("photo", "media", "image"), "here")
    wave = EncoderCard(
        Part("log_mel"), Part("resnet"), Column("w", "media", "waveform", rate=8000), "c", "d", "s", "none", 0, 0, 8
    )
    encoders.fits(wave, Column("other", "media", "waveform", rate=8000), "here")
    for column in (Column("w", "media", "waveform", rate=16000), PIXELS):
        with pytest.raises(ContractError, match="the encoder takes waveform") as caught:
            encoders.fits(wave, column, "corpus other")
        assert caught.value.where == "corpus other"


@pytest.mark.parametrize("kind", ["backbone", "frontend"])
def test_every_part_has_a_configuration_file_that_spells_out_its_defaults(kind: str) -> None:
    files = {p.stem: p for p in (PARAMS / kind).glob("*.yaml")}
    assert sorted(files) == registry.names(kind)
    for name, path in files.items():
        chosen = Part.of(read(path), name)
        assert chosen.name == name
        part = registry.check(kind, chosen, name)
        defaults = part.__init__.__kwdefaults__
        for key, value in chosen.args.items():
            assert value == (list(defaults[key]) if isinstance(defaults[key], tuple) else defaults[key])
