"""Quaternions against scipy's rotations, and the sign that a rotation is given with."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from stages.common.quaternion import angle, canonical, conjugate, product, relative


def drawn(n: int, seed: int) -> tuple[Rotation, torch.Tensor]:
    """Random rotations, scipy's and ours: scipy's scalar comes last."""
    rotations = Rotation.random(n, random_state=seed)
    return rotations, torch.from_numpy(np.roll(rotations.as_quat(), 1, axis=1))


def theirs(rotations: Rotation) -> np.ndarray:
    return np.asarray(np.roll(rotations.as_quat(canonical=True), 1, axis=1))


def test_product_and_inverse_are_scipys() -> None:
    (a, p), (b, q) = drawn(50, 0), drawn(50, 1)
    np.testing.assert_allclose(canonical(product(p, q)).numpy(), theirs(a * b), atol=1e-12)
    np.testing.assert_allclose(canonical(conjugate(p)).numpy(), theirs(a.inv()), atol=1e-12)


def test_the_relative_rotation_takes_the_first_pose_to_the_second() -> None:
    (a, p), (b, q) = drawn(50, 2), drawn(50, 3)
    z = relative(p, q)
    np.testing.assert_allclose(z.numpy(), theirs(b * a.inv()), atol=1e-12)
    point = np.array([0.3, -0.5, 0.7])
    turn = Rotation.from_quat(np.roll(z.numpy(), -1, axis=1))
    np.testing.assert_allclose(turn.apply(a.apply(point)), b.apply(point), atol=1e-12)


def test_either_sign_of_a_pose_gives_the_same_rotation_with_w_at_or_above_0() -> None:
    (_, p), (_, q) = drawn(50, 4), drawn(50, 5)
    for s in (-1, 1):
        for t in (-1, 1):
            torch.testing.assert_close(relative(s * p, t * q), relative(p, q))
    assert (relative(p, q)[:, 0] >= 0).all()
    half = torch.tensor([[0.0, -0.6, 0.8, 0.0], [0.0, 0.0, -1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert (
        canonical(half).tolist() == torch.tensor([[0.0, 0.6, -0.8, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).tolist()
    )


def test_the_angle_is_scipys_magnitude_whatever_sign_and_length() -> None:
    (a, p), (b, q) = drawn(50, 6), drawn(50, 7)
    expected = np.degrees((b * a.inv()).magnitude())
    np.testing.assert_allclose(angle(-3 * p, q).numpy(), expected, atol=1e-6)
