"""The projector: the network between embeddings and the loss, dropped after pretraining."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import nn

Kind = Literal["none", "linear", "mlp"]


def make_projector(kind: Kind, width: int, hidden: int, out: int, layers: int = 2) -> nn.Sequential:
    """h (B, width) -> z (B, out), or (B, width) for `none`.

    mlp: `layers` linear maps; all but the last are followed by batch norm and ReLU. SimCLR, sec. 4.2 and appendix B.1 (2
    layers); VICReg's expander, sec. 4.2 (3 layers).
    """
    if kind == "none":
        return nn.Sequential()
    if kind == "linear":
        return nn.Sequential(nn.Linear(width, out))
    sizes = [width, *[hidden] * (layers - 1)]
    steps: list[nn.Module] = []
    for inner, outer in pairwise(sizes):
        steps += [nn.Linear(inner, outer, bias=False), nn.BatchNorm1d(outer), nn.ReLU(inplace=True)]
    return nn.Sequential(*steps, nn.Linear(sizes[-1], out))
