from __future__ import annotations

import os
import urllib.request

import pytest

from flows.loopback import spare_loopback


@pytest.mark.parametrize(
    ("lower", "upper", "becomes"),
    [
        (None, None, "127.0.0.1,localhost"),
        (None, "intranet, .example", "intranet,.example,127.0.0.1,localhost"),
        ("localhost,intranet", "ignored", "localhost,intranet,127.0.0.1"),
        ("*", None, "*"),
    ],
)
def test_loopback_joins_what_the_environment_spares(
    monkeypatch: pytest.MonkeyPatch, lower: str | None, upper: str | None, becomes: str
) -> None:
    monkeypatch.setenv("no_proxy", ""), monkeypatch.setenv("NO_PROXY", "")  # both as before when the test is over
    for name, value in {"no_proxy": lower, "NO_PROXY": upper, "http_proxy": "http://proxy.example:3128"}.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    spare_loopback()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == becomes
    assert urllib.request.proxy_bypass("127.0.0.1:4200") and urllib.request.proxy_bypass("localhost:4200")
