"""The head patch_density: maps against a loop over windows, figures against all pairs of pixels, and what it shows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stages.common import atomic, registry, tasks
from stages.common.corpus import Column, Corpus
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.common.workspace import Workspace
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import EncoderCard
from stages.fit.heads.patch_density import drawn, spread, starts
from tests.builders import write_corpus, write_features
from tests.fit import workspace as w
from tests.oracles import cutpaste as slow

SORTS = ["Free", "Hole", "Scratch"]
WINDOW, STRIDE = 4, 3


def png(values: np.ndarray) -> dict[str, object]:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": "p.png"}


def pictures(n: int = 10) -> list[tuple[int, np.ndarray, np.ndarray | None]]:
    """(sort, picture, mask): noise of sizes of their own, bright within the mask of a defect."""
    rng = np.random.default_rng(0)
    made: list[tuple[int, np.ndarray, np.ndarray | None]] = []
    for i in range(n):
        sort, shape = (0 if i < 6 else 1 + i % 2), (int(rng.integers(8, 14)), int(rng.integers(7, 12)))
        picture, mask = rng.integers(60, 140, shape), None
        if sort:
            mask = np.zeros(shape, np.uint8)
            mask[(slice(1, 4), slice(2, 5)) if sort == 1 else (slice(0, 7), 4)] = 255
            picture[mask > 0] += 70
        made.append((sort, picture.astype(np.uint8), mask))
    return made


def made(root: Path, shrink: bool = False) -> Workspace:
    """Pictures 0 to 3 train, 4 to 9 test; the encoder's embedding is the window itself."""
    space = Workspace(root)
    rows: list[dict[str, object]] = []
    for i, (sort, picture, mask) in enumerate(pictures()):
        picture = picture[:3, :3] if shrink and i == 5 else picture
        row = {
            "id": f"i{i}",
            "split": "train" if i < 4 else "test",
            "group": f"g{i}",
            "defect": sort,
            "defective": int(sort > 0),
        }
        rows.append({**row, "image": png(picture), "mask": None if mask is None else png(mask)})
    columns = [
        Column("defect", "label", "class", classes=SORTS),
        Column("defective", "label", "class", classes=["no", "yes"]),
        Column("image", "media", "image"),
        Column("mask", "meta", "image"),
    ]
    write_corpus(space.corpus("c"), columns, rows)
    front, back = Part("image", {"height": WINDOW, "width": WINDOW, "channels": 1}), Part("raw_input")
    column = Corpus(space.corpus("c")).card.media()
    net = encoders.new(front, back, column, space.corpus("c"))
    folder = space.encoder("e") / "seed=0"
    folder.mkdir(parents=True)
    encoders.save(folder, net, EncoderCard(front, back, column, "c", "d", "s", "none", 0, 0, net.width))
    atomic.seal(space.encoder("e"))
    x = np.zeros((10, 2), np.float32)
    write_features(space.features("f"), [str(r["id"]) for r in rows], [str(r["split"]) for r in rows], {0: x})
    return space


def node(**head: Any) -> dict[str, Any]:
    head = {"name": "patch_density", "stride": STRIDE, "sigma": 1.5, "shrinkage": 0.2, **head}
    return w.node(head, metrics=[], label="defective", seeds=[0], support="encoders/e")


def windows(picture: np.ndarray) -> tuple[list[np.ndarray], list[tuple[float, float]]]:
    """Flat windows in [0, 1] and their middles, those at the far edges too."""
    found: list[np.ndarray] = []
    middles = []
    tops, lefts = (sorted({*range(0, side - WINDOW, STRIDE), side - WINDOW}) for side in picture.shape)
    for top in tops:
        for left in lefts:
            found.append(picture[top : top + WINDOW, left : left + WINDOW].ravel() / 255)
            middles.append((top + 1.5, left + 1.5))
    return found, middles


def expected_maps() -> list[np.ndarray]:
    every = pictures()
    train = np.array([x for _, picture, _ in every[:4] for x in windows(picture)[0]])
    maps = []
    for _, picture, _ in every[4:]:
        cut, middles = windows(picture)
        maps.append(slow.spread(slow.half_mahalanobis(train, np.array(cut), 0.2), middles, picture.shape, 1.5))
    return maps


@pytest.mark.parametrize("every", [1, 2])
def test_its_figures_are_those_of_slow_maps_and_all_pairs_of_pixels(tmp_path: Path, every: int) -> None:
    result = tasks.read_result(w.run(made(tmp_path), node(by="defect", every=every)))
    maps, tested = expected_maps(), pictures()[4:]
    marked = [np.zeros(p.shape, bool) if m is None else m > 0 for _, p, m in tested]
    sorts = np.array([sort for sort, _, _ in tested])
    for name, chosen in (("", sorts >= 0), ("_hole", sorts < 2), ("_scratch", sorts != 1)):
        odd = np.concatenate([m[::every, ::every].ravel() for m, c in zip(marked, chosen) if c])
        score = np.concatenate([m[::every, ::every].ravel() for m, c in zip(maps, chosen) if c])
        assert result.values(f"pixel_auroc{name}")[0] == pytest.approx(slow.area(odd, score), abs=1e-3), name
        peaks = np.array([m.max() for m in maps])[chosen]
        assert result.values(f"picture_auroc{name}")[0] == pytest.approx(slow.area(sorts[chosen] > 0, peaks)), name
    assert result.values("pixel_auroc")[0] > 0.8
    assert {v.n for v in result.metrics} == {6}


