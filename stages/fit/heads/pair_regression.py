"""Pair regression: the rotation between two views of one object, from their two embeddings."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from stages.common.errors import ContractError, UserError
from stages.common.quaternion import angle, relative
from stages.common.registry import part
from stages.common.tasks import Exhibit
from stages.fit.core.head import Outcome, Problem, Rows

HIGHER_IS_BETTER = {"rotation_r2": True, "rotation_error": False, "hit_at_1": True, "hit_at_5": True, "mrr": True}
_DRAW = 0x70616972  # names the draw of the pairs that are judged


@part
class PairRegression:
    """q = MLP([r(x), r(y)]), views x, y of one object, against the quaternion of their relative rotation.

    Garrido, Najman and LeCun 2023, "Self-supervised learning of Split Invariant Equivariant representations", sec. 5: an MLP of
    three linear maps, `hidden` wide, with ReLU between, trained with the mean squared error; features are standardised by the
    train rows. group: the column that names the object; pose: the column of its pose, a unit quaternion (w, x, y, z).
    An epoch pairs each train row with a random partner (Adam, `lr` falling as a cosine). The epoch with the highest R2 on the
    valid pairs is kept. Judged are `partners` drawn partners of each test row, the same for all features of the same items.

    Values: rotation_r2: 1 - sum of squared errors / sum of squared deviations, mean over the four components; rotation_error:
    mean angle in degrees; hit_at_1, hit_at_5, mrr: all other test views of the object are ranked by how near their true
    rotation from x lies to the predicted one; where y comes. shown: so many test pairs, and the view ranked first, are pictures
    for the report (`picture`, a column of pixels).

    Raises UserError where no object has two views in a split or a number is out of range, ContractError for a pose that is no
    quaternion.
    """

    label: Literal["class", "number"] | None = None

    def __init__(
        self,
        *,
        group: str = "object",
        pose: str = "pose",
        hidden: int = 1024,
        epochs: int = 300,
        batch_size: int = 256,
        lr: float = 1e-3,
        partners: int = 10,
        shown: int = 0,
        picture: str = "image",
    ) -> None:
        if min(hidden, epochs, batch_size, partners) < 1 or lr <= 0 or shown < 0:
            raise UserError(
                "hidden, epochs, batch_size and partners are 1 or more, lr is above 0", where="head pair_regression"
            )
        self.group, self.pose, self.hidden, self.epochs, self.batch_size = group, pose, hidden, epochs, batch_size
        self.lr, self.partners, self.shown, self.picture = lr, partners, shown, picture

    def fit(self, problem: Problem) -> Outcome:
        train, valid, test = (self._views(problem, name) for name in ("train", "valid", "test"))
        mean, std = train.x.mean(0), train.x.std(0, correction=0)
        train, valid, test = (v.scaled(mean, torch.where(std > 1e-6, std, 1.0)) for v in (train, valid, test))
        generator = torch.Generator().manual_seed(_DRAW)
        checked, judged = valid.pairs(generator, self.partners), test.pairs(generator, self.partners)
        net, scores = self._trained(train, valid, checked, torch.Generator().manual_seed(problem.seed))
        predicted, target = _predicted(net, test, judged), test.turn(judged)
        places = test.places(predicted, judged)
        values = {
            "rotation_r2": r2(predicted, target),
            "rotation_error": float(angle(predicted, target).mean()),
            "hit_at_1": float((places < 1).double().mean()),
            "hit_at_5": float((places < 5).double().mean()),
            "mrr": float((1 / (places + 1).double()).mean()),
        }
        details = {"pairs": judged.shape[1], "epoch": scores.index(max(scores)) + 1, "valid_r2": scores}
        items = len(set(problem.test.ids.tolist()))
        exhibits = self._exhibits(problem, test, judged, predicted)
        return Outcome(values=values, items=items, details=details, exhibits=exhibits)

    def _views(self, problem: Problem, split: str) -> Views:
        rows: Rows = problem.split(split)
        names = problem.input.values(self.group, rows.ids)
        poses = problem.input.values(self.pose, rows.ids)
        if any(name is None for name in names) or any(pose is None or len(pose) != 4 for pose in poses):
            raise ContractError(f"columns {self.group!r} and {self.pose!r} hold no object and four numbers for every item")
        q = torch.tensor(poses, dtype=torch.float64, device=rows.x.device)
        if not torch.allclose(q.norm(dim=1), q.new_ones(()), atol=1e-3):
            raise ContractError(f"column {self.pose!r} holds quaternions whose length is not 1")
        code = torch.from_numpy(np.unique(np.array(names, dtype=str), return_inverse=True)[1]).to(rows.x.device)
        kept = torch.nonzero(torch.bincount(code)[code] > 1).flatten()
        if not len(kept):
            raise UserError(f"no object has two views in split {split!r}", where="head pair_regression.group")
        return Views(rows.x[kept].float(), q[kept], code[kept], kept)

    def _trained(
        self, train: Views, valid: Views, checked: Tensor, generator: torch.Generator
    ) -> tuple[nn.Sequential, list[float]]:
        """The network at its best epoch, and the R2 of the valid pairs after each."""
        net = _mlp([2 * train.x.shape[1], self.hidden, self.hidden, 4], generator).to(train.x.device)
        optimiser = torch.optim.Adam(net.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.epochs)
        best, scores = {k: v.clone() for k, v in net.state_dict().items()}, list[float]()
        for _ in range(self.epochs):
            pairs = train.pairs(generator, 1)
            order = torch.randperm(pairs.shape[1], generator=generator)
            for chosen in pairs[:, order.to(pairs.device)].split(self.batch_size, 1):
                optimiser.zero_grad()
                (net(train.both(chosen)) - train.turn(chosen).float()).square().mean().backward()
                optimiser.step()
            schedule.step()
            scores.append(r2(_predicted(net, valid, checked), valid.turn(checked)))
            if scores[-1] == max(scores):
                best = {k: v.clone() for k, v in net.state_dict().items()}
        net.load_state_dict(best)
        return net, scores

    def _exhibits(self, problem: Problem, test: Views, judged: Tensor, predicted: Tensor) -> list[Exhibit]:
        """Per shown pair x, y and the view that the predicted rotation finds; the pairs lie evenly over the judged ones."""
        found: list[Exhibit] = []
        at = torch.linspace(0, judged.shape[1] - 1, self.shown).long().tolist() if problem.seed == 0 else []
        for number, i in enumerate(at):
            x, y = judged[:, i].tolist()
            nearest = int(test.nearness(predicted[i : i + 1], judged[:1, i : i + 1]).argmax())
            error = float(angle(predicted[i], test.turn(judged[:, i : i + 1])[0]))
            said = {"first view": (x, ""), "second view": (y, ""), "view found": (nearest, f", {error:.0f} degrees off")}
            for column, (row, more) in said.items():
                name = str(problem.test.ids[int(test.row[row])])
                content = self._png(problem, name)
                place = (f"pair {number + 1}", column)
                found.append(Exhibit("picture", f"pair{number}_{column.replace(' ', '_')}", content, name + more, place))
        return found

    def _png(self, problem: Problem, identity: str) -> bytes:
        from PIL import Image

        shape = problem.input.corpus.card.column(self.picture).shape
        pixels = np.array(problem.input.values(self.picture, np.array([identity]))[0], np.uint8).reshape(shape or (-1,))
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG", optimize=True)
        return out.getvalue()


@dataclass(frozen=True)
class Views:
    """The views of a split whose object has another one: x (N, D), pose (N, 4) float64, group (N,), row (N,) in the split."""

    x: Tensor
    pose: Tensor
    group: Tensor
    row: Tensor

    def scaled(self, mean: Tensor, std: Tensor) -> Views:
        return Views((self.x - mean) / std, self.pose, self.group, self.row)

    def pairs(self, generator: torch.Generator, partners: int) -> Tensor:
        """(2, partners * N): each view beside drawn other views of its object, all of which are as likely."""
        order = torch.argsort(self.group, stable=True)
        counts = torch.bincount(self.group)
        first = (counts.cumsum(0) - counts)[self.group]
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        count = counts[self.group].repeat(partners)
        drawn = torch.rand(len(count), generator=generator, dtype=torch.float64).to(order.device)
        ahead = 1 + (drawn * (count - 1)).long()
        source = torch.arange(len(order), device=order.device).repeat(partners)
        start = first.repeat(partners)
        return torch.stack([source, order[start + (place[source] - start + ahead) % count]])

    def both(self, pairs: Tensor) -> Tensor:
        """(P, 2 D)."""
        return torch.cat([self.x[pairs[0]], self.x[pairs[1]]], 1)

    def turn(self, pairs: Tensor) -> Tensor:
        """(P, 4): the rotation from the first view's pose to the second's."""
        return relative(self.pose[pairs[0]], self.pose[pairs[1]])

    def nearness(self, predicted: Tensor, source: Tensor) -> Tensor:
        """(P, N): |cos| of half the angle between the predicted rotation and that from view `source` (1, P) to each view.

        -1 for views of other objects and the source itself.
        """
        views = torch.arange(len(self.pose), device=self.pose.device)
        turns = relative(self.pose[source[0]][:, None], self.pose[None])  # (P, N, 4)
        near = (turns * nn.functional.normalize(predicted, dim=1)[:, None]).sum(-1).abs()
        other = (self.group[source[0]][:, None] != self.group[None]) | (source[0][:, None] == views[None])
        return near.masked_fill(other, -1.0)

    def places(self, predicted: Tensor, pairs: Tensor) -> Tensor:
        """(P,) from 0: how many other views of the object lie nearer to the predicted rotation than the pair's second one."""
        found = []
        for q, chosen in zip(predicted.split(256), pairs.split(256, 1), strict=True):
            near = self.nearness(q, chosen[:1])
            found.append((near > near.gather(1, chosen[1][:, None])).sum(1))
        return torch.cat(found)


def r2(predicted: Tensor, target: Tensor) -> float:
    """Mean over the columns of predicted, target (P, D) of 1 - squared errors / squared deviations."""
    predicted, target = predicted.double(), target.double()
    deviation = (target - target.mean(0)).square().sum(0)
    return float((1 - (predicted - target).square().sum(0) / deviation).mean())


def _mlp(sizes: list[int], generator: torch.Generator) -> nn.Sequential:
    """Linear maps with ReLU between; weights and biases uniform within 1 / sqrt(inputs), as a linear layer's are by default."""
    net = nn.Sequential()
    for inner, outer in pairwise(sizes):
        if len(net):
            net.append(nn.ReLU())
        net.append(nn.Linear(inner, outer))
        for parameter in net[-1].parameters():
            nn.init.uniform_(parameter, -(inner**-0.5), inner**-0.5, generator=generator)
    return net


@torch.no_grad()
def _predicted(net: nn.Module, views: Views, pairs: Tensor) -> Tensor:
    return torch.cat([net(views.both(chosen)) for chosen in pairs.split(4096, 1)]).double()
