"""Speech recognition: the encoder and a linear map are fine-tuned with connectionist temporal classification."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder, TokenBackbone
from stages.encoders.core.inputs import Input, Padded, Tokens
from stages.fit.core.ctc_decoding import BLANK, greedy, prefix_beam
from stages.fit.core.finetuning import FineTuning, finetune
from stages.fit.core.head import Outcome, Problem, Rows
from stages.fit.core.material import Decoded
from stages.metrics.cer import cer
from stages.views.core import random
from stages.views.core.spans import check, spans

_WHERE = "head ctc"


@part
class CTC:
    """Characters at every frame of the encoder that the task's `support:` names, by Graves et al. 2006's loss; text (N,).

    As in Baevski et al. 2020, "wav2vec 2.0", sec. 3.3 and 4.3: a linear map, drawn at random, gives the log probabilities of a
    blank and of the characters that the train texts hold; for the first `frozen_share` of the updates it is trained alone,
    then with the transformer, while parameters whose names begin as in `still` (the feature encoder) never change. Spans of
    frames are hidden from the transformer: a share `probability` of the frames starts one of `span` frames. (The paper hides
    spans of channels as well.) AdamW, linear warm-up and cosine decay (core/finetuning.py) instead of the paper's three phases.

    updates: about so many optimiser steps, in whole epochs. beam: prefixes that the decoder keeps; 1 takes the likeliest path.
    The valid rows choose nothing; details give the character error rate on them.
    A warning says how many train items have too few frames for their text; they teach nothing.
    Raises UserError for arguments out of range, a `still` that no parameter begins with, or train texts without a character.
    """

    label: Literal["class", "number", "text", "steps"] | None = "text"

    def __init__(
        self,
        *,
        updates: int = 20_000,
        batch_size: int = 8,
        lr: float = 5e-5,
        head_lr: float = 5e-5,
        layer_decay: float = 1.0,
        weight_decay: float = 0.0,
        warmup: float = 0.1,
        frozen_share: float = 0.5,
        clip_norm: float | None = 1.0,
        still: tuple[str, ...] = ("backbone.convolutions", "backbone.channel_norm"),
        probability: float = 0.05,
        span: int = 10,
        beam: int = 1,
    ) -> None:
        check(probability, span, _WHERE)
        if updates < 1 or beam < 1:
            raise UserError("updates and beam must be 1 or more", where=_WHERE)
        self.updates, self.probability, self.span, self.beam = updates, probability, span, beam
        self.plan: dict[str, Any] = {
            "batch_size": batch_size,
            "lr": lr,
            "head_lr": head_lr,
            "layer_decay": layer_decay,
            "weight_decay": weight_decay,
            "warmup": warmup,
            "frozen_share": frozen_share,
            "clip_norm": clip_norm,
            "still": list(still),
        }
        FineTuning(**self.plan)  # says now what is out of range

    def fit(self, problem: Problem) -> Outcome:
        encoder = problem.input.encoder()
        contract = encoder.frontend.contract
        for beginning in self.plan["still"]:
            if not any(name.startswith(beginning) for name, _ in encoder.named_parameters()):
                raise UserError(f"no parameter of the encoder begins with {beginning!r}", where=f"{_WHERE}.still")
        texts = _texts(problem.train)
        alphabet = sorted(set("".join(texts)))
        if not alphabet:
            raise UserError("the train texts hold no character", where=_WHERE, do="choose another label or a larger share")
        media = problem.input.media(problem.train.ids, contract)
        with torch.random.fork_rng(devices=[problem.input.device] if problem.input.device.type == "cuda" else []):
            torch.manual_seed(problem.seed)
            head = nn.Linear(encoder.width, 1 + len(alphabet)).to(problem.input.device)
        codes = [torch.tensor([1 + alphabet.index(c) for c in text], dtype=torch.int64) for text in texts]
        loss = _Loss(encoder, head, codes, problem.seed, self.probability, self.span)
        per_epoch = math.ceil(len(media) / self.plan["batch_size"])
        epochs = max(1, round(self.updates / per_epoch))
        history = finetune(encoder, head, media, loss, FineTuning(epochs=epochs, **self.plan), problem.seed)

        def read(rows: Rows) -> np.ndarray:
            if not len(rows):
                return np.empty(0, object)
            return self._read(encoder, head, problem.input.media(rows.ids, contract), alphabet)

        valid = read(problem.valid)
        return Outcome(
            text=read(problem.test),
            details={
                "alphabet": "".join(alphabet),
                "updates": epochs * per_epoch,
                "loss": [history[0], history[-1]],
                "valid_cer": _finite(cer(np.array(_texts(problem.valid), object), valid)),
                "train_seconds": _seconds(media, contract),
            },
            warnings=[f"{loss.short} train items have fewer frames than their text needs"] if loss.short else [],
        )

    @torch.no_grad()
    def _read(self, encoder: Encoder, head: nn.Module, media: Decoded, alphabet: list[str]) -> np.ndarray:
        found: list[str] = []
        decode: Callable[[np.ndarray], list[int]] = greedy if self.beam == 1 else lambda p: prefix_beam(p, self.beam)
        for batch in media.batches(64):
            log_probs, lengths = _log_probs(encoder, head, encoder.frontend(batch.data, batch.lengths))
            for item, length in zip(log_probs.double().cpu().numpy(), lengths.tolist(), strict=True):
                found.append("".join(alphabet[s - 1] for s in decode(item[:length])))
        return np.array(found, object)


class _Loss:
    """The CTC loss of the train items at `index` (B,), as the fine-tuning asks for it. codes: each text's symbols, from 1."""

    def __init__(
        self, encoder: Encoder, head: nn.Module, codes: list[Tensor], seed: int, probability: float, span: int
    ) -> None:
        self.encoder, self.head, self.codes, self.seed = encoder, head, codes, seed
        self.probability, self.span, self.step = probability, span, 0
        self.too_short: set[int] = set()

    @property
    def short(self) -> int:
        return len(self.too_short)

    def __call__(self, x: Input, index: Tensor) -> Tensor:
        self.step += 1

        def masks(own: Tensor) -> Tensor:
            state = random.stream(self.seed, self.step, index)
            return spans(state, own, probability=self.probability, length=self.span, least=0)

        log_probs, lengths = _log_probs(self.encoder, self.head, x, masks if self.probability else None)
        chosen = [self.codes[i] for i in index.tolist()]
        needed = [len(c) + int((c[1:] == c[:-1]).sum()) for c in chosen]  # a blank between equal symbols
        self.too_short |= {i for i, n, have in zip(index.tolist(), needed, lengths.tolist(), strict=True) if n > have}
        counts = torch.tensor([len(c) for c in chosen], device=log_probs.device)
        targets = torch.cat(chosen).to(log_probs.device)
        return F.ctc_loss(log_probs.transpose(0, 1), targets, lengths, counts, blank=BLANK, zero_infinity=True)


