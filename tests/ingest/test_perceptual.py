from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
from PIL import Image

from stages.common.corpus import Column
from stages.ingest.core.perceptual import grey, looks, looks_of
from tests.ingest.making import picture
from tests.oracles import perceptual as oracle


def test_the_hash_is_the_sign_pattern_of_the_low_cosine_frequencies() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32)).astype(np.uint8)
    assert looks(pictures).hashes.tolist() == [oracle.perceptual_hash(p) for p in pictures]


def test_recoding_and_brightness_turn_few_bits_and_another_picture_turns_many() -> None:
    data = picture(3, (64, 64))
    recoded = io.BytesIO()
    image = Image.open(io.BytesIO(data))
    image.point(lambda v: int(v * 0.9 + 8)).save(recoded, "JPEG", quality=60)
    a, b, c = looks(np.stack([grey(data), grey(recoded.getvalue()), grey(picture(4, (64, 64)))])).hashes
    assert np.bitwise_count(a ^ b) <= 4
    assert np.bitwise_count(a ^ c) >= 16


def test_flat_pictures_have_no_shape() -> None:
    found = looks(np.full((1, 32, 32), 117, np.uint8))
    assert (found.shape == 0).all()


def test_stored_images_and_pixels_look_the_same() -> None:
    data = picture(5, (32, 32))
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    image, stored = Column("i", "media", "image"), Column("i", "media", "pixels", shape=[32, 32, 3])
    a = looks_of(image, [pa.array([{"bytes": data, "path": "a"}], image.type)])
    b = looks_of(stored, [pa.array([pixels.reshape(-1)], stored.type)])
    assert a.hashes == b.hashes
