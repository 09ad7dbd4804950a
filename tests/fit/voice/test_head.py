"""The head `voice_conversion` through its stage, on made-up voices: what it converts, what it judges, mistakes named."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from stages.common import atomic, features, tasks
from stages.common.errors import UserError
from stages.common.media import read_wav
from stages.evaluate import direction
from stages.fit.core import shares
from stages.fit.core.voice import exhibits
from stages.fit.core.voice.mel_decoder import MelDecoder
from stages.fit.core.voice.spectrum import Spectrum
from stages.fit.core.voice.utterances import Utterances, ranks, reference_frames
from tests.fit import workspace as w
from tests.fit.voice.making import spoken, workspace

GAN = {
    "steps": 2,
    "batch_size": 2,
    "segment": 4,
    "channels": 8,
    "rates": [10, 8],
    "kernels": [3],
    "dilations": [1],
    "periods": [2],
    "scales": [0],
    "period_channels": [2],
    "scale_channels": 16,
}


def node(**head: Any) -> dict[str, Any]:
    """A task on the made-up corpus: 24 bands at 8 kHz, 2 sources, 2 lessons and 2 references of 6 recordings of a word."""
    changed = {key: head.pop(key) for key in ("support", "features", "seeds") if key in head}
    given = {"content": "word", "vocoder": "mel", "bands": 24, "sources": 2, "taught": 0.34, "epochs": 30, "seconds": 0.5}
    return w.node(
        {"name": "voice_conversion", **given, "iterations": 8, **head},
        metrics=[],
        label=None,
        **{"support": "encoders/e", "seeds": [0], **changed},
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.set_num_threads(1)
    return workspace(tmp_path_factory.mktemp("voice"))


def figures(out: Path) -> dict[str, float | None]:
    return {m.name: m.value for m in tasks.read_result(out).metrics}


def test_what_is_converted_sounds_more_like_the_target_and_still_says_its_word(place: Any) -> None:
    kinds = ("conversion", "resynthesis", "source", "target")
    made = {what: figures(w.run(place, node(what=what, training="plain"), what)) for what in kinds}
    near = [made[what]["speaker_similarity"] for what in ("source", "resynthesis", "conversion", "target")]
    assert near == sorted(near) and near[0] < near[1] < near[2] < near[3]  # type: ignore[operator, type-var]
    assert made["source"]["word_error_rate"] == made["target"]["word_error_rate"] == made["conversion"]["word_error_rate"] == 0
    assert made["source"]["speaker_accuracy"] == 0 and made["target"]["speaker_accuracy"] == 1
    assert made["source"]["conversion_eer"] == 0 and made["target"]["conversion_eer"] == 0.5  # they are the same trials


def parts_of(ids: list[str]) -> list[list[str]]:
    """Sources, references and lessons of each speaker and word, as a hash of the id draws them: two of each."""
    cells: dict[str, list[str]] = {}
    for i in sorted(ids, key=lambda i: int(shares.draws(shares.keys([i]), 0)[0])):
        cells.setdefault(i.rpartition("_")[0], []).append(i)
    return [[i for cell in cells.values() for i in cell[start : start + 2]] for start in (0, 2, 4)]


def test_frames_come_from_references_of_the_target_and_the_vocoder_learns_from_the_train_split(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught: list[tuple[torch.Tensor, Utterances]] = []
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def of(given: torch.Tensor, spoken: Utterances, *_: Any, **__: Any) -> Any:
        taught.append((given, spoken))

        def vocoder(x: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
            asked.append((x, counts))
            return torch.randn(len(counts), 2400)

        return vocoder

    monkeypatch.setattr(MelDecoder, "of", of)
    out = w.run(place, node(k=3), "t")
    read = features.read(place.features("f"), 0)
    frames = {i: read.x[read.ids == i][np.argsort(read.index[read.ids == i])] for i in np.unique(read.ids)}
    sources, references, _ = parts_of([i for i in frames if i.split("_")[1] in ("cid", "dee")])
    pairs = pq.read_table(out / "conversions.parquet").to_pylist()
    assert {p["source"] for p in pairs} == set(sources)
    for pair, got in zip(pairs, asked[0][0].split(asked[0][1].tolist()), strict=True):
        pool = [i for i in references if i.split("_")[1] == pair["target"]]
        pool.sort(key=lambda i: int(shares.draws(shares.keys([i]), 0)[0]))  # the task's seed is 0
        rows = np.concatenate([frames[i] for i in pool])[:50]  # half a second
        near = NearestNeighbors(n_neighbors=3, metric="cosine").fit(rows).kneighbors(frames[pair["source"]])[1]
        np.testing.assert_allclose(got.numpy(), rows[near].mean(1), atol=1e-4)
    given, spoken = taught[0]
    own = np.concatenate([frames[i] for i in spoken.ids])
    first, second, _ = parts_of([i for i in frames if i.split("_")[1] in ("ann", "bob")])
    assert sorted(spoken.ids) == sorted(first + second)
    assert np.abs(given.numpy() - own).max(1).min() > 0  # prematched: no frame is its own
    w.run(place, node(training="plain"), "t")
    np.testing.assert_array_equal(taught[1][0].numpy(), own)


def test_every_source_is_converted_for_every_other_speaker_that_tests(place: Any) -> None:
    out = w.run(place, node(), "t")
    table = pq.read_table(out / "conversions.parquet").to_pylist()
    assert len(table) == tasks.read_result(out).metrics[0].n == 2 * 2 * 2  # speakers, words, sources
    assert {(r["speaker"], r["target"]) for r in table} == {("cid", "dee"), ("dee", "cid")}
    assert {r["said"] for r in table} == {"ah", "ee"} and all(r["source"].startswith(r["said"]) for r in table)
    heard = np.mean([r["heard"] != r["said"] for r in table])
    assert figures(out)["word_error_rate"] == pytest.approx(heard)
    assert figures(out)["speaker_similarity"] == pytest.approx(np.mean([r["similarity"] for r in table]), abs=1e-6)
    details = tasks.read_result(out).details["fits"][0]
    assert details["real_word_error_rate"] == 0 and details["judges_taught_on"] == 4 * 2 * 2


def test_a_second_run_gives_the_same_bytes_and_seeds_draw_their_references(place: Any) -> None:
    task = node(seeds=[0, 1], seconds=0.2)
    first, again = w.run(place, task, "a"), w.run(place, {**task}, "b")
    files = [atomic.manifest(out)["files"]["conversions.parquet"] for out in (first, again)]
    assert files[0] == files[1]
    rows = pq.read_table(first / "conversions.parquet").to_pylist()
    near = [[r["similarity"] for r in rows if r["seed"] == seed] for seed in (0, 1)]
    assert near[0] != near[1]


@pytest.mark.parametrize("training", ["plain", "prematched"])
def test_a_generator_may_be_the_vocoder(training: str, place: Any) -> None:
    out = w.run(place, node(vocoder="gan", training=training, gan=GAN), training)
    details = tasks.read_result(out).details["fits"][0]
    assert details["mel_distance_first"] > 0 and 0 <= figures(out)["speaker_similarity"] <= 1  # type: ignore[operator]


def test_the_report_is_given_sounds_and_spectrograms(place: Any) -> None:
    out = w.run(place, node(shown=2), "shown")
    shown = tasks.read_result(out).exhibits
    assert [(s.kind, s.place[1]) for s in shown] == [
        (kind, column) for voice in ("dee", "cid") for column in ("source", f"as {voice}") for kind in ("sound", "picture")
    ]
    for exhibit in shown:
        content = (out / exhibit.file).read_bytes()
        if exhibit.kind == "sound":
            assert 1900 < len(read_wav(content)) <= 2400
        else:
            assert Image.open(io.BytesIO(content)).size[1] == 3 * 24


def test_a_picture_of_bands_has_its_lowest_band_below() -> None:
    spectrum = Spectrum.of(8000, 24)
    tone = torch.sin(2 * torch.pi * 3000 * torch.arange(1600) / 8000)
    sound, picture = exhibits.of("a b/c", tone, spectrum, "row", "column", "a tone")
    assert sound.name == "a_b_c" and picture.name == "a_b_c_bands" and sound.place == ("row", "column")
    light = np.asarray(Image.open(io.BytesIO(picture.content)))[:, 30]
    assert light[: 3 * 8].max() > 200 > 100 > light[3 * 12 :].max()


def test_recordings_are_parted_by_a_hash_of_their_ids_alone() -> None:
    given = spoken([3] * 9, torch.randn(27, 2))
    rank, count = ranks(given)
    assert sorted(rank.tolist()) == list(range(9)) and set(count.tolist()) == {9}
    order = np.random.default_rng(0).permutation(9)
    assert ranks(given.at(order))[0].tolist() == rank[order].tolist()


def test_fewer_seconds_of_reference_lie_among_more() -> None:
    given = spoken([3, 4, 5, 6], torch.arange(18.0).unsqueeze(1))
    ten, six = reference_frames(given, 10, 1), reference_frames(given, 6, 1)
    assert torch.equal(ten[:6], six) and not torch.equal(ten, reference_frames(given, 10, 2))
    with pytest.raises(UserError, match="has 18 reference frames, 19 are asked for"):
        reference_frames(given, 19, 1)


def test_which_way_the_figures_are_better() -> None:
    assert direction.orientation("word_error_rate") == -1 and direction.orientation("speaker_similarity") == 1


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ({"k": 0}, "k is 1 or more"),
        ({"l2": 0.0}, "l2 lies above 0"),
        ({"taught": 1.0}, "taught a part of 1"),
        ({"content": "nothing"}, "unknown column"),
        ({"sources": 4}, "too few for 4 sources"),
        ({"seconds": 30.0}, "reference frames"),
        ({"support": "features/f"}, "needs the encoder itself"),
        ({"bands": 300}, "mel bands do not fit"),
        ({"vocoder": "gan", "gan": {**GAN, "rates": [8, 8]}}, "which stands for 80"),
    ],
)
def test_a_mistake_is_named(head: dict[str, Any], says: str, place: Any) -> None:
    with pytest.raises(UserError, match=says):
        w.run(place, node(**head), "wrong")


def test_a_recording_without_a_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="column 'word' has no value"):
        w.run(workspace(tmp_path, word="dee"), node())