def _log_probs(
    encoder: Encoder, head: nn.Module, x: Input, masks: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """(B, N, S) float32 and each item's own frames (B,). While the encoder is frozen it is run without gradients.

    masks: (B, N) own frames -> (B, N) those to hide.
    """
    with torch.set_grad_enabled(torch.is_grad_enabled() and encoder.training):
        h, own = _frames(encoder, x, masks)
    log_probs = head(h).float().log_softmax(-1)
    if own is None:
        return log_probs, torch.full((len(h),), h.shape[1], device=h.device)
    return log_probs, own.sum(1)


def _frames(encoder: Encoder, x: Input, masks: Callable[[Tensor], Tensor] | None) -> tuple[Tensor, Tensor | None]:
    """The last layer's frames (B, N, D), and which are the items' own (B, N)."""
    backbone = encoder.backbone
    if not isinstance(backbone, TokenBackbone):
        h = encoder.hidden(x)[-1]
        return h, x.own(h.shape[1]) if isinstance(x, Padded) else None
    tokens = backbone.embed(encoder.prepared(x))
    if masks is not None:
        own = tokens.own if tokens.own is not None else torch.ones(tokens.h.shape[:2], dtype=torch.bool, device=tokens.h.device)
        tokens = _hidden(backbone, tokens, masks(own))
    return backbone.encode(tokens)[-1], tokens.own


def _hidden(backbone: Any, tokens: Tokens, hidden: Tensor) -> Tokens:
    """Tokens with some hidden: by the backbone's own mask where it has one, else by zeros."""
    if hasattr(backbone, "hide"):
        found: Tokens = backbone.hide(tokens, hidden)
        return found
    return Tokens(tokens.h.masked_fill(hidden.unsqueeze(-1), 0), tokens.own, tokens.position)


def _texts(rows: Rows) -> list[str]:
    return [] if rows.text is None else [str(text) for text in rows.text]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _seconds(media: Decoded, contract: dict[str, Any]) -> float | None:
    """Of the train items' media together; None where they are no sound."""
    if media.lengths is None or "rate" not in contract:
        return None
    return round(float(media.lengths.sum()) / contract["rate"], 3)
