"""Span infilling: a text with spans of its symbols taken out, and the text as it is."""

from __future__ import annotations

from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input, Padded
from stages.views.core.base import Key
from stages.views.core.infilling import check, infilled


@part
class SpanInfilling:
    """data (B, T) of symbols -> [corrupted, original], both `Padded` (B, T): what a denoising objective reads and writes.

    Lewis et al. 2020, "BART", sec. 2.2 ("text infilling"), whose published models hide 30% of the symbols in spans of mean
    length 3 (sec. 3.2 and 4); `stages.views.core.infilling` says how. share: of an item's symbols. mean: of a span's length.
    Raises UserError for a front end without a tokenizer, or values out of range.
    """

    def __init__(self, frontend: Frontend, *, share: float = 0.3, mean: float = 3.0) -> None:
        check(share, mean, "views span_infilling")
        if not frontend.contract.get("tokenizer"):
            raise UserError("symbols of a text are hidden, and there are none", where="views span_infilling", do="use `tokens`")
        self.frontend, self.share, self.mean = frontend, share, mean

    def __call__(self, data: Tensor, lengths: Tensor | None, key: Key) -> list[Input]:
        x = self.frontend(data, lengths)
        if not isinstance(x, Padded):
            raise UserError(
                "the texts come without their lengths", where="views span_infilling", do="use the front end `tokens`"
            )
        return [infilled(x, key, share=self.share, mean=self.mean), x]
