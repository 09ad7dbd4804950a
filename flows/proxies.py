"""A proxy that the environment names is for other machines: servers on this one are asked directly."""

from __future__ import annotations

import os

LOOPBACK = ("127.0.0.1", "localhost")


def spare_loopback() -> None:
    """Adds loopback's names to `no_proxy`, for this process and those that it starts."""
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if listed.strip() != "*":  # which spares every host, and only stands alone
        names = [name.strip() for name in listed.split(",") if name.strip()]
        listed = ",".join(dict.fromkeys([*names, *LOOPBACK]))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = listed
