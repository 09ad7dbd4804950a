"""Watches a training: a loss that is not finite stops it, collapse and a starved device are warned of, each with a remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import normalize

from stages.common.errors import UserError
from stages.pretrain.core.history import History

LEAST_DEVIATION = 0.02  # of normalised embeddings, where 1 is isotropic
LEAST_RANK = 2.0
MOST_VIEWS = 0.5  # share of a step's time
MOST_DATA = 0.2


def check_finite(step: int, terms: Mapping[str, float], where: str) -> None:
    """Raises UserError naming the step and the terms of the loss that are not finite."""
    bad = {name: value for name, value in terms.items() if not math.isfinite(value)}
    if bad:
        shown = ", ".join(f"{name} is {value}" for name, value in bad.items())
        raise UserError(
            f"the loss is not finite at step {step}: {shown}",
            where=where,
            do="lower optim.lr, raise optim.warmup, set optim.clip_norm, or train in precision float32",
        )


def feature_std(h: Tensor) -> float:
    """sqrt(D) times the mean standard deviation of the features of h (N, D), its rows scaled to unit length.

    1 where embeddings are isotropic, 0 where they have collapsed to a point. Chen and He 2021, "SimSiam", sec. 4.1.
    """
    return float(normalize(h.double(), dim=1).std(dim=0, correction=0).mean()) * math.sqrt(h.shape[1])


def collapse(history: History, per_epoch: int, warmed_up: int) -> list[str]:
    """A warning if `feature_std` or `rankme`, measured after more than `warmed_up` steps, ever showed a collapse: the first."""
    deviations, ranks = dict(history.of("feature_std")), dict(history.of("rankme"))
    for step in sorted(deviations):
        signs = []
        if deviations[step] < LEAST_DEVIATION:
            signs.append(f"features hardly vary ({deviations[step]:.2g} of an isotropic cloud's deviation)")
        if ranks.get(step, math.inf) < LEAST_RANK:
            signs.append(f"RankMe is {ranks[step]:.3g}")
        if signs and step > warmed_up:
            remedy = "raise batch_size or the weight of the term that spreads embeddings, lower optim.lr or raise optim.warmup"
            return [f"the representation has collapsed after epoch {step // per_epoch}: {' and '.join(signs)}; {remedy}"]
    return []


def starved(views_share: float, data_share: float = 0.0) -> list[str]:
    """A warning if making views takes most of a step, and one if much of it is spent waiting for items to be decoded."""
    found = []
    if views_share > MOST_VIEWS:
        found.append(
            f"{views_share:.0%} of the time goes into views, the network waits; leave out blur or hue, "
            "or give the node more threads or a GPU"
        )
    if data_share > MOST_DATA:
        found.append(
            f"{data_share:.0%} of the time is spent waiting for the stream of items; give it more cores "
            "(`compute.decode_threads`), store the media at the size that the front end takes, or leave out `stream:`"
        )
    return found
