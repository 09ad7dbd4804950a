"""Exact k nearest neighbours by cosine similarity, in blocks: for kNN, retrieval, voice conversion and the online monitor."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

_TILE = 1 << 16  # bank rows at once
_BLOCK = 1 << 25  # similarities held at once: 128 MB
_GROUP = 64  # similarities of which only the largest is looked at first


def nearest(
    bank: Tensor, queries: Tensor, k: int, *, apart: tuple[Tensor, Tensor] | None = None, block: int = 4096
) -> tuple[Tensor, Tensor]:
    """The k rows of bank (N, D) nearest to each of queries (Q, D): cosines (Q, K) and rows (Q, K), K = min(k, N).

    Nearest first; of rows equally near, the first in the bank. apart: a number of each query (Q,) and of each bank row (N,):
    rows of a query's own number come last, with the cosine -2. Memory beside bank, queries and result: 65,536 rows of the bank
    scaled to length 1 and one block of similarities, of at most `block` queries.
    """
    k, tile = min(k, len(bank)), min(len(bank), _TILE)
    rows = max(1, min(block, _BLOCK // max(tile, 1), len(queries)))
    cosine = queries.new_full((len(queries), k), -torch.inf, dtype=torch.float32)
    index = torch.zeros(len(queries), k, dtype=torch.int64, device=bank.device)
    held = cosine.new_empty(rows * tile)  # the block, used again and again: touching fresh memory costs more than the search
    for first in range(0, len(bank), max(tile, 1)):
        part = normalize(bank[first : first + tile].float(), dim=1)
        for start in range(0, len(queries), rows):
            here = slice(start, start + rows)
            chunk = normalize(queries[here].float(), dim=1)
            near = torch.mm(chunk, part.T, out=held[: len(chunk) * len(part)].view(len(chunk), -1))
            if apart is not None:
                near.masked_fill_(apart[0][here, None] == apart[1][first : first + tile], -2.0)
            value, at = _largest(near, min(k, len(part)))
            if first:  # what earlier rows gave stands before: a stable sort keeps the first of equals
                value, order = torch.cat([cosine[here], value], 1).sort(dim=1, descending=True, stable=True)
                value, at = value[:, :k], torch.cat([index[here], at + first], 1).gather(1, order[:, :k])
            cosine[here, : value.shape[1]], index[here, : value.shape[1]] = value, at
    return cosine, index


def knn_scores(
    bank: Tensor, labels: Tensor, queries: Tensor, *, k: int, classes: int, temperature: float = 0.07, block: int = 4096
) -> Tensor:
    """Class scores (Q, classes), rows summing to 1, of queries (Q, D) from a bank (N, D) with labels (N,) int64.

    Each of the k neighbours votes exp(cosine / temperature). Wu et al. 2018, "Instance discrimination", sec. 3.4. Memory is
    that of `nearest`.
    """
    cosine, index = nearest(bank, queries, k, block=block)
    weight = ((cosine - cosine[:, :1]) / temperature).exp()  # the nearest votes 1: no overflow at any temperature
    scores = cosine.new_zeros(len(queries), classes).scatter_add_(1, labels[index], weight)
    return scores / scores.sum(1, keepdim=True)


def _largest(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row of x (Q, N), and where: falling, of equal ones the first."""
    value, index = _any_largest(x, min(k + 1, x.shape[1]))
    split = value[:, k - 1] == value[:, -1] if value.shape[1] > k else torch.zeros(len(x), dtype=torch.bool, device=x.device)
    index, order = index[:, :k].sort(dim=1)
    value, again = value[:, :k].gather(1, order).sort(dim=1, descending=True, stable=True)
    index = index.gather(1, again)
    if split.any():  # equals on both sides of the cut: which ones are taken is settled by a sort of the whole row
        value[split], index[split] = (t[:, :k] for t in x[split].sort(dim=1, descending=True, stable=True))
    return value, index


def _any_largest(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The same; of equal ones, any.

    In a long row the k groups with the largest maxima hold k largest values: were one of them in another group, that group's
    maximum, and so k values at least, would be as large. So one pass finds the maxima and the search looks at k groups.
    """
    groups = x.shape[1] // _GROUP
    if groups < 4 * k:
        return x.topk(k, dim=1)
    body = x[:, : groups * _GROUP].unflatten(1, (groups, _GROUP))
    chosen = body.amax(2).topk(k, dim=1).indices
    place = (chosen[:, :, None] * _GROUP + torch.arange(_GROUP, device=x.device)).flatten(1)
    rest = torch.arange(groups * _GROUP, x.shape[1], device=x.device).expand(len(x), -1)
    place = torch.cat([place, rest], 1)
    value, at = x.gather(1, place).topk(k, dim=1)
    return value, place.gather(1, at)
