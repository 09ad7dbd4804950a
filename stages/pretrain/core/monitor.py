"""Measures the encoder while it trains: RankMe, feature deviation and kNN accuracy on rows of the valid and train splits."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.common.plan import MonitorPlan
from stages.encoders.core.encoder import Encoder
from stages.measures.core.neighbours import knn_scores
from stages.measures.rankme import rankme
from stages.pretrain.core.data import Items
from stages.pretrain.core.health import feature_std


class Monitor:
    """bank: training items; queries: items of the valid split, or None. Both on the encoder's device.

    The label serves kNN alone: the loss never sees it.
    """

    def __init__(self, plan: MonitorPlan, bank: Items, queries: Items | None) -> None:
        self.plan, self.bank, self.queries = plan, bank, queries
        self.kinds = 1 + int(max(int(i.labels.max()) for i in (bank, queries) if i is not None)) if len(bank) else 0

    def measure(self, encoder: Encoder) -> dict[str, float]:
        """{"rankme", "feature_std"} of the queries (or the bank), and "knn_accuracy" of the queries from the bank.

        In evaluation mode, without gradients; neither the encoder's mode nor any generator's state is changed.
        """
        watched = self.queries if self.queries is not None else self.bank
        modes = [(module, module.training) for module in encoder.modules()]
        cards = [watched.data.device] if watched.data.is_cuda else []
        with torch.no_grad(), torch.random.fork_rng(devices=cards):
            encoder.eval()
            h = self._embed(encoder, watched)
            found = {"rankme": rankme(h), "feature_std": feature_std(h)} if torch.isfinite(h).all() else {}
            if self.plan.label and self.queries is not None and self.kinds:
                bank = self._embed(encoder, self.bank)
                scores = knn_scores(bank, self.bank.labels, h, k=self.plan.k, classes=self.kinds)
                found["knn_accuracy"] = float((scores.argmax(1) == self.queries.labels).double().mean())
        for module, training in modes:
            module.training = training
        return found

    def _embed(self, encoder: Encoder, items: Items) -> Tensor:
        return torch.cat([encoder(encoder.frontend(b.data, b.lengths)).float() for b in items.blocks(256)])
