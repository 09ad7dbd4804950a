"""Exact k nearest neighbours by cosine similarity, in blocks; for the kNN head and the online monitor."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

_BLOCK = 1 << 25  # similarities held at once: 128 MB


def knn_scores(
    bank: Tensor, labels: Tensor, queries: Tensor, *, k: int, classes: int, temperature: float = 0.07, block: int = 4096
) -> Tensor:
    """Class scores (Q, classes), rows summing to 1, of queries (Q, D) from a bank (N, D) with labels (N,) int64.

    Each of the k neighbours votes exp(cosine / temperature). Wu et al. 2018, "Instance discrimination", sec. 3.4. Memory beside
    the result is that of one block of at most `block` queries.
    """
    bank, queries = normalize(bank.float(), dim=1), normalize(queries.float(), dim=1)
    k = min(k, len(bank))
    scores = queries.new_zeros(len(queries), classes)
    rows = max(1, min(block, _BLOCK // len(bank)))
    for out, chunk in zip(scores.split(rows), queries.split(rows), strict=True):
        similarity, index = (chunk @ bank.T).topk(k, dim=1)
        weight = ((similarity - similarity[:, :1]) / temperature).exp()  # the nearest votes 1: no overflow at any temperature
        out.scatter_add_(1, labels[index], weight)
        out /= out.sum(1, keepdim=True)
    return scores
