"""Classes by their names: features against an encoder's embeddings of prompts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stages.common import registry
from stages.common.corpus import TOKENIZER, Column
from stages.common.errors import ContractError, UserError
from stages.common.plan import TokenizerPlan
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders
from stages.fit.core.head import Problem, Rows
from stages.fit.heads.zero_shot import ZeroShot
from stages.ingest.core.tokenizer import trained

PROMPTS = {"b": "blue as the sky", "r": "red", "g": "green green grass"}
CLASSES = ["b", "g", "r"]


@pytest.fixture
def encoder(tmp_path: Any) -> encoders.Encoder:
    plan = TokenizerPlan("words", 60)
    (tmp_path / TOKENIZER).write_text(trained(lambda: iter(PROMPTS.values()), plan).to_str())
    torch.manual_seed(0)
    arguments = {"dim": 6, "depth": 1, "heads": 2, "pool": "mean"}
    column = Column("text", "media", "text")
    return encoders.new(Part("tokens", {"length": 8}), Part("text_transformer", arguments), column, tmp_path).eval()


def problem(encoder: encoders.Encoder, x: torch.Tensor, classes: list[str] = CLASSES) -> Problem:
    rows = Rows(np.arange(len(x)), np.zeros(len(x), np.int32), x, torch.zeros(len(x), dtype=torch.int64))
    material: Any = SimpleNamespace(encoder=lambda: encoder)
    return Problem(0, "all", rows, rows, rows, classes, material=material)


def embedded(encoder: encoders.Encoder, text: str) -> torch.Tensor:
    from tokenizers import Tokenizer

    library = Tokenizer.from_file(str(encoder.frontend.keeps[TOKENIZER]))
    with torch.no_grad():
        return encoder(torch.tensor([library.encode(text).ids]))[0]


def head(prompts: dict[str, str] = PROMPTS, **arguments: Any) -> ZeroShot:
    made: ZeroShot = registry.make("head", Part("zero_shot", {"prompts": prompts, **arguments}))
    return made


def test_each_item_takes_the_class_whose_prompt_lies_at_the_least_angle(encoder: encoders.Encoder) -> None:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    outcome = head(temperature=0.5).fit(problem(encoder, x))
    assert outcome.prediction is not None and outcome.score is not None
    names = [embedded(encoder, PROMPTS[c]).double().numpy() for c in CLASSES]
    for row, got, score in zip(x.double().numpy(), outcome.prediction.tolist(), outcome.score.numpy(), strict=True):
        cosines = [float(row @ e / np.sqrt(row @ row) / np.sqrt(e @ e)) for e in names]
        assert got == int(np.argmax(cosines))
        grown = np.exp(np.array(cosines) / 0.5)
        np.testing.assert_allclose(score, grown / grown.sum(), rtol=1e-4)
    assert len(set(outcome.prediction.tolist())) == 3


def test_a_prompt_of_its_own_is_found_and_labels_are_not_read(encoder: encoders.Encoder) -> None:
    x = torch.stack([embedded(encoder, PROMPTS[c]) * 3 for c in CLASSES])
    given = problem(encoder, x)
    outcome = head().fit(given)
    assert outcome.prediction is not None and outcome.prediction.tolist() == [0, 1, 2]
    other = Rows(given.train.ids, given.train.index, -x, given.train.target)
    again = head().fit(Problem(0, "all", other, other, given.test, CLASSES, material=given.material))
    assert again.prediction is not None and again.prediction.tolist() == [0, 1, 2]


def test_what_does_not_fit_is_refused(encoder: encoders.Encoder) -> None:
    x = torch.randn(3, 6)
    with pytest.raises(UserError, match="class 'y' has no prompt"):
        head().fit(problem(encoder, x, [*CLASSES, "y"]))
    with pytest.raises(UserError, match="class 'r' has no prompt, or a prompt no class"):
        head().fit(problem(encoder, x, ["b", "g"]))
    with pytest.raises(ContractError, match="prompts have 6 numbers, features 5"):
        head().fit(problem(encoder, torch.randn(3, 5)))
    encoder.frontend.contract["kind"] = "image"
    with pytest.raises(UserError, match="the encoder reads no texts"):
        head().fit(problem(encoder, x))
    for wrong in ({"a": "only one"}, {"a": "x", "b": " "}):
        with pytest.raises(UserError, match="a text for each of two classes or more"):
            head(wrong)
    with pytest.raises(UserError, match="a temperature above 0"):
        head(temperature=0.0)
