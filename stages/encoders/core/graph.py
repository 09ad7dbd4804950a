"""A backbone of graphs in two halves: what each node carries as a vector, and what passes along the edges."""

from __future__ import annotations

from torch import Tensor, nn

from stages.encoders.core.encoder import Backbone
from stages.encoders.core.inputs import Graph


class GraphBackbone(Backbone):
    """`embed`, then `convolve`; vectors of nodes that do not change may be kept between the two.

    texts: the network of `embed`, symbols (U, F) and lengths (U,) of U nodes -> (U, D). layers: K, the most hops that a vector
    has come from. Order k is what a node knows of k hops around it.
    """

    texts: nn.Module
    layers: int

    def embed(self, x: Graph) -> Tensor:
        """(B, N, D): a vector of each node from what it carries alone; 0 for padding."""
        raise NotImplementedError(f"{type(self).__name__}.embed")

    def convolve(self, vectors: Tensor, x: Graph) -> list[Tensor]:
        """vectors (B, N, D) of the nodes -> for each order 0 .. K what the item is at it, (B, width)."""
        raise NotImplementedError(f"{type(self).__name__}.convolve")

    def forward(self, x: Graph) -> Tensor:
        """h (B, width): the last order."""
        return self.convolve(self.embed(x), x)[-1]

    def hidden(self, x: Graph) -> list[Tensor]:
        """Per order (B, 1, width)."""
        return [h.unsqueeze(1) for h in self.convolve(self.embed(x), x)]
