"""Rendered views: meshes as files write them, poses as scipy has them, pixels as a loop finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from stages.common import registry
from stages.common.corpus import Corpus
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.ingest.core.item import BadItem
from stages.ingest.readers import mesh_views
from stages.ingest.readers.mesh_views import MeshViews, quaternion, rasterise, read_mesh, rotation, shading
from tests.ingest.making import HALVES, ingest, put
from tests.oracles import sie as slow

CUBE = "".join(f"v {x} {y} {z}\n" for x in (0, 1) for y in (0, 2) for z in (0, 3))
SIDES = "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4\n"
BOX = f"# a box\no box\n{CUBE}vn 0 0 1\n{SIDES}"
WEDGE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1/1/1 3//2 2\nf 1 2 -1\nf -4 -1 -2\nf 2 3 4\n"


def plan(path: Path, **reader: Any) -> dict[str, Any]:
    return {
        "source": {"name": "folder", "path": str(path)},
        "reader": {"name": "mesh_views", "views": 6, "side": 10, **reader},
        "labels": {"object": {"kind": "class"}, "light_hue": {"kind": "number"}, "ground_hue": {"kind": "number"}},
        "quarantine_share": 0.9,
        **HALVES,
    }


def table(corpus: Corpus) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sorted(corpus.table(["id", "object", "pose", "image"]).to_pylist(), key=lambda r: r["id"])
    return found


def test_each_mesh_becomes_views_with_their_poses_and_a_broken_one_is_kept_out(tmp_path: Path) -> None:
    files = {"box.obj": BOX, "wedge.obj": WEDGE, "cloud.obj": CUBE, "torn.obj": CUBE + "f 1 2 99\n", "note.txt": "no mesh"}
    corpus = ingest(tmp_path / "w", plan(put(tmp_path / "f", files)))
    rows = table(corpus)
    assert [r["id"] for r in rows] == [f"{name}-{i:04d}" for name in ("box", "wedge") for i in range(6)]
    names = corpus.card.column("object").classes or []
    assert [names[r["object"]] for r in rows] == ["box"] * 6 + ["wedge"] * 6
    assert np.array([r["image"] for r in rows]).shape == (12, 300)
    np.testing.assert_allclose(np.linalg.norm([r["pose"] for r in rows], axis=1), 1, atol=1e-6)
    reasons = {q["item"]: q["reason"] for q in corpus.card.quarantined}
    assert reasons == {"cloud.obj": "the mesh has no faces", "torn.obj": "line 9 is no sound face"}


def test_views_follow_from_the_file_and_their_number_alone(tmp_path: Path) -> None:
    first = table(ingest(tmp_path / "a", plan(put(tmp_path / "f", {"box.obj": BOX, "wedge.obj": WEDGE}))))
    more = table(ingest(tmp_path / "b", plan(put(tmp_path / "g", {"z/crate.obj": BOX, "y/wedge.obj": WEDGE}), views=9)))[:9]
    assert [(r["pose"], r["image"]) for r in first[:6]] == [(r["pose"], r["image"]) for r in more[:6]]
    assert len({tuple(r["image"]) for r in more}) == 9
    assert first[0]["pose"] != first[6]["pose"]  # another file, another draw


def test_angles_are_turns_about_the_fixed_axes() -> None:
    for angles in np.random.default_rng(0).uniform(-np.pi, np.pi, (20, 3)):
        turn = Rotation.from_euler("xyz", angles)
        ours = quaternion(angles)
        np.testing.assert_allclose(rotation(ours), turn.as_matrix(), atol=1e-12)
        theirs = np.roll(turn.as_quat(), 1)
        np.testing.assert_allclose(ours * np.sign(ours @ theirs), theirs, atol=1e-12)


def test_poses_fill_the_range_of_turns() -> None:
    reader = MeshViews(side=1, samples=1, turn=30)
    mesh = read_mesh(WEDGE.encode())
    poses = [reader._item("w", "w", mesh, np.random.default_rng([0, i])).meta["pose"] for i in range(200)]
    angles = Rotation.from_quat(np.roll(poses, -1, axis=1)).as_euler("xyz", degrees=True)
    assert np.abs(angles).max() <= 30 + 1e-3
    assert (angles.max(0) > 27).all() and (angles.min(0) < -27).all()


@pytest.mark.parametrize("chunk", [256, 3])
def test_each_pixel_shows_the_face_that_a_loop_over_faces_finds(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_views, "_FACES", chunk)
    for text, seed in ((BOX, 0), (WEDGE, 1), (BOX, 2)):
        mesh = read_mesh(text.encode())
        turned = mesh.vertices @ Rotation.random(random_state=seed).as_matrix().T
        face, depth = rasterise(turned, mesh.triangles, 14)
        expected, far = slow.nearest_face(turned, mesh.triangles, 14, 0.95)
        assert (face == expected).all() and (face >= 0).sum() > 20
        np.testing.assert_allclose(depth, far, atol=1e-5)


def test_a_box_in_front_hides_the_one_behind_and_up_is_up() -> None:
    vertices = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 0.2, 0.5], [1, 0.2, 0.5], [0, 1, 0.5]])
    face, _ = rasterise(vertices, np.array([[0, 1, 2], [3, 4, 5]]), 20)
    assert face[6, 10] == 1  # high in the picture: the nearer triangle
    assert face[18, 15] == 0  # low: the farther one, not hidden there
    assert face[2, 2] == -1


def test_light_along_a_normal_is_brightest_and_faces_turn_to_the_camera() -> None:
    mesh = read_mesh(BOX.encode())
    shade = shading(mesh, np.eye(3), np.array([0.0, 0, 1]))
    normals = [np.cross(b - a, c - a) for a, b, c in mesh.vertices[mesh.triangles]]
    facing = np.array([abs(n[2]) > 1e-9 for n in normals])
    np.testing.assert_allclose(shade, np.where(facing, 1.0, 0.35))


def test_polygons_are_fans_and_negative_indices_count_back() -> None:
    assert read_mesh(BOX.encode()).triangles.tolist()[:2] == [[0, 1, 3], [0, 3, 2]]
    wedge = read_mesh(WEDGE.encode())
    assert wedge.triangles.tolist() == [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]
    assert np.linalg.norm(wedge.vertices, axis=1).max() == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\xff\xfe", "not text"),
        (b"v 0 0\n", "line 1 is no sound vertex"),
        (b"v 0 0 zero\n", "line 1 is no sound vertex"),
        (b"v 0 0 0\nv 1 0 0\nf 1 2\n", "line 3 is no sound face"),
        (b"v 0 0 0\nv 1 0 0\nf 1 2 0\n", "line 3 is no sound face"),
        (b"v 0 0 0\nv 1 0 0\nf 1 2 x/1\n", "line 3 is no sound face"),
        (b"", "no faces"),
        (b"v 0 0 0\nv 1 0 nan\nf 1 1 2\n", "not finite"),
        (b"v 2 2 2\nf 1 1 1\n", "no extent"),
    ],
)
def test_what_is_no_mesh_is_named(text: bytes, reason: str) -> None:
    with pytest.raises(BadItem, match=reason):
        read_mesh(text)


@pytest.mark.parametrize(
    "changes", [{"views": 0}, {"paint": 2.0}, {"turn": -1.0}, {"pattern": "("}, {"pattern": r"(?P<thing>.*)\.obj"}]
)
def test_arguments_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        registry.make("reader", Part("mesh_views", changes))


def test_two_files_of_one_object_are_refused(tmp_path: Path) -> None:
    folder = put(tmp_path / "f", {"a/box.obj": BOX, "b/box.obj": WEDGE})
    with pytest.raises(UserError, match="two files are object 'box'"):
        ingest(tmp_path / "w", plan(folder))
