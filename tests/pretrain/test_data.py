"""Decoding a corpus for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.common.corpus import Column, Corpus
from stages.common.errors import ContractError, UserError
from stages.common.plan import EncoderPlan, MonitorPlan
from stages.common.schema import Part
from stages.encoders.frontends.image import Image
from stages.encoders.frontends.log_mel import LogMel
from stages.encoders.frontends.series import Series
from stages.pretrain.core import data, memory, watched
from tests.builders import image_corpus, split_of, wave_corpus, write_corpus


def plan(splits: tuple[str, ...] = ("train",), label: str | None = None, rows: int = 16) -> EncoderPlan:
    part = Part("none")
    monitor = MonitorPlan(label=label, rows=rows)
    return EncoderPlan("c", part, part, part, part, "corpora/c", splits=list(splits), monitor=monitor)


def decoded(corpus: Corpus, frontend: object, node: EncoderPlan, folder: Path) -> data.Items:
    data.decode(corpus, corpus.card.media(), frontend, node, folder, "cpu")  # type: ignore[arg-type]
    return data.read(folder / data.TRAIN)


def test_items_are_those_of_the_splits_in_corpus_order_with_their_rows(tmp_path: Path) -> None:
    corpus = Corpus(image_corpus(tmp_path / "c", n=50))
    items = decoded(corpus, Image(corpus.card.media(), corpus.folder), plan(("train", "test")), tmp_path / "m")
    expected = [i for i in range(50) if split_of(i) != "valid"]
    assert items.rows.tolist() == expected
    pixels = corpus.table(["image"])["image"].combine_chunks().flatten().to_numpy().reshape(50, 8, 8, 1)
    assert np.array_equal(items.data.numpy(), pixels[expected])
    assert items.labels.tolist() == [-1] * 40 and items.lengths is None


def test_waveforms_keep_their_lengths(tmp_path: Path) -> None:
    corpus = Corpus(wave_corpus(tmp_path / "c", n=20))
    frontend = LogMel(corpus.card.media(), corpus.folder, samples=3000, n_mels=20)
    items = decoded(corpus, frontend, plan(), tmp_path / "m")
    assert items.data.dtype == torch.int16 and items.data.shape == (12, 3000)
    assert items.lengths is not None and items.lengths.min() >= 1600 and items.lengths.max() <= 3000
    for row, length in zip(items.data, items.lengths.tolist()):
        assert not row[length:].any()


def test_statistics_are_those_of_the_front_ends_output_per_channel(tmp_path: Path) -> None:
    corpus = Corpus(image_corpus(tmp_path / "c", n=40, channels=3))
    frontend = Image(corpus.card.media(), corpus.folder)
    items = decoded(corpus, frontend, plan(), tmp_path / "m")
    mean, std = data.statistics(items, frontend, corpus)
    x = items.data.double().numpy() / 255
    assert mean == pytest.approx(x.mean(axis=(0, 1, 2)).tolist(), rel=1e-6)
    assert std == pytest.approx(x.std(axis=(0, 1, 2)).tolist(), rel=1e-5)


def test_a_constant_channel_is_not_scaled(tmp_path: Path) -> None:
    columns = [Column("s", "media", "series", shape=[4, 2])]
    rng = np.random.default_rng(0)
    rows = [
        {"id": f"{i}", "split": "train", "group": f"{i}", "s": [v for _ in range(4) for v in (7.0, rng.normal())]}
        for i in range(9)
    ]
    corpus = Corpus(write_corpus(tmp_path / "c", columns, rows))
    frontend = Series(corpus.card.media(), corpus.folder)
    mean, std = data.statistics(decoded(corpus, frontend, plan(), tmp_path / "m"), frontend, corpus)
    assert mean[0] == 7.0 and std[0] == 1.0 and 0.3 < std[1] < 3


def test_a_number_that_is_not_finite_names_its_item(tmp_path: Path) -> None:
    columns = [Column("s", "media", "series", shape=[2, 1])]
    rows: list[dict[str, object]] = [
        {"id": f"item{i}", "split": split_of(i), "group": f"{i}", "s": [1.0, 2.0]} for i in range(10)
    ]
    rows[6]["s"] = [1.0, float("nan")]
    corpus = Corpus(write_corpus(tmp_path / "c", columns, rows))
    frontend = Series(corpus.card.media(), corpus.folder)
    with pytest.raises(ContractError, match="item 'item6'"):
        data.statistics(decoded(corpus, frontend, plan(), tmp_path / "m"), frontend, corpus)


def test_the_monitor_sees_some_labelled_rows_and_the_same_each_time(tmp_path: Path) -> None:
    corpus = Corpus(image_corpus(tmp_path / "c", n=100))
    node = plan(label="digit", rows=7)
    decoded(corpus, Image(corpus.card.media(), corpus.folder), node, tmp_path / "m")
    valid, again = data.read(tmp_path / "m" / data.VALID), tmp_path / "again"
    assert len(valid) == 7 and all(split_of(r) == "valid" for r in valid.rows.tolist())
    labels = corpus.table(["digit"])["digit"].to_numpy()
    assert valid.labels.tolist() == labels[valid.rows].tolist()
    decoded(corpus, Image(corpus.card.media(), corpus.folder), node, again)
    assert torch.equal(data.read(again / data.VALID).rows, valid.rows)


def test_rows_without_a_label_are_not_monitored() -> None:
    labels = np.array([-1, 2, -1, 0, 1, -1])
    assert watched.monitored(labels, MonitorPlan(label="digit", rows=10)).tolist() == [1, 3, 4]
    assert watched.monitored(labels, MonitorPlan(label=None, rows=10)).tolist() == list(range(6))
    assert len(watched.monitored(labels, MonitorPlan(label="digit", rows=2))) == 2


def test_a_label_that_is_no_class_is_refused(tmp_path: Path) -> None:
    corpus = Corpus(image_corpus(tmp_path / "c", n=20))
    with pytest.raises(UserError, match="takes a class label"):
        decoded(corpus, Image(corpus.card.media(), corpus.folder), plan(label="image"), tmp_path / "m")


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    corpus = Corpus(image_corpus(tmp_path / "c", n=20))
    with pytest.raises(UserError, match="did you mean 'train'"):
        decoded(corpus, Image(corpus.card.media(), corpus.folder), plan(("trian",)), tmp_path / "m")


def test_media_of_another_size_than_the_front_end_takes_are_refused(tmp_path: Path) -> None:
    corpus = Corpus(image_corpus(tmp_path / "c", n=20))
    frontend = Image(Column("image", "media", "pixels", shape=[9, 9, 1]), Path())
    with pytest.raises(ContractError, match=r"has shape \[8, 8, 1\]"):
        decoded(corpus, frontend, plan(), tmp_path / "m")


def test_media_that_do_not_fit_in_memory_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = Corpus(image_corpus(tmp_path / "c", n=100))
    size = 60 * 64  # train items, bytes each
    monkeypatch.setattr(memory, "free_memory", lambda: 2 * size)
    decoded(corpus, Image(corpus.card.media(), corpus.folder), plan(), tmp_path / "m")
    monkeypatch.setattr(memory, "free_memory", lambda: 2 * size - 2)
    with pytest.raises(UserError, match="are free and half of that may be used"):
        decoded(corpus, Image(corpus.card.media(), corpus.folder), plan(), tmp_path / "n")
    assert not (tmp_path / "n" / "train" / "data.npy").stat().st_size


def test_free_memory_is_positive_and_no_more_than_the_machine_has() -> None:
    total = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert 0 < memory.free_memory() <= total * 1024
