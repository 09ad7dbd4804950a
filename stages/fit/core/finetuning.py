"""Fine-tuning: an encoder and a new head trained together on labelled media, deeper layers slower if asked."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stages.common.errors import UserError
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Input
from stages.fit.core.material import Decoded

Loss = Callable[[Input, Tensor], Tensor]
_BLOCK = re.compile(r"backbone\.(?:\w+\.)*?(?:blocks|stages|layers)\.(\d+)\.")


@dataclass(frozen=True)
class FineTuning:
    """How it is trained: AdamW, linear warm-up, cosine decay to 0, gradients cut at `clip_norm`.

    lr: of the encoder's last block; the head has head_lr. layer_decay: a block's rate is so much of the next one's (Clark et
    al. 2020, "ELECTRA", sec. 3.1). frozen_share: of the steps, in which the head alone is trained. still: beginnings of the
    names of encoder parameters that never change, such as "backbone.local".
    """

    epochs: int = 20
    batch_size: int = 32
    lr: float = 1e-3
    head_lr: float = 1e-3
    layer_decay: float = 1.0
    weight_decay: float = 0.01
    warmup: float = 0.1
    frozen_share: float = 0.0
    clip_norm: float | None = 1.0
    still: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise UserError("epochs and batch_size must be 1 or more", where="fine-tuning")
        for name in ("warmup", "frozen_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} lies between 0 and 1", where="fine-tuning")
        if not 0 < self.layer_decay <= 1 or min(self.lr, self.head_lr) < 0:
            raise UserError("layer_decay lies above 0 and up to 1, rates are not negative", where="fine-tuning")


def finetune(
    encoder: Encoder,
    head: nn.Module,
    media: Decoded,
    loss: Loss,
    plan: FineTuning,
    seed: int,
    score: Callable[[], float] | None = None,
) -> list[float]:
    """Trains both in place; returns each epoch's mean loss.

    loss: (x, index) -> scalar, x of the items at `index` (B,) as the front end makes it. score: measured after every epoch in
    eval mode, more is better; the weights of the best epoch, of equal ones the first, are put back at the end. Batches follow
    from `seed` alone, and so does what draws from torch's generator. Raises UserError where the loss is not finite.
    """
    cards = [media.data.device] if media.data.is_cuda else []
    both = nn.ModuleList([encoder, head])
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(not _is_still(name, plan))
    with torch.random.fork_rng(devices=cards):
        torch.manual_seed(seed)
        groups = list(rates(encoder, head, plan))
        optimiser = torch.optim.AdamW([{"params": [p], "lr": 0.0, "weight_decay": decay} for p, _, decay, _ in groups])
        per_epoch = math.ceil(len(media) / plan.batch_size)
        steps, done, history = per_epoch * plan.epochs, 0, []
        best: tuple[float, dict[str, Tensor]] | None = None
        for _ in range(plan.epochs):
            both.train()
            total = 0.0
            for index in torch.randperm(len(media)).to(media.data.device).split(plan.batch_size):
                frozen = done < plan.frozen_share * steps
                for group, (_, lr, _, of_head) in zip(optimiser.param_groups, groups, strict=True):
                    group["lr"] = 0.0 if frozen and not of_head else lr * schedule(done, steps, plan.warmup)
                total += _step(encoder, media.at(index), index, loss, optimiser, plan, frozen)
                done += 1
            history.append(total / len(media))
            if not math.isfinite(history[-1]):
                raise UserError(f"the loss is {history[-1]} in epoch {len(history)}", where="fine-tuning", do="lower `lr`")
            if score is not None:
                both.eval()
                with torch.no_grad():
                    found = score()
                if best is None or found > best[0]:
                    best = found, copy.deepcopy(both.state_dict())
        if best is not None:
            both.load_state_dict(best[1])
    both.eval()
    return history


def _step(
    encoder: Encoder,
    items: Decoded,
    index: Tensor,
    loss: Loss,
    optimiser: torch.optim.Optimizer,
    plan: FineTuning,
    frozen: bool,
) -> float:
    """One step. Returns the loss times the number of items."""
    if frozen:
        encoder.eval()
    else:
        encoder.train()
    value = loss(encoder.frontend(items.data, items.lengths), index)
    optimiser.zero_grad(set_to_none=True)
    value.backward()
    if frozen:  # no moments either: the encoder has not begun
        encoder.zero_grad(set_to_none=True)
    if plan.clip_norm is not None:
        nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], plan.clip_norm)
    optimiser.step()
    return float(value.detach()) * len(index)


def rates(encoder: Encoder, head: nn.Module, plan: FineTuning) -> Iterator[tuple[nn.Parameter, float, float, bool]]:
    """(parameter, peak rate, weight decay, of the head) of all that is trained; vectors such as biases are not decayed."""
    named = [(name, p) for name, p in encoder.named_parameters() if not _is_still(name, plan)]
    last = max((depth(name) for name, _ in named), default=0)
    for name, parameter in named:
        decay = plan.weight_decay if parameter.dim() > 1 else 0.0
        yield parameter, plan.lr * plan.layer_decay ** (last - depth(name)), decay, False
    for parameter in head.parameters():
        yield parameter, plan.head_lr, plan.weight_decay if parameter.dim() > 1 else 0.0, True


def _is_still(name: str, plan: FineTuning) -> bool:
    return any(name.startswith(beginning) for beginning in plan.still)


def depth(name: str) -> int:
    """0 for what comes before the blocks, i + 1 for block i; what comes after them (a last norm) counts as before."""
    found = _BLOCK.match(name)
    return int(found[1]) + 1 if found else 0


def schedule(step: int, steps: int, warmup: float) -> float:
    """The share of the peak rate at a step: linear up to the warm-up's end, then half a cosine down to 0."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
