"""Servers on this machine: the names they answer to, the ports they may take, and the way to them past proxies."""

from __future__ import annotations

import os
import socket

LOOPBACK = ("127.0.0.1", "localhost")


def spare_loopback() -> None:
    """Adds loopback's names to `no_proxy`, for this process and those that it starts: a proxy is for other machines."""
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if listed.strip() != "*":  # which spares every host, and only stands alone
        names = [name.strip() for name in listed.split(",") if name.strip()]
        listed = ",".join(dict.fromkeys([*names, *LOOPBACK]))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = listed


def free_port(host: str, port: int = 0) -> int:
    """The port, if a server could listen there; 0: any. Raises OSError saying why it could not."""
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: one that just stopped holds nothing
        found.bind((host, port))
        return int(found.getsockname()[1])
