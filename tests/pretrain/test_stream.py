"""A stream gives the items that decoding the corpus whole gives."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.common import media
from stages.common.corpus import Corpus
from stages.common.errors import ContractError, UserError
from stages.common.plan import EncoderPlan, MonitorPlan, StreamPlan
from stages.common.schema import Part
from stages.encoders.core.encoder import Frontend
from stages.pretrain.core import data, memory, streaming, watched
from stages.pretrain.core.distributed import World
from stages.pretrain.core.items import Items, Schedule
from stages.pretrain.core.row_groups import Reader, RowGroups
from stages.pretrain.core.stream import Stream
from stages.views.core import random
from tests.pretrain.media import FRONTENDS, frontend, media_corpus

SPLITS = ["train", "test"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    made = media_corpus(tmp_path_factory.mktemp("corpora") / "c")
    assert len(RowGroups.of(made, SPLITS)) > 12
    return made


def plan(name: str, **changes: Any) -> EncoderPlan:
    none = Part("none")
    known = {"splits": SPLITS, "monitor": MonitorPlan(label="kind", rows=9), "media": name} | changes
    return EncoderPlan("c", none, none, none, none, "corpora/c", **known)


def streamed(corpus: Corpus, name: str, window: int = 3, threads: int = 1) -> tuple[Stream, Frontend]:
    column, made = corpus.card.media(name), frontend(corpus, name)
    return Stream(Reader(corpus, RowGroups.of(corpus, SPLITS), SPLITS, column, "kind"), made.contract, window, threads), made


def held(corpus: Corpus, name: str, folder: Path) -> Items:
    data.decode(corpus, corpus.card.media(name), frontend(corpus, name), plan(name), folder, "cpu")
    return data.read(folder / data.TRAIN)


def assert_same(a: Items, b: Items) -> None:
    assert a.data.dtype == b.data.dtype and torch.equal(a.rows, b.rows) and torch.equal(a.labels, b.labels)
    np.testing.assert_array_equal(a.data.numpy(), b.data.numpy())  # an event without a value has nan
    assert (a.lengths is None) == (b.lengths is None)
    assert a.lengths is None or b.lengths is None or torch.equal(a.lengths, b.lengths)


def whole(batch_size: int = 8, epochs: int = 2, first: int = 0, rank: int = 0, ranks: int = 1) -> Schedule:
    per_epoch = 72 // batch_size
    return Schedule(5, batch_size, per_epoch, first, epochs * per_epoch, World(rank, ranks).share)


@pytest.mark.parametrize("name", FRONTENDS)
def test_every_kind_of_media_streams_as_it_is_held(corpus: Corpus, name: str, tmp_path: Path) -> None:
    (stream, made), items = streamed(corpus, name), held(corpus, name, tmp_path)
    assert len(stream) == len(items) == 72
    for drawn in stream.batches(whole()):
        assert len(drawn.index) == 8
        assert_same(drawn.items, items.at(drawn.index))
    index = torch.tensor([71, 0, 33, 5, 33])
    assert_same(stream.at(index), items.at(index))
    assert stream.at(index[:0]).data.shape == items.data[:0].shape  # no item has the monitor's label
    for a, b in zip(stream.blocks(16), items.blocks(16), strict=True):
        assert_same(a, b)
    assert data.statistics(stream, made, corpus) == data.statistics(items, made, corpus)


def test_the_batches_are_the_same_for_any_number_of_threads_and_from_any_batch_on(corpus: Corpus) -> None:
    found = [[(d.epoch, d.index.tolist()) for d in streamed(corpus, "wave", threads=t)[0].batches(whole())] for t in (1, 4)]
    assert found[0] == found[1] and len(found[0]) == 18
    seen = [i for epoch, index in found[0] for i in index if epoch == 0]
    assert sorted(seen) == list(range(72))
    later = [(d.epoch, d.index.tolist()) for d in streamed(corpus, "wave", threads=2)[0].batches(whole(first=7))]
    assert later == found[0][7:]


def test_a_batch_may_be_larger_than_a_window(corpus: Corpus) -> None:
    stream = streamed(corpus, "pixels", window=1)[0]
    assert sorted(i for d in stream.batches(whole(24, epochs=1)) for i in d.index.tolist()) == list(range(72))


def test_a_rank_decodes_its_own_share_of_each_batch_and_nothing_else(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [d.items.rows for d in streamed(corpus, "picture")[0].batches(whole())]
    decoded: list[int] = []
    plain = media.decode
    monkeypatch.setattr(media, "decode", lambda array, *rest: decoded.append(len(array)) or plain(array, *rest))  # type: ignore[func-returns-value]
    shares = [[d.items.rows for d in streamed(corpus, "picture")[0].batches(whole(rank=r, ranks=2))] for r in range(2)]
    assert set(decoded) == {4} and len(decoded) == 2 * len(alone)
    assert all(torch.equal(torch.cat(parts), rows) for parts, rows in zip(zip(*shares, strict=True), alone, strict=True))


def test_columns_beside_the_media_come_with_the_batch(corpus: Corpus, tmp_path: Path) -> None:
    made = frontend(corpus, "wave")
    node = plan("wave", side=["number"], stream=StreamPlan(2))
    streaming.prepare(corpus, corpus.card.media("wave"), made, node, tmp_path, "encoders.e")
    side = data.sides(tmp_path / data.TRAIN)
    reader = Reader(corpus, RowGroups.load(tmp_path / "train/groups.npy"), SPLITS, corpus.card.media("wave"), None)
    numbers = corpus.table(["number"])["number"].to_numpy()
    for drawn in Stream(reader, made.contract, 2, side=side).batches(whole()):
        np.testing.assert_array_equal(drawn.items.side["number"], numbers[drawn.items.rows].astype(np.float32))


@pytest.mark.parametrize("label", ["kind", None])
def test_the_monitor_looks_at_the_items_that_it_looks_at_in_a_corpus_that_is_held(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str | None
) -> None:
    """Labels are read seven at a time; a corpus that is held has them all and takes the first of a permutation."""
    monkeypatch.setattr(watched, "_ROWS", 7)
    column, made, monitor = corpus.card.media("series"), frontend(corpus, "series"), MonitorPlan(label=label, rows=9)
    node = plan("series", monitor=monitor, stream=StreamPlan(2))
    streaming.prepare(corpus, column, made, node, tmp_path / "s", "encoders.e")
    data.decode(corpus, column, made, plan("series", monitor=monitor), tmp_path / "h", "cpu")
    items = data.read(tmp_path / "h" / data.TRAIN)
    candidates = torch.arange(72) if label is None else (items.labels >= 0).nonzero()[:, 0]
    bank = items.at(candidates[random.permutation(watched._CHOICE, 0, len(candidates))[:9]].sort().values)
    assert len(bank) == 9 and watched.monitored(items.labels.numpy(), monitor).tolist() == [
        int((items.rows == row).nonzero()) for row in bank.rows
    ]
    assert_same(data.read(tmp_path / "s" / data.BANK), bank)
    assert_same(data.read(tmp_path / "s" / data.VALID), data.read(tmp_path / "h" / data.VALID))


def test_what_is_drawn_is_decoded_while_the_batch_before_is_used(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[str] = set()
    ahead = threading.Event()
    plain = media.decode

    def decode(*given: Any) -> media.Media:
        threads.add(threading.current_thread().name)
        if len(decoded) >= 2:
            ahead.set()
        decoded.append(1)
        return plain(*given)

    decoded: list[int] = []
    monkeypatch.setattr(media, "decode", decode)
    stream = streamed(corpus, "pixels")[0]
    next(iter(stream.batches(whole())))
    assert ahead.wait(5) and threading.current_thread().name not in threads
    stream.close()


def test_closing_ends_the_threads(corpus: Corpus) -> None:
    before = set(threading.enumerate())
    stream = streamed(corpus, "pixels", threads=2)[0]
    next(iter(stream.batches(whole())))
    assert set(threading.enumerate()) > before
    stream.close()
    assert set(threading.enumerate()) == before


def test_a_damaged_shard_is_named_where_its_batch_is_drawn(tmp_path: Path) -> None:
    made = media_corpus(tmp_path / "c", n=60)
    stream = streamed(made, "pixels")[0]
    path = made.files[0]
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :])  # the footer stays
    with pytest.raises(ContractError, match="the shard is damaged"):
        for _ in stream.batches(Schedule(0, 4, 12, 0, 12, lambda index: index)):
            pass


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pairs": "kind"}, "an item's partner may lie anywhere in the corpus"),
        ({"stream": StreamPlan(0)}, "window must be 1 or more"),
        ({"splits": ["trian"]}, "did you mean 'train'"),
        ({"monitor": MonitorPlan(label="number")}, "takes a class label"),
    ],
)
def test_what_cannot_be_streamed_is_refused_before_anything_is_read(
    corpus: Corpus, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    node = plan("wave", **{"stream": StreamPlan(2), **change})
    with pytest.raises(UserError, match=said):
        streaming.prepare(corpus, corpus.card.media("wave"), frontend(corpus, "wave"), node, tmp_path / "m", "encoders.e")
    assert not (tmp_path / "m").exists()


def test_windows_that_do_not_fit_in_memory_are_refused(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = int(RowGroups.of(corpus, SPLITS).stored.max())
    arguments = (corpus, corpus.card.media("wave"), frontend(corpus, "wave"), plan("wave", stream=StreamPlan(2)))
    monkeypatch.setattr(memory, "free_memory", lambda: 2 * 4 * 3 * 2 * largest)
    streaming.prepare(*arguments, tmp_path / "m", "encoders.e", seeds=4)
    monkeypatch.setattr(memory, "free_memory", lambda: 2 * 4 * 3 * 2 * largest - 2)
    with pytest.raises(UserError, match=r"3 windows of 2 row groups for each of 4 seeds take (.|\n)* lower `stream.window`"):
        streaming.prepare(*arguments, tmp_path / "n", "encoders.e", seeds=4)
