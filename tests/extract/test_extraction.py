from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from stages.common import atomic, features
from stages.common.corpus import Column, Corpus
from stages.common.errors import ContractError, UserError
from stages.common.media import decode
from stages.common.plan import FeaturesPlan
from stages.common.registry import PACKAGES
from stages.common.schema import Part
from stages.common.workspace import Workspace
from stages.encoders.core import encoder as encoders
from stages.encoders.core.projector import Projector
from stages.extract.embed import Batch, Embedder
from stages.extract.extraction import Extraction, choose_device, set_precision
from tests.builders import image_corpus, split_of, wave_corpus, write_corpus
from tests.extract.conftest import Extract, write_encoder


def plain_loop(workspace: Workspace, seed: int, forward: str, layer: int = -1) -> list[np.ndarray]:
    """Every item of the corpus through the encoder, one at a time."""
    corpus = Corpus(workspace.corpus("c"))
    encoder, _ = encoders.load(workspace.encoder("e") / f"seed={seed}")
    column = corpus.card.media()
    outputs = []
    for i in range(corpus.count()):
        media = decode(corpus.table([column.name]).slice(i, 1)[column.name], column, encoder.frontend.contract)
        with torch.no_grad():
            lengths = None if media.lengths is None else torch.tensor(media.lengths)
            x = encoder.frontend(torch.tensor(media.data), lengths)
            outputs.append((encoder(x) if forward == "clip" else encoder.hidden(x)[layer])[0].numpy())
    return outputs


def content(folder: Path) -> dict[str, str]:
    return {name: entry["sha256"] for name, entry in atomic.manifest(folder)["files"].items()}


@pytest.fixture
def images(workspace: Workspace) -> Workspace:
    """60 images of 8 x 8 as corpus `c`, an encoder `e` of seeds 0 and 3."""
    image_corpus(workspace.corpus("c"), n=60)
    write_encoder(workspace.encoder("e"), workspace.corpus("c"), seeds=(0, 3))
    return workspace


def test_clip_rows_are_the_encoders_outputs_of_a_plain_loop(images: Workspace, extract: Extract) -> None:
    folder = extract()
    table = Corpus(images.corpus("c")).table(["id", "split"])
    for seed in (0, 3):
        found = features.read(folder, seed)
        assert found.ids.tolist() == table["id"].to_pylist()
        assert found.splits.tolist() == table["split"].to_pylist()
        assert found.row.tolist() == list(range(60))
        assert found.index.tolist() == [0] * 60
        np.testing.assert_allclose(found.x, np.stack(plain_loop(images, seed, "clip")), rtol=1e-4, atol=1e-5)


def test_the_seeds_differ_and_the_description_says_what_is_there(images: Workspace, extract: Extract) -> None:
    folder = extract()
    assert features.info(folder) == features.FeaturesInfo(
        "clip", [-1], 4, "float32", [0, 3], {"train": 36, "valid": 12, "test": 12}, "e", "c"
    )
    assert np.abs(features.read(folder, 0).x - features.read(folder, 3).x).max() > 1e-3
    assert sorted(content(folder)) == ["features.json", "seed=0/part-00000.parquet", "seed=3/part-00000.parquet"]


def test_patch_rows_of_a_layer_are_in_raster_order(images: Workspace, extract: Extract) -> None:
    found = features.read(extract(rows="patch", layers=[0], batch_size=7), 3)
    assert found.row.tolist() == np.repeat(np.arange(60), 64).tolist()
    assert found.index.tolist() == list(range(64)) * 60
    np.testing.assert_allclose(found.x, np.concatenate(plain_loop(images, 3, "hidden", 0)), rtol=1e-4, atol=1e-5)


def test_several_layers_lie_side_by_side_under_the_numbers_they_were_asked_by(workspace: Workspace, extract: Extract) -> None:
    image_corpus(workspace.corpus("c"), n=20)
    backbone = Part("vit", {"dim": 8, "depth": 3, "heads": 2})
    write_encoder(workspace.encoder("e"), workspace.corpus("c"), backbone=backbone)
    folder = extract(rows="patch", layers=[-3, 1, -1], shard_rows=50)
    assert features.info(folder).counts == {"train": 48, "valid": 16, "test": 16}
    for layer, position in ((-3, 0), (1, 1), (-1, 2)):
        found = features.read(folder, 0, layer=layer)
        np.testing.assert_allclose(found.x, np.concatenate(plain_loop(workspace, 0, "hidden", position)), rtol=1e-4, atol=1e-5)
        assert found.index.tolist() == list(range(4)) * 20


