"""Stored media become arrays: WAV that everyone plays, pictures of one size, series padded or cut."""

from __future__ import annotations

import io
import struct
import wave
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from stages.common.corpus import Column
from stages.common.errors import ContractError
from stages.common.media import WAV_HEADER, decode, read_wav, wav_bytes

_rates = st.sampled_from([8000, 16000, 44100])
_int16 = hnp.arrays(np.int16, st.integers(0, 50))
_float32 = hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(-1, 1, width=32))


@given(samples=_int16 | _float32, rate=_rates)
def test_samples_read_back_as_they_were_written(samples: np.ndarray, rate: int) -> None:
    data = wav_bytes(samples, rate)
    back = read_wav(data)
    assert back.dtype == samples.dtype and np.array_equal(back, samples)
    assert len(data) == WAV_HEADER + samples.nbytes


@given(samples=_int16, rate=_rates)
def test_the_standard_library_reads_our_wav(samples: np.ndarray, rate: int) -> None:
    with wave.open(io.BytesIO(wav_bytes(samples, rate))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, rate)
        assert file.readframes(file.getnframes()) == samples.tobytes()


@given(samples=_int16 | _float32, rate=_rates)
def test_soundfile_reads_our_wav(samples: np.ndarray, rate: int) -> None:
    read, found = soundfile.read(io.BytesIO(wav_bytes(samples, rate)), dtype=samples.dtype.name)
    assert found == rate and np.array_equal(read, samples)


def test_we_read_the_canonical_wav_of_the_standard_library() -> None:
    samples = np.arange(-5, 5, dtype=np.int16)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())
    assert np.array_equal(read_wav(buffer.getvalue()), samples)


@pytest.mark.parametrize(
    "data",
    [b"", b"RIFF", wav_bytes(np.zeros(4, np.int16), 8000)[:43], b"OggS" + bytes(60), b"RIFF" + bytes(32) + b"LIST" + bytes(20)],
    ids=["empty", "cut", "cut in its header", "another format", "with another chunk"],
)
def test_what_is_no_canonical_wav_is_refused(data: bytes) -> None:
    with pytest.raises(ContractError, match="not canonical WAV"):
        read_wav(data)


def column(kind: str, **more: Any) -> Column:
    return Column("x", "media", kind, **more)  # type: ignore[arg-type]


def waves(*samples: np.ndarray) -> pa.Array:
    return pa.array([{"bytes": wav_bytes(s, 8000), "path": None} for s in samples], column("waveform").type)


def test_waveforms_are_padded_or_cut_and_their_lengths_kept() -> None:
    array = waves(np.array([1, 2], np.int16), np.array([3, 4, 5, 6, 7], np.int16))
    media = decode(array, column("waveform", rate=8000), {"kind": "waveform", "rate": 8000, "samples": 4})
    assert media.data.dtype == np.int16 and media.data.tolist() == [[1, 2, 0, 0], [3, 4, 5, 6]]
    assert media.lengths is not None and media.lengths.tolist() == [2, 4] and len(media) == 2


def test_pixels_take_their_shape() -> None:
    array = pa.array([list(range(12)), list(range(12, 24))], column("pixels", shape=[2, 3, 2]).type)
    media = decode(array, column("pixels", shape=[2, 3, 2]), {"kind": "image", "height": 2, "width": 3, "channels": 2})
    assert media.lengths is None
    assert np.array_equal(media.data, np.arange(24, dtype=np.uint8).reshape(2, 2, 3, 2))


def picture(values: np.ndarray, kind: str = "PNG") -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return {"bytes": buffer.getvalue(), "path": None}


def test_encoded_pictures_are_decoded_to_the_size_and_channels_asked_for() -> None:
    colour = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    grey = np.full((8, 12), 77, np.uint8)
    array = pa.array([picture(colour), picture(grey)], column("image").type)
    media = decode(array, column("image"), {"kind": "image", "height": 4, "width": 6, "channels": 3})
    assert np.array_equal(media.data[0], colour)
    assert np.array_equal(media.data[1], np.full((4, 6, 3), 77, np.uint8))
    one = decode(array, column("image"), {"kind": "image", "height": 4, "width": 6, "channels": 1})
    assert one.data.shape == (2, 4, 6, 1) and (one.data[1] == 77).all()


SERIES = {"kind": "series", "steps": 3, "channels": 2}


@pytest.mark.parametrize("cut", [0, 1], ids=["whole", "a slice"])
def test_series_of_varying_length_are_padded_or_cut(cut: int) -> None:
    rows = [[9.0, 9.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]][1 - cut :]
    array = pa.array(rows, column("series", shape=[-1, 2]).type)[cut:]
    media = decode(array, column("series", shape=[-1, 2]), SERIES)
    expected = [[[1, 2], [3, 4], [0, 0]], [[1, 2], [3, 4], [5, 6]]]
    assert media.data[-2:].tolist() == expected and media.data.dtype == np.float32
    assert media.lengths is not None and media.lengths.tolist()[-2:] == [2, 3]


