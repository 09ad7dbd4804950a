"""Pictures of objects in known poses, rendered from their meshes (Wavefront OBJ) by a z-buffer of our own."""

from __future__ import annotations

import colorsys
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.item import BadItem, Broken, Item, Source

_FILLS = 0.95  # share of the picture's half width that the sphere around an object takes
_AMBIENT = 0.35  # share of light that comes from everywhere
_FLAT = 1e-9  # a triangle of less area in the picture is seen edge on; the picture has 4
_FACES = 256  # rasterised at once, so that memory stays small


@part
class MeshViews:
    """`views` items per mesh: uint8 (side, side, 3), of the object in a random pose, light and ground.

    Pose: Tait-Bryan angles a, b, c about the fixed x, y, z axes, uniform in [-`turn`, `turn`] degrees each, R = Rz(c) Ry(b)
    Rx(a); light: a direction from the camera's side and a hue, ground: a hue (the factors of 3DIEBench: Garrido, Najman and
    LeCun 2023, "Self-supervised learning of Split Invariant Equivariant representations", the section on the data). Everything
    follows from the file's SHA-256 and the view's number, so more views begin with the fewer. Orthographic, flat shading; the
    object's box is centred and the farthest vertex has length 1. `samples` x `samples` rays per pixel are averaged.

    paint: the files have no textures, and a plain can looks the same from all sides: each triangle is red, green and blue by
    where its middle lies along the object's x, y, z, this share of its colour; 0: grey.
    Column `pose` (4, 1): the quaternion w, x, y, z of R, scalar first. Labels: object (the group `object` of `pattern`),
    light_hue, ground_hue (0 to 1). A mesh that does not parse, or has no face, is broken. Raises UserError for a pattern
    without that group, for numbers out of range, and where two files are one object.
    """

    def __init__(
        self,
        *,
        views: int = 50,
        side: int = 48,
        samples: int = 2,
        turn: float = 90.0,
        paint: float = 0.4,
        pattern: str = r"(?P<object>[^/]+)\.obj$",
    ) -> None:
        if min(views, side, samples) < 1 or not 0 <= paint <= 1 or not 0 <= turn <= 180:
            raise UserError(
                "views, side and samples are 1 or more, paint lies in 0 to 1, turn in 0 to 180", where="reader mesh_views"
            )
        try:
            self.pattern = re.compile(pattern)
        except re.error as error:
            raise UserError(f"the pattern is no regular expression: {error}", where="reader.pattern") from None
        if "object" not in self.pattern.groupindex:
            raise UserError("the pattern names no object", where="reader.pattern", do="write (?P<object>...)")
        self.views, self.side, self.samples, self.turn, self.paint = views, side, samples, turn, paint
        self.columns = [
            Column("image", "media", "pixels", shape=[side, side, 3]),
            Column("pose", "meta", "series", shape=[4, 1]),
        ]

    def read(self, source: Source) -> Iterator[Item | Broken]:
        seen: dict[str, str] = {}
        for file in source.files().each(lambda path: self.pattern.search(path) is not None):
            found = self.pattern.search(file.path)
            name = found["object"] if found else ""
            if name in seen:
                raise UserError(f"two files are object {name!r}: {seen[name]} and {file.path}", where="reader.pattern")
            seen[name] = file.path
            data = file.read()
            try:
                mesh = read_mesh(data)
            except BadItem as error:
                yield Broken(file.path, str(error))
                continue
            digest = int.from_bytes(hashlib.sha256(data).digest()[:16], "big")
            for view in range(self.views):
                yield self._item(f"{name}-{view:04d}", name, mesh, np.random.default_rng([digest, view]))

    def _item(self, identity: str, name: str, mesh: Mesh, rng: np.random.Generator) -> Item:
        pose = quaternion(np.radians(rng.uniform(-self.turn, self.turn, 3)))
        away, around = np.radians(rng.uniform(0, 60)), rng.uniform(0, 2 * np.pi)  # of the light, from the camera's axis
        light = np.array([np.sin(away) * np.cos(around), np.sin(away) * np.sin(around), np.cos(away)])
        lamp, ground = (float(hue) for hue in rng.uniform(0, 1, 2))
        colour = np.array(colorsys.hsv_to_rgb(lamp, 0.4, 1.0))
        albedo = 1 - self.paint + self.paint * (1 + mesh.middles) / 2
        face, _ = rasterise(mesh.vertices @ rotation(pose).T, mesh.triangles, self.side * self.samples)
        shades = shading(mesh, rotation(pose), light)[:, None] * albedo * colour
        picture = np.where(face[..., None] >= 0, shades[face], np.array(colorsys.hsv_to_rgb(ground, 0.4, 0.5)))
        picture = picture.reshape(self.side, self.samples, self.side, self.samples, 3).mean((1, 3))
        labels = {"object": name, "light_hue": lamp, "ground_hue": ground}
        stored = pose.astype(np.float32)
        return Item(identity, {"image": np.round(255 * picture).astype(np.uint8)}, labels, {"pose": stored})


@dataclass(frozen=True)
class Mesh:
    """vertices (V, 3), within the unit sphere, triangles (F, 3): indices of vertices."""

    vertices: np.ndarray
    triangles: np.ndarray

    @property
    def middles(self) -> np.ndarray:
        """(F, 3): where the triangles' middles lie in the object."""
        return np.asarray(self.vertices[self.triangles].mean(1))


