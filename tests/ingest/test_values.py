from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.common.corpus import Column
from stages.common.media import wav_bytes
from stages.ingest.core import values
from stages.ingest.core.item import BadItem
from tests.ingest.making import picture


def column(kind: Any, **more: Any) -> Column:
    return Column("x", "media", kind, **more)


GOOD = [
    (column("pixels", shape=[2, 3, 1]), np.zeros((2, 3, 1), np.uint8), {"pixels": 6.0}),
    (column("waveform", rate=8), wav_bytes(np.zeros(4, np.int16), 8), {"seconds": 0.5}),
    (column("series", shape=[-1, 2]), np.zeros((5, 2)), {"steps": 5.0}),
    (column("points", shape=[-1, 3]), np.zeros((7, 3)), {"points": 7.0}),
    (column("text"), "a word", {"characters": 6.0}),
    (column("molecule"), "CCO", {"characters": 3.0}),
    (column("tokens"), [1, 2, 3], {"tokens": 3.0}),
    (column("edges"), ["a"], {"edges": 1.0}),
    (column("graph"), (["a", ""], [(0, 1)], [1, 3]), {"nodes": 2.0, "edges": 1.0}),
    (column("events"), [(0.0, "a", None), (1.0, "b", 2.0)], {"events": 2.0}),
    (column("image"), picture(0, (3, 5)), {"pixels": 15.0}),
]


@pytest.mark.parametrize(("of", "value", "amounts"), GOOD, ids=lambda v: getattr(v, "kind", ""))
def test_each_kind_is_counted_in_its_unit(of: Column, value: Any, amounts: dict[str, float]) -> None:
    assert values.store(of, value, "p").amounts == amounts


def test_copies_have_one_digest_and_neighbours_are_no_content() -> None:
    a = values.store(column("text"), "same", "p").content
    assert values.content_digest([a]) == values.content_digest([values.store(column("text"), "same", "q").content])
    assert values.content_digest([a, b""]) != values.content_digest([b"", a])
    assert values.store(column("edges"), ["n"], "p").content == values.store(column("edges"), ["m"], "p").content


def test_an_image_is_measured_before_it_is_decoded() -> None:
    size = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in ((b"IHDR", size), (b"IDAT", b"x"))
    ]
    header = b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    with pytest.raises(BadItem, match="above the limit"):
        values.decode_image(header)
    with pytest.raises(BadItem, match="4 x 4 pixels, above the limit of 15"):
        values.decode_image(picture(0, (4, 4)), max_pixels=15)


def test_reasons_name_no_address_in_memory() -> None:
    for data in (b"", b"GIF89a", b"no image at all", picture(0)[:60], picture(0, kind="JPEG")[:200]):
        with pytest.raises(BadItem) as caught:
            values.decode_image(data)
        assert "0x" not in str(caught.value)


def test_formats_that_run_other_programs_are_no_images() -> None:
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, "EPS")
    with pytest.raises(BadItem, match="not an image"):
        values.decode_image(out.getvalue())


@pytest.mark.parametrize(
    ("of", "value", "says"),
    [
        (column("pixels", shape=[2, 2, 1]), np.zeros((3, 2, 1), np.uint8), "shape|pixels are"),
        (column("pixels", shape=[2, 2, 1]), np.zeros((2, 2, 1)), "pixels are float64"),
        (column("waveform", rate=8), wav_bytes(np.zeros(0, np.int16), 8), "no samples"),
        (column("waveform", rate=8), wav_bytes(np.array([0, np.nan], np.float32), 8), "not finite"),
        (column("series", shape=[-1, 2]), np.zeros((5, 3)), r"shape \[5, 3\]"),
        (column("series", shape=[-1, 1]), np.array([1.0, np.inf]), "not finite"),
        (column("series", shape=[-1, 1]), np.zeros(0), "empty x"),
        (column("text"), "  ", "empty x"),
        (column("text"), 7, "not text"),
        (column("text"), "\ud800", "not Unicode"),
        (column("tokens"), [], "empty x"),
        (column("tokens"), [0.5], "no list of whole numbers"),
        (column("tokens"), [1 << 40], "beyond 32 bits"),
        (column("events"), [], "empty x"),
        (column("events"), [(1.0, "a", None), (0.0, "b", None)], "order of time"),
        (column("graph"), ([], [], []), "x has no node"),
        (column("graph"), (["a", "b"], [(0, 1)], [1]), "lacks the text or the degree"),
        (column("graph"), (["a", None], [], [0, 0]), "lacks the text or the degree"),
        (column("graph"), (["a", "b"], [(1, 0)], [1, 1]), "no pair of its nodes"),
        (column("graph"), (["a", "b"], [(0, 2)], [1, 1]), "no pair of its nodes"),
        (column("graph"), (["a", "b"], [(0, 1), (0, 1)], [2, 2]), "an edge twice"),
        (column("graph"), (["a", "b"], [(0, 1)], [1, 0]), "more edges than its degree"),
        (column("text"), None, "no x"),
    ],
)
def test_unusable_values_are_told_by_their_reason(of: Column, value: Any, says: str) -> None:
    with pytest.raises(BadItem, match=says):
        values.store(of, value, "p")