def test_series_of_one_length_are_taken_as_they_are() -> None:
    array = pa.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]] * 2, column("series", shape=[3, 2]).type)
    media = decode(array[1:], column("series", shape=[3, 2]), SERIES)
    assert media.data.tolist() == [[[1, 2], [3, 4], [5, 6]]]


def test_chunks_are_decoded_as_one() -> None:
    kind = column("series", shape=[1, 2])
    array = pa.chunked_array([pa.array([[1.0, 2.0]], kind.type), pa.array([[3.0, 4.0]], kind.type)])
    assert decode(array, kind, {**SERIES, "steps": 1}).data.tolist() == [[[1, 2]], [[3, 4]]]


@pytest.mark.parametrize(
    ("kind", "contract", "what"),
    [
        (
            column("waveform", rate=8000),
            {"kind": "waveform", "rate": 16000, "samples": 4},
            "has 8000 Hz, the encoder takes 16000",
        ),
        (column("series", shape=[-1, 3]), SERIES, "has 3 channels, the encoder takes 2"),
        (column("pixels", shape=[2, 2, 1]), {"kind": "image", "height": 4, "width": 4, "channels": 1}, "has shape"),
        (column("waveform", rate=8000), SERIES, "holds waveform, the encoder takes series"),
        (column("text"), {"kind": "image", "height": 4, "width": 4, "channels": 1}, "holds text, the encoder takes image"),
    ],
)
def test_a_column_that_does_not_fit_the_contract_is_refused(kind: Column, contract: dict[str, Any], what: str) -> None:
    with pytest.raises(ContractError, match=what):
        decode(pa.array([], kind.type), kind, contract)


def header(**changes: tuple[int, str, int]) -> bytes:
    """A sound WAV of four int16 samples with some header fields changed: {name: (offset, format, value)}."""
    data = bytearray(wav_bytes(np.arange(4, dtype=np.int16), 8000))
    for offset, code, value in changes.values():
        struct.pack_into(code, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        header(channels=(22, "<H", 2)),
        header(bits=(34, "<H", 24)),
        header(bits=(34, "<H", 8)),
        header(code=(20, "<H", 3)),
        header(code=(20, "<H", 7)),
        header(size=(40, "<I", 6)),
        header() + b"LIST" + bytes(8),
        header()[:-1],
    ],
    ids=["stereo", "24 bits", "8 bits", "float of 16 bits", "mu-law", "short size", "a chunk after", "half a sample"],
)
def test_a_wav_that_is_not_mono_int16_or_float32_of_its_own_length_is_refused(data: bytes) -> None:
    with pytest.raises(ContractError, match="not canonical WAV"):
        read_wav(data)


def test_int16_and_float32_waveforms_in_one_batch_have_one_scale() -> None:
    array = waves(np.array([16384, -32768], np.int16), np.array([0.5, -1.0], np.float32))
    media = decode(array, column("waveform", rate=8000), {"kind": "waveform", "rate": 8000, "samples": 2})
    assert media.data.dtype == np.float32 and media.data.tolist() == [[0.5, -1.0], [0.5, -1.0]]


@pytest.mark.parametrize("shape", [[-1, 2], [3, 2]])
def test_nothing_decodes_to_nothing(shape: list[int]) -> None:
    kind = column("series", shape=shape)
    media = decode(pa.array([], kind.type), kind, SERIES)
    assert media.data.shape == (0, 3, 2) and media.lengths is not None and len(media.lengths) == 0


def test_no_pictures_pixels_or_waveforms_decode_to_nothing() -> None:
    image = {"kind": "image", "height": 2, "width": 3, "channels": 1}
    assert decode(pa.array([], column("image").type), column("image"), image).data.shape == (0, 2, 3, 1)
    pixels = column("pixels", shape=[2, 3, 1])
    assert decode(pa.array([], pixels.type), pixels, image).data.shape == (0, 2, 3, 1)
    assert decode(waves(), column("waveform", rate=8), {"kind": "waveform", "rate": 8, "samples": 4}).data.shape == (0, 4)


def test_a_series_with_half_a_step_is_refused() -> None:
    kind = column("series", shape=[-1, 2])
    with pytest.raises(ContractError, match="3 values, not a multiple of 2 channels"):
        decode(pa.array([[1.0, 2.0], [1.0, 2.0, 3.0]], kind.type), kind, SERIES)


def test_a_broken_picture_is_named() -> None:
    cut = picture(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    array = pa.array([{"bytes": cut["bytes"][:200], "path": "cat.png"}], column("image").type)
    contract = {"kind": "image", "height": 4, "width": 4, "channels": 3}
    with pytest.raises(ContractError) as caught:
        decode(array, column("image"), contract)
    assert caught.value.what.startswith("a picture cannot be decoded") and caught.value.where == "cat.png"
    with pytest.raises(ContractError, match="a picture cannot be decoded"):
        decode(pa.array([{"bytes": b"no picture", "path": None}], column("image").type), column("image"), contract)