def read_mesh(data: bytes) -> Mesh:
    """The `v` and `f` lines of an OBJ file: polygons as fans, indices from 1, negative ones from the end.

    Raises BadItem: no text, numbers that are none, a face of fewer than three vertices or of one that is not there, no face, no
    extent.
    """
    try:
        lines = [line.split() for line in data.decode("utf-8").splitlines()]
    except UnicodeDecodeError:
        raise BadItem("the mesh is not text") from None
    vertices: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    for number, words in enumerate(lines, 1):
        try:
            if words[:1] == ["v"]:
                x, y, z = (float(word) for word in words[1:4])
                vertices.append([x, y, z])
            elif words[:1] == ["f"]:
                corners = [_corner(word, len(vertices)) for word in words[1:]]
                if len(corners) < 3:
                    raise ValueError(words)
                triangles += [(corners[0], b, c) for b, c in pairwise(corners[1:])]
        except ValueError:
            raise BadItem(f"line {number} is no sound {'vertex' if words[0] == 'v' else 'face'}") from None
    if not triangles:
        raise BadItem("the mesh has no faces")
    places = np.array(vertices, np.float64)
    used = places[np.unique(triangles)]
    if not np.isfinite(used).all():
        raise BadItem("a vertex is not finite")
    places = places - (used.min(0) + used.max(0)) / 2
    radius = float(np.linalg.norm(places[np.unique(triangles)], axis=1).max())
    if radius == 0:
        raise BadItem("the mesh has no extent")
    return Mesh(places / radius, np.array(triangles))


def _corner(word: str, vertices: int) -> int:
    """The vertex, from 0, of a face's `v`, `v/vt`, `v//vn` or `v/vt/vn`. Raises ValueError."""
    index = int(word.split("/")[0])
    place = index - 1 if index > 0 else vertices + index
    if index == 0 or not 0 <= place < vertices:
        raise ValueError(word)
    return place


def quaternion(angles: np.ndarray) -> np.ndarray:
    """(4,) w, x, y, z of Rz(c) Ry(b) Rx(a) for angles (a, b, c) in radians."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles / 2), np.sin(angles / 2)
    return np.array(
        [
            ca * cb * cc + sa * sb * sc,
            sa * cb * cc - ca * sb * sc,
            ca * sb * cc + sa * cb * sc,
            ca * cb * sc - sa * sb * cc,
        ]
    )


def rotation(q: np.ndarray) -> np.ndarray:
    """(3, 3): the matrix of a unit quaternion (w, x, y, z)."""
    w, x, y, z = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def shading(mesh: Mesh, turn: np.ndarray, light: np.ndarray) -> np.ndarray:
    """(F,): ambient + (1 - ambient) max(0, n . light), n the triangles' normals turned by `turn` and towards the camera."""
    a, b, c = (mesh.vertices[mesh.triangles[:, i]] @ turn.T for i in range(3))
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = normal / np.where(length > 0, length, 1)
    facing = np.where(normal[:, 2] < 0, -1.0, 1.0)
    return np.asarray(_AMBIENT + (1 - _AMBIENT) * np.maximum(0, facing * (normal @ light)))


def rasterise(vertices: np.ndarray, triangles: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(face (side, side) int64, -1 for none; depth (side, side), -inf for none): which triangle each pixel's ray meets first.

    vertices (V, 3): x to the right, y up, z towards the camera, which looks along -z; row 0 is the top one. The plane's
    barycentric coordinates and z are linear in x and y; a triangle holds a pixel's middle where no coordinate is negative.
    Triangles seen edge on hold none. Of triangles equally near the first is taken.
    """
    middle = ((2 * (np.arange(side) + 0.5) / side - 1) / _FILLS).astype(np.float32)
    vertices = vertices.astype(np.float32)  # half the memory that passes through
    face = np.full((side, side), -1, np.int64)
    depth = np.full((side, side), -np.inf, np.float32)
    for start in range(0, len(triangles), _FACES):
        a, b, c = (vertices[triangles[start : start + _FACES, i]] for i in range(3))
        area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
        seen = np.flatnonzero(np.abs(area) > _FLAT)
        if not len(seen):
            continue
        a, b, c, area = a[seen], b[seen], c[seen], area[seen]
        of_b, of_c = _share(a, c, area, -1, middle), _share(a, b, area, 1, middle)
        z = a[:, 2, None, None] + of_b * (b - a)[:, 2, None, None] + of_c * (c - a)[:, 2, None, None]
        z[(of_b < 0) | (of_c < 0) | (of_b + of_c > 1)] = -np.inf
        nearest = z.argmax(0)
        found = np.take_along_axis(z, nearest[None], 0)[0]
        nearer = found > depth
        face[nearer], depth[nearer] = (start + seen[nearest])[nearer], found[nearer]
    return face, depth


def _share(a: np.ndarray, other: np.ndarray, area: np.ndarray, sign: int, middle: np.ndarray) -> np.ndarray:
    """(F, side, side): the barycentric coordinate that is 0 along the edge from a to `other`, at the pixels' middles."""
    edge = sign * (other - a) / area[:, None]
    across = -edge[:, 1, None] * (middle[None] - a[:, 0, None])  # (F, side), along x
    down = edge[:, 0, None] * (-middle[None] - a[:, 1, None])  # (F, side), along y, which points up
    return np.asarray(across[:, None, :] + down[:, :, None])
