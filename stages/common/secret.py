"""No secret in a plan: it is committed, and its values reach records, MLflow and the report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from stages.common.errors import UserError

_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://[^/@\s:]*:[^/@\s]+@")  # scheme://user:password@
_SIGNED = re.compile(r"[?&](token|access_token|api_key|sig|signature|x-amz-signature|x-goog-signature)=[^&]", re.IGNORECASE)
_WORDS = {"password", "passwd", "secret", "token", "credential", "credentials"}  # one of a key's words
_KEYS = {"account_key", "access_key", "api_key", "private_key", "connection_string"}  # a whole key
_DO = "keep it out of the plan: ~/.netrc, ~/.pgpass, ~/.aws/credentials, or the environment variables of the library at hand"


def refuse(data: Mapping[str, Any]) -> None:
    """Raises UserError naming the key where an address holds a password, or a part's `options` a secret. Shows neither."""
    for path, key, value, among_options in _leaves(data, "", False):
        if isinstance(value, str) and _ADDRESS.search(value):
            raise UserError("the address holds a password", where=path, do=_DO)
        if isinstance(value, str) and _SIGNED.search(value):
            raise UserError("the address holds a token or a signature", where=path, do=_DO)
        name = key.lower().replace("-", "_")
        if among_options and value and (name in _KEYS or _WORDS & set(name.split("_"))):
            raise UserError("this option is a secret", where=path, do=_DO)


def _leaves(value: Any, path: str, among_options: bool) -> Iterator[tuple[str, str, Any, bool]]:
    """(path, last key, value, whether it lies below a key `options`) of everything that is no mapping or list."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key), among_options or key == "options")
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{path}[{i}]", among_options)
    else:
        yield path, re.split(r"[.\[]", path)[-1], value, among_options
