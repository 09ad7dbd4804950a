"""TAGA: what a language model reads in a document of a neighbourhood, and what a graph network makes of it, agree."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.graph import GraphBackbone
from stages.encoders.core.inputs import Graph, Padded
from stages.pretrain.core.distributed import gather
from stages.pretrain.core.items import Source
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.precision import full_precision

_ROWS = 512  # windows that the language model reads at once


@part
class TAGA(Objective):
    """Zhang et al. 2024, "TAGA" (arXiv:2405.16800), sec. 3: text of graph against graph of text, order by order.

    documents: columns, of which the k-th (from 0) writes out the k hops around a node; they are named in `side:` too. d_k(v):
    the teacher's embedding of node v's document, g_k(v): the graph network's at order k. total = sum over k of
    - mean_v cos(d_k(v), g_k(v)) + mean_{u != v} cos(d_k(v), g_k(u)), u and v in the batch.

    The teacher (`parent`, `use: teacher`) is a language model, and frozen. It is read once: the documents, and the texts of the
    nodes, whose network in the backbone takes its weights and is no further trained. A document longer than the teacher's
    sequences is read in windows of that length, their embeddings weighed by their symbols.

    Terms: total, positive, negative (sums over the orders). Raises UserError without a teacher, without a document in `side:`,
    for other than a document per order or a batch of one; ContractError where the teacher and the backbone do not fit.
    """

    vectors: Tensor
    place: Tensor
    read: Tensor

    def __init__(self, encoder: Encoder, *, documents: tuple[str, ...] = ("text", "document_1", "document_2")) -> None:
        super().__init__()
        backbone = encoder.backbone
        if not isinstance(backbone, GraphBackbone):
            raise UserError("the encoder is no network of graphs", where=_WHERE, do="use the front end `graph` and `gcn`")
        if len(documents) != backbone.layers + 1:
            raise UserError(
                f"{len(documents)} documents for the orders 0 to {backbone.layers}",
                where=f"{_WHERE}.documents",
                do="name one for each order, or change the backbone's `layers`",
            )
        self.documents = documents

    def prepare(self, encoder: Encoder, items: Source, teacher: Encoder | None) -> None:
        backbone = encoder.backbone
        assert isinstance(backbone, GraphBackbone)
        if teacher is None:
            raise UserError("there is no language model", where=_WHERE, do="write `parent: encoders/<name>`, `use: teacher`")
        if teacher.width != encoder.width:
            raise ContractError(
                f"documents have {teacher.width} numbers, nodes {encoder.width}", where=_WHERE, do="change `hidden`"
            )
        try:
            backbone.texts.load_state_dict(teacher.backbone.state_dict())
        except RuntimeError as error:
            raise ContractError(f"the backbone does not take the language model's weights: {error}", where=_WHERE) from None
        backbone.texts.requires_grad_(False)
        with torch.no_grad():
            vectors, place = nodes(encoder, backbone, items)
            found = {name: document(teacher, self._symbols(items, name)) for name in dict.fromkeys(self.documents)}
        for name, value in (
            ("vectors", vectors),
            ("place", place),
            ("read", torch.stack([found[name] for name in self.documents], 1)),
        ):
            self.register_buffer(name, value, persistent=False)  # they follow from the teacher and the items

    def _symbols(self, items: Source, name: str) -> Tensor:
        symbols = items.side.get(name)
        if symbols is None or symbols.dim() != 2 or symbols.is_floating_point():
            raise UserError(
                f"there is no document {name!r} beside the graphs",
                where=f"{_WHERE}.documents",
                do=f"write `side: [{', '.join(self.documents)}]`, columns of text",
            )
        return symbols

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        backbone, x = encoder.backbone, encoder.prepared(batch.views[0])
        assert isinstance(backbone, GraphBackbone)
        g = backbone.convolve(self.vectors[self.place[batch.index]], x)
        d = self.read[batch.index]
        each = [terms(gather(d[:, k]), gather(h)) for k, h in enumerate(g)]
        positive, negative = (torch.stack(found).sum() for found in zip(*each, strict=True))
        return {"total": positive + negative, "positive": positive.detach(), "negative": negative.detach()}


_WHERE = "objective taga"


@full_precision
def terms(d: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """d, g (B, D) -> - mean_v cos(d_v, g_v), and the mean over u != v of cos(d_v, g_u). Raises UserError for B of 1."""
    count = len(d)
    if count < 2:
        raise UserError("a batch of one node has no other to be told from", where=_WHERE, do="raise `batch_size`")
    cosine = F.normalize(d, dim=1) @ F.normalize(g, dim=1).T
    own = cosine.diagonal().sum()
    return -own / count, (cosine.sum() - own) / (count * (count - 1))


def nodes(encoder: Encoder, backbone: GraphBackbone, items: Source) -> tuple[Tensor, Tensor]:
    """vectors (U, D) of the distinct texts among all nodes, the last one 0; place (items, N): which of them each node has."""
    symbols, lengths, own = [], [], []
    for block in items.blocks():
        x = encoder.frontend(block.data, block.lengths)
        assert isinstance(x, Graph)
        symbols.append(x.nodes[x.own()].int())
        lengths.append(x.lengths[x.own()])
        own.append(x.own())
    mask = torch.cat(own)
    rows, inverse = torch.unique(torch.cat(symbols), dim=0, return_inverse=True)
    length = lengths[0].new_zeros(len(rows)).scatter_(0, inverse, torch.cat(lengths))
    vectors = backbone.texts(rows.long(), length)
    place = mask.long().masked_fill(~mask, len(rows))
    place[mask] = inverse
    return torch.cat([vectors, vectors.new_zeros(1, vectors.shape[1])]), place


def document(teacher: Encoder, symbols: Tensor) -> Tensor:
    """symbols (N, T), 0 after each document's own -> (N, D): the windows' embeddings, weighed by how many symbols they hold."""
    length = int(teacher.frontend.contract["length"])
    windows = -(-symbols.shape[1] // length)
    whole = F.pad(symbols.long(), (0, windows * length - symbols.shape[1])).view(-1, windows, length)
    count = (whole > 0).sum(2)
    held = count > 0
    read = [teacher(Padded(*part)) for part in zip(whole[held].split(_ROWS), count[held].split(_ROWS), strict=True)]
    each = torch.cat(read)
    h = each.new_zeros(*held.shape, each.shape[1])
    h[held] = each
    return (h * count.unsqueeze(2)).sum(1) / count.sum(1, keepdim=True).clamp_min(1)
