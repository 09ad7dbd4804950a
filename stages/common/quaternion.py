"""Unit quaternions (..., 4), scalar first (w, x, y, z): the rotation between two poses.

A pose q turns object coordinates into camera coordinates: v_camera = R(q) v_object. q and -q are one rotation, so a relative
rotation is given with its first component that is not 0 above 0: w >= 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def conjugate(q: Tensor) -> Tensor:
    """(..., 4): the inverse of a unit quaternion."""
    return q * q.new_tensor([1.0, -1.0, -1.0, -1.0])


def product(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton's product a b (..., 4): first the turn b, then a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def canonical(q: Tensor) -> Tensor:
    """Of q and -q the one whose first component that is not 0 lies above 0."""
    first = (q != 0).to(torch.int8).argmax(-1, keepdim=True)
    return torch.where(q.gather(-1, first) < 0, -q, q)


def relative(source: Tensor, target: Tensor) -> Tensor:
    """(..., 4): the turn of the camera's coordinates that takes pose `source` to pose `target`, canonical(target source*)."""
    return canonical(product(target, conjugate(source)))


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Degrees (...), 0 to 180, between the rotations of a and b (..., 4), neither of which need have length 1."""
    cosine = (torch.nn.functional.normalize(a, dim=-1) * torch.nn.functional.normalize(b, dim=-1)).sum(-1).abs()
    return 2 * torch.acos(cosine.clamp(max=1)) * (180 / math.pi)