def test_a_clip_row_of_an_earlier_layer_is_the_mean_of_its_positions(workspace: Workspace, extract: Extract) -> None:
    image_corpus(workspace.corpus("c"), n=20)
    backbone = Part("vit", {"dim": 8, "depth": 2, "heads": 2})
    write_encoder(workspace.encoder("e"), workspace.corpus("c"), backbone=backbone)
    folder = extract(layers=[0, -1])
    means = [h.mean(0) for h in plain_loop(workspace, 0, "hidden", 0)]
    np.testing.assert_allclose(features.read(folder, 0, layer=0).x, np.stack(means), rtol=1e-4, atol=1e-5)
    clips = np.stack(plain_loop(workspace, 0, "clip"))
    np.testing.assert_allclose(features.read(folder, 0, layer=-1).x, clips, rtol=1e-4, atol=1e-5)


def test_layers_of_different_dimensions_are_refused_together(images: Workspace, extract: Extract) -> None:
    with pytest.raises(UserError, match=r"several dimensions \(0: 2, -1: 4\)"):
        extract(rows="patch", layers=[0, -1])
    with pytest.raises(UserError, match="no layer 2 among 2"):
        extract(rows="patch", layers=[2])
    with pytest.raises(UserError, match="named once each"):
        extract(rows="patch", layers=[1, 1])


def test_frames_of_the_padding_are_left_out(workspace: Workspace, extract: Extract) -> None:
    wave_corpus(workspace.corpus("c"), n=12)
    backbone = Part("conv1d", {"widths": [4, 4], "kernels": [8, 4], "strides": [8, 4]})
    write_encoder(workspace.encoder("e"), workspace.corpus("c"), Part("waveform", {"samples": 3200}), backbone)
    folder = extract(rows="frame", shard_rows=250)
    found = features.read(folder, 0)
    every = plain_loop(workspace, 0, "hidden")
    lengths = [
        min(3200, (len(w["bytes"]) - 44) // 2) for w in Corpus(workspace.corpus("c")).table(["wave"])["wave"].to_pylist()
    ]
    own = [math.ceil(len(h) * length / 3200) for h, length in zip(every, lengths, strict=True)]
    assert min(own) < len(every[0])
    assert found.row.tolist() == [i for i, n in enumerate(own) for _ in range(n)]
    assert found.index.tolist() == [t for n in own for t in range(n)]
    np.testing.assert_allclose(found.x, np.concatenate([h[:n] for h, n in zip(every, own)]), rtol=1e-4, atol=1e-5)
    assert sum(features.info(folder).counts.values()) == sum(own)


def test_spectrograms_are_read(workspace: Workspace, extract: Extract) -> None:
    wave_corpus(workspace.corpus("c"), n=12)
    write_encoder(workspace.encoder("e"), workspace.corpus("c"), Part("log_mel", {"samples": 800, "n_mels": 8}))
    clips = np.stack(plain_loop(workspace, 0, "clip"))
    np.testing.assert_allclose(features.read(extract(), 0).x, clips, rtol=1e-4, atol=1e-5)


def test_encoded_images_are_resized_as_they_are_decoded(workspace: Workspace, extract: Extract) -> None:
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for i in range(6):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)).save(file, "png")
        photo = {"bytes": file.getvalue(), "path": f"{i}.png"}
        rows.append({"id": f"p{i}", "split": split_of(i), "group": f"p{i}", "photo": photo})
    write_corpus(workspace.corpus("c"), [Column("photo", "media", "image")], rows)
    write_encoder(workspace.encoder("e"), workspace.corpus("c"), Part("image", {"height": 16, "width": 8}))
    clips = np.stack(plain_loop(workspace, 0, "clip"))
    np.testing.assert_allclose(features.read(extract(batch_size=4), 0).x, clips, rtol=1e-4, atol=1e-5)


def test_limits_and_splits_choose_the_first_rows_and_do_not_change_a_number(images: Workspace, extract: Extract) -> None:
    every = features.read(extract(), 0)
    some = features.read(extract(splits=["valid", "train"], limit={"train": 5}), 0)
    train = np.flatnonzero(every.splits == "train")[:5]
    chosen = np.sort(np.concatenate([train, np.flatnonzero(every.splits == "valid")]))
    assert some.row.tolist() == chosen.tolist()
    assert some.ids.tolist() == every.ids[chosen].tolist()
    assert some.x.tobytes() == every.x[chosen].tobytes()


def test_a_split_that_is_not_there_is_named(images: Workspace, extract: Extract) -> None:
    with pytest.raises(UserError, match="unknown split 'trian'"):
        extract(splits=["trian"])
    with pytest.raises(UserError, match="limits nothing"):
        extract(splits=["train"], limit={"test": 3})
    with pytest.raises(UserError, match="nothing to extract"):
        extract(splits=["train"], limit={"train": 0})


