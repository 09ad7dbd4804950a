"""The projector: the network between embeddings and the loss. It is saved beside the encoder, so that z can be extracted."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

from torch import nn

Kind = Literal["none", "linear", "mlp"]


class Projector(nn.Sequential):
    """h (B, width) -> z (B, out), or (B, width) for `none`. arguments: what it was made with.

    mlp: `layers` linear maps; all but the last are followed by batch norm and ReLU. SimCLR, sec. 4.2 and appendix B.1 (2
    layers); VICReg's expander, sec. 4.2 (3 layers).
    """

    def __init__(self, kind: Kind, width: int, hidden: int, out: int, layers: int = 2) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {"kind": kind, "width": width, "hidden": hidden, "out": out, "layers": layers}
        if kind == "none":
            return
        sizes = [width, *[hidden] * (layers - 1 if kind == "mlp" else 0)]
        for inner, outer in pairwise(sizes):
            self.extend([nn.Linear(inner, outer, bias=False), nn.BatchNorm1d(outer), nn.ReLU(inplace=True)])
        self.append(nn.Linear(sizes[-1], out))
