"""No secret in a plan: refused by its key, and not shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages.common import plan, secret
from stages.common.errors import UserError
from tests.toy import plan_with

HIDDEN = "hunter2"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("corpora__digits__source", {"name": "url", "url": f"https://me:{HIDDEN}@example.org/a.zip"}),
        ("corpora__digits__source", {"name": "url", "url": f"https://example.org/a.zip?x=1&X-Amz-Signature={HIDDEN}"}),
        ("corpora__digits__source", {"name": "url", "url": "s3://b/a.zip", "options": {"secret": HIDDEN}}),
        (
            "corpora__digits__source",
            {"name": "url", "url": "s3://b/a", "options": {"client_kwargs": {"aws_secret_access_key": HIDDEN}}},
        ),
        ("corpora__digits__source", {"name": "url", "url": "az://b/a", "options": {"sas_token": HIDDEN}}),
        ("tracking__uri", f"postgresql://me:{HIDDEN}@db/mlflow"),
    ],
)
def test_a_secret_is_refused_by_its_key_and_not_shown(tmp_path: Path, path: str, value: Any) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(plan_with(**{path: value})))
    with pytest.raises(UserError) as caught:
        plan.load(tmp_path / "plan.json")
    assert caught.value.where.startswith(path.replace("__", ".")) and "out of the plan" in caught.value.do
    assert HIDDEN not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        {"url": "https://example.org/a:b@c.zip?page=2", "uri": "sqlite:///mlflow.db", "text": "ratio 3:1 @ noon"},
        {"url": "ssh://git@example.org/repo.git", "tokenizer": {"kind": "words"}, "token": "cls"},
        {"options": {"anon": True, "token": None, "key": "a name", "tokens": 3}},
    ],
)
def test_what_only_looks_alike_passes(value: dict[str, Any]) -> None:
    secret.refuse(value)