def test_shards_hold_the_rows_asked_for_and_make_no_difference(images: Workspace, extract: Extract) -> None:
    one = features.read(extract(), 3)
    folder = extract(shard_rows=13)
    parts = sorted((folder / "seed=3").iterdir())
    assert [pq.ParquetFile(p).metadata.num_rows for p in parts] == [13, 13, 13, 13, 8]
    many = features.read(folder, 3)
    assert many.x.tobytes() == one.x.tobytes()
    assert many.ids.tolist() == one.ids.tolist()


def test_half_precision_is_the_rounded_single_precision(images: Workspace, extract: Extract) -> None:
    single, half = features.read(extract(), 0).x, features.read(extract(dtype="float16"), 0).x
    assert half.tobytes() == single.astype(np.float16).astype(np.float32).tobytes()


def test_running_again_and_running_seeds_side_by_side_gives_the_same_bytes(images: Workspace, extract: Extract) -> None:
    first = content(extract(shard_rows=20))
    assert content(extract(shard_rows=20)) == first
    assert content(extract({"device": "cpu", "jobs": 2}, shard_rows=20)) == first


def test_a_run_that_goes_on_cuts_batches_where_an_undisturbed_one_does(
    images: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = FeaturesPlan("e", "c", batch_size=16, shard_rows=10)
    whole = Extraction(0, node, images.encoder("e"), Corpus(images.corpus("c")), torch.device("cpu"))
    assert whole.run(tmp_path / "out").reused == 0
    for number in (4, 5):
        (tmp_path / "out" / f"part-{number:05d}.parquet").unlink()
    rows: list[int] = []
    embed = Embedder.__call__

    def watched(self: Embedder, batch: Batch) -> list[torch.Tensor]:
        rows.append(int(batch.row[0]))
        return embed(self, batch)

    monkeypatch.setattr(Embedder, "__call__", watched)
    assert whole.run(tmp_path / "out").reused == 4
    assert rows == [32, 48]  # item 40 is the first without a shard; batches begin at multiples of 16


@dataclass
class Noise:
    """A views part for these tests: noise that depends on (seed, epoch, sample) alone."""

    frontend: Any

    def __call__(self, data: torch.Tensor, lengths: torch.Tensor | None, key: Any) -> list[torch.Tensor]:
        x = self.frontend(data, lengths)
        code = (key.seed * 100 + key.epoch * 10_000 + key.sample).view(-1, 1, 1, 1)
        return [x + code / 1000, x * 0]


def test_copies_are_the_first_views_under_their_own_keys(
    images: Workspace, extract: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.views import none

    monkeypatch.setattr(none, "NoViews", Noise)
    Noise.__prelude_part__ = PACKAGES["views"] + ".none"
    write_encoder(images.encoder("raw"), images.corpus("c"), backbone=Part("raw_input"), seeds=(3,))
    found = features.read(extract(encoder="raw", copies=2, batch_size=7), 3)
    encoder, _ = encoders.load(images.encoder("raw") / "seed=3")
    column = Corpus(images.corpus("c")).card.media()
    pixels = decode(Corpus(images.corpus("c")).table(["image"])["image"], column, encoder.frontend.contract).data
    assert found.row.tolist() == np.repeat(np.arange(60), 2).tolist()
    assert found.index.tolist() == [0, 1] * 60
    for i in (0, 1, 14, 119):
        row, copy = divmod(i, 2)
        with torch.no_grad():
            x = encoder.frontend(torch.tensor(pixels[row : row + 1])) + (300 + copy * 10_000 + row) / 1000
            np.testing.assert_allclose(found.x[i], encoder(x)[0].numpy(), rtol=1e-5)


def test_an_encoder_of_another_kind_of_media_is_refused_before_any_compute(workspace: Workspace, extract: Extract) -> None:
    wave_corpus(workspace.corpus("waves"), n=10)
    image_corpus(workspace.corpus("c"), n=10)
    write_encoder(workspace.encoder("e"), workspace.corpus("waves"), Part("log_mel"))
    with pytest.raises(ContractError, match="the encoder takes waveform") as caught:
        extract()
    assert caught.value.where == "corpus c, encoder e"
    assert not workspace.features("f").exists()


def test_pixels_of_another_shape_are_refused(images: Workspace, extract: Extract) -> None:
    image_corpus(images.corpus("large"), n=10, size=12)
    with pytest.raises(ContractError, match=r"has shape \[12, 12, 1\], the encoder takes \[8, 8, 1\]"):
        extract(corpus="large")


def test_a_missing_corpus_or_encoder_is_an_error_that_names_the_folder(images: Workspace, extract: Extract) -> None:
    with pytest.raises(ContractError, match="an input is missing") as caught:
        extract(corpus="gone")
    assert caught.value.where == str(images.corpus("gone"))
    with pytest.raises(ContractError, match="an input is missing"):
        extract(encoder="gone")


def test_a_flipped_byte_in_the_weights_is_noticed(images: Workspace, extract: Extract) -> None:
    weights = images.encoder("e") / "seed=3" / encoders.WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ContractError, match="not those of its manifest") as caught:
        extract()
    assert caught.value.where == str(weights)


def test_weights_that_do_not_load_are_an_error_that_names_the_file(images: Workspace, extract: Extract) -> None:
    weights = images.encoder("e") / "seed=3" / encoders.WEIGHTS
    weights.write_bytes(b"\xff" * 100)
    atomic.seal(images.encoder("e"))
    with pytest.raises(ContractError, match="the weights do not load") as caught:
        extract({"device": "cpu", "jobs": 2})
    assert caught.value.where == str(weights)


def test_embeddings_that_are_not_finite_stop_the_run_and_leave_the_earlier_result(images: Workspace, extract: Extract) -> None:
    before = content(extract())
    folder = images.encoder("e") / "seed=3"
    encoder, card = encoders.load(folder)
    encoder.std.zero_()
    encoders.save(folder, encoder, card)
    atomic.seal(images.encoder("e"))
    with pytest.raises(ContractError, match="seed 3 gives embeddings that are no finite float32"):
        extract()
    assert content(images.features("f")) == before


def test_numbers_below_one_are_refused(images: Workspace, extract: Extract) -> None:
    for name in ("batch_size", "shard_rows", "copies", "threads"):
        with pytest.raises(UserError, match=f"{name} must be 1 or more, got 0"):
            extract(**{name: 0})


def test_series_and_the_only_media_column_of_another_name_serve(workspace: Workspace, extract: Extract) -> None:
    rng = np.random.default_rng(0)
    for name, column in (("trained", "trace"), ("c", "signal")):
        rows = [
            {"id": f"s{i}", "split": split_of(i), "group": f"s{i}", column: rng.normal(size=24).astype(np.float32)}
            for i in range(10)
        ]
        write_corpus(workspace.corpus(name), [Column(column, "media", "series", shape=[12, 2])], rows)
    backbone = Part("conv1d", {"widths": [4], "kernels": [3], "strides": [2]})
    write_encoder(workspace.encoder("e"), workspace.corpus("trained"), Part("series"), backbone)
    np.testing.assert_allclose(features.read(extract(), 0).x, np.stack(plain_loop(workspace, 0, "clip")), rtol=1e-4, atol=1e-5)


def test_the_record_says_where_the_time_went(images: Workspace, extract: Extract) -> None:
    extract()
    record = json.loads((images.record("extract", "f") / "record.json").read_text())
    assert record["device"] == "cpu"
    assert record["throughput"]["items_per_s"] > 0
    assert {"seed=0_s", "seed=3_s", "waited_s"} <= record["timings"].keys()
    assert record["details"] == {"dimension": 4, "counts": {"train": 36, "valid": 12, "test": 12}, "reused_shards": 0}


def test_a_device_that_is_not_there_is_a_users_mistake() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="no device 'gpu'"):
        choose_device("gpu")
    if not torch.cuda.is_available():
        assert choose_device("auto") == torch.device("cpu")
        with pytest.raises(UserError, match="no device 'cuda'"):
            choose_device("cuda")