@pytest.mark.parametrize(("shape", "window", "stride", "sigma"), [((9, 7), (3, 2), 2, 1.2), ((12, 5), (4, 5), 5, 0.1)])
def test_a_map_is_the_weighted_mean_of_the_windows_scores(
    shape: tuple[int, int], window: tuple[int, int], stride: int, sigma: float
) -> None:
    tops, lefts = starts(shape[0], window[0], stride), starts(shape[1], window[1], stride)
    score = np.random.default_rng(0).random((len(tops), len(lefts)))
    middles = [(t + (window[0] - 1) / 2, s + (window[1] - 1) / 2) for t in tops for s in lefts]
    found = spread(score, shape, window, stride, sigma)
    if sigma > 1:
        np.testing.assert_allclose(found, slow.spread(score.ravel(), middles, shape, sigma), rtol=1e-5)
    assert found.shape == shape and np.isfinite(found).all()
    np.testing.assert_allclose(spread(np.full_like(score, 3.0), shape, window, stride, sigma), 3.0, rtol=1e-6)
    assert score.min() - 1e-6 <= found.min() and found.max() <= score.max() + 1e-6


@pytest.mark.parametrize(
    ("length", "window", "stride", "expected"),
    [(10, 4, 3, [0, 3, 6]), (11, 4, 3, [0, 3, 6, 7]), (4, 4, 3, [0]), (5, 4, 9, [0, 1])],
)
def test_windows_start_every_stride_and_end_at_the_edge(length: int, window: int, stride: int, expected: list[int]) -> None:
    assert starts(length, window, stride) == expected


def test_so_many_pictures_of_each_sort_are_shown_outlined_and_with_their_map(tmp_path: Path) -> None:
    folder = w.run(made(tmp_path), node(by="defect", shown=1))
    shown = tasks.read_result(folder).exhibits
    assert [e.place for e in shown] == [(f"{s} 1", c) for s in SORTS for c in ("defect outlined", "score map")]
    assert [e.caption for e in shown][::2] == ["i4", "i6", "i7"]
    for exhibit in shown:
        with Image.open(folder / exhibit.file) as image:
            assert image.format == "PNG" and image.mode == "RGB"


def test_a_drawing_is_grey_with_the_outline_in_colour_and_heat_in_red_to_yellow() -> None:
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    marked = np.zeros((8, 8), bool)
    marked[2:6, 2:6] = True
    plain = np.asarray(Image.open(io.BytesIO(drawn(picture, marked, None)))).astype(int)
    outline = (plain != plain[..., :1]).any(2)
    assert outline.sum() == 12 and not outline[3:5, 3:5].any() and outline[2:6, 2:6].sum() == 12
    assert plain[0, 0].tolist() == [0, 0, 0] and plain[7, 7].tolist() == [255, 255, 255]
    hot = np.asarray(Image.open(io.BytesIO(drawn(picture, ~marked & marked, np.full((8, 8), 2.0)))))
    warm = np.asarray(Image.open(io.BytesIO(drawn(picture, ~marked & marked, np.full((8, 8), 0.5)))))
    assert hot[0, 0].tolist() == [191, 191, 0] and warm[0, 0].tolist() == [96, 0, 0]


def test_a_large_picture_is_reduced_and_its_defect_stays_where_it_is() -> None:
    marked = np.zeros((800, 600), bool)
    marked[400:500, 150:300] = True
    picture = np.random.default_rng(0).integers(0, 256, (800, 600, 3), np.uint8)
    found = np.asarray(Image.open(io.BytesIO(drawn(picture, marked, None)))).astype(int)
    assert found.shape == (320, 240, 3)
    rows, columns = np.nonzero((found != found[..., :1]).any(2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (160, 199, 60, 119)


def test_a_picture_smaller_than_a_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="smaller than the encoder's 4 x 4"):
        w.run(made(tmp_path, shrink=True), node())


def test_an_encoder_is_asked_for(tmp_path: Path) -> None:
    task = {**node(), "support": "features/f"}
    with pytest.raises(UserError, match="needs the encoder itself"):
        w.run(made(tmp_path), task)


@pytest.mark.parametrize("wrong", [{"stride": 0}, {"sigma": 0.0}, {"every": 0}, {"shown": -1}, {"shrinkage": -0.1}])
def test_arguments_out_of_range_are_the_users_mistake(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError):
        registry.make("head", Part("patch_density", wrong))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
