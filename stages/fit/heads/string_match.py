"""String match: retrieval without a network, by how two texts are spelt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch

from stages.common.errors import UserError
from stages.common.registry import part
from stages.fit.core.head import Outcome, Problem

_ROWS = 256  # queries compared at once


@part
class StringMatch:
    """Each test item takes the class of the text of the splits `dictionary` that is spelt most alike; features are not read.

    edit: 1 - d / max(lengths), d the edits (insertions, deletions, substitutions of a character) that turn one text into the
    other (Levenshtein 1966). ngrams: the cosine of counts of the `ngrams` (shortest, longest) characters within words, weighed
    by the logarithm of how few entries have them (Salton and Buckley 1988); scikit-learn's TfidfVectorizer. Letter case is left
    out of both. The prediction, the values accuracy_at_<k> and the order of equals are those of the head `retrieval`.

    column: the text. Raises UserError where a text is missing, for arguments out of range, or where the library (rapidfuzz,
    scikit-learn) is not installed.
    """

    label: Literal["class", "number"] | None = "class"

    def __init__(
        self,
        *,
        by: Literal["edit", "ngrams"] = "edit",
        column: str = "text",
        ngrams: tuple[int, int] = (2, 4),
        dictionary: tuple[str, ...] = ("train",),
        at: tuple[int, ...] = (5,),
    ) -> None:
        if not dictionary or (at and min(at) < 1) or not 1 <= ngrams[0] <= ngrams[1]:
            raise UserError(
                "name a split or more as `dictionary`, numbers of 1 or more in `at`, and [shortest, longest] as `ngrams`",
                where="head string_match",
            )
        self.by, self.column, self.ngrams, self.dictionary, self.at = by, column, ngrams, dictionary, at

    def fit(self, problem: Problem) -> Outcome:
        entries = [problem.split(name) for name in self.dictionary]
        label = torch.cat([rows.labels for rows in entries]).cpu()
        bank = self._texts(problem, np.concatenate([rows.ids for rows in entries]))
        queries, k = self._texts(problem, problem.test.ids), max((1, *self.at))
        blocks = _edit(bank, queries) if self.by == "edit" else _ngrams(bank, queries, self.ngrams)
        found = torch.cat([torch.from_numpy(s).sort(stable=True, dim=1, descending=True).indices[:, :k] for s in blocks])
        hit = label[found] == problem.test.labels.cpu().unsqueeze(1)
        values = {f"accuracy_at_{k}": float(hit[:, :k].any(1).double().mean()) for k in self.at}
        items = len(set(problem.test.ids.tolist()))
        return Outcome(prediction=label[found[:, 0]], values=values, items=items, details={"entries": len(bank)})

    def _texts(self, problem: Problem, ids: np.ndarray) -> list[str]:
        found: list[Any] = problem.input.values(self.column, ids)
        if not all(isinstance(text, str) for text in found):
            raise UserError(f"column {self.column!r} does not hold a text for every item", where="head string_match.column")
        return [text.lower() for text in found]


def _edit(bank: list[str], queries: list[str]) -> Iterator[np.ndarray]:
    """Similarities (rows, N) of block after block of queries."""
    try:
        from rapidfuzz import process
        from rapidfuzz.distance import Levenshtein
    except ImportError:
        raise _missing("rapidfuzz") from None
    for start in range(0, len(queries), _ROWS):
        chosen = queries[start : start + _ROWS]
        yield process.cdist(chosen, bank, scorer=Levenshtein.normalized_similarity, dtype=np.float32, workers=1)


def _ngrams(bank: list[str], queries: list[str], ngrams: tuple[int, int]) -> Iterator[np.ndarray]:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise _missing("scikit-learn") from None
    weigh = TfidfVectorizer(analyzer="char_wb", ngram_range=ngrams, lowercase=False)
    entries = weigh.fit_transform(bank).T.tocsr()
    asked = weigh.transform(queries)
    for start in range(0, len(queries), _ROWS):
        yield (asked[start : start + _ROWS] @ entries).toarray()


def _missing(package: str) -> UserError:
    return UserError(f"the package {package!r} is not installed", where="head string_match", do=f"install {package}")
