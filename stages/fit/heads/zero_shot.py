"""Zero-shot classification: each class is a text that names it, embedded by an encoder of texts."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn.functional import normalize

from stages.common.errors import ContractError, UserError
from stages.common.media import tokenised
from stages.common.registry import part
from stages.fit.core.head import Outcome, Problem


@part
class ZeroShot:
    """Each test row x (D,) takes the class whose prompt e (D,) it is nearest to by cosine; no label is read.

    prompts: {class: text}; the encoder of texts that the task's `support:` names embeds them. score: softmax of the cosines
    over `temperature`. Radford et al. 2021, "CLIP", sec. 3.1; with a graph's nodes as x, Zhang et al. 2024, "TAGA", zero-shot.

    Raises UserError for a class without a prompt or a prompt without a class, or where the task names no encoder of texts;
    ContractError where x and e differ in D.
    """

    label: Literal["class", "number", "text", "steps"] | None = "class"

    def __init__(self, *, prompts: dict[str, str], temperature: float = 0.07) -> None:
        if len(prompts) < 2 or not all(text.strip() for text in prompts.values()) or temperature <= 0:
            raise UserError(
                "write a text for each of two classes or more, and a temperature above 0", where="head zero_shot.prompts"
            )
        self.prompts, self.temperature = {str(name): text for name, text in prompts.items()}, temperature

    def fit(self, problem: Problem) -> Outcome:
        import pyarrow as pa

        wrong = sorted(set(problem.classes) ^ set(self.prompts))
        if wrong:
            raise UserError(
                f"class {wrong[0]!r} has no prompt, or a prompt no class",
                where="head zero_shot.prompts",
                do=f"write one for each of: {', '.join(problem.classes)}",
            )
        encoder, x = problem.input.encoder(), problem.test.x
        contract = encoder.frontend.contract
        if contract["kind"] != "tokens" or not contract["tokenizer"]:
            raise UserError("the encoder reads no texts", where="support", do="write `support: encoders/<encoder of texts>`")
        texts = pa.array([self.prompts[name] for name in problem.classes], pa.string())
        media = tokenised(texts, contract["tokenizer"], contract["length"])
        assert media.lengths is not None
        with torch.inference_mode():
            data, lengths = (torch.from_numpy(values).to(x.device) for values in (media.data, media.lengths))
            e = encoder(encoder.frontend(data, lengths)).float()
        if e.shape[1] != x.shape[1]:
            raise ContractError(f"prompts have {e.shape[1]} numbers, features {x.shape[1]}", where="head zero_shot")
        cosine = normalize(x, dim=1) @ normalize(e, dim=1).T
        return Outcome(prediction=cosine.argmax(1), score=(cosine / self.temperature).softmax(1))