def test_single_precision_is_kept_where_it_is_stored() -> None:
    flags = torch.backends.cudnn
    for dtype, reduced in (("float16", True), ("float32", False)):
        set_precision(dtype)
        assert (flags.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (reduced, reduced)
        assert (flags.deterministic, flags.benchmark) == (True, False)


def test_a_projection_is_what_the_projector_makes_of_the_embedding(images: Workspace, extract: Extract) -> None:
    torch.manual_seed(5)
    projector = Projector("mlp", 4, 6, 3)
    for seed in (0, 3):
        folder = images.encoder("e") / f"seed={seed}"
        net, card = encoders.load(folder)
        encoders.save(folder, net, replace(card, projector=projector.arguments), projector)
    (images.encoder("e") / atomic.MANIFEST).unlink()
    atomic.seal(images.encoder("e"))
    h = features.read(extract(), 3)
    z = features.read(extract(output="projection"), 3)
    with torch.no_grad():
        wanted = projector.eval()(torch.from_numpy(h.x))
    np.testing.assert_allclose(z.x, wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_without_a_projector_there_is_no_projection_and_it_has_one_row_an_item(images: Workspace, extract: Extract) -> None:
    with pytest.raises(ContractError, match="objective 'none' has no projector"):
        extract(output="projection")
