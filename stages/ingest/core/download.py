"""Downloads into a folder that is no output: whole or not at all, with limits of size and time, never redirected to a file."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from stages.common.errors import UserError

_BLOCK = 1 << 20
_REDIRECTS = 5


@dataclass(frozen=True)
class Limits:
    """max_bytes of one download; seconds until the server must answer (or send more), and until all must be there."""

    max_bytes: int = 1 << 40
    answer_s: float = 60.0
    total_s: float = 6 * 3600.0


def kept_as(folder: Path, url: str) -> Path:
    """Where a download lies: its own name behind a digest of the whole address."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", urlsplit(url).path.rpartition("/")[2])[-80:].lstrip(".") or "file"
    return folder / hashlib.sha256(url.encode()).hexdigest()[:16] / name


def fetch(url: str, target: Path, limits: Limits, session: Any = None, options: dict[str, Any] | None = None) -> str:
    """Downloads `url` to `target` through a temporary file and returns its SHA-256. Raises UserError.

    http and https go through requests (`session` keeps connections open); every other scheme through fsspec with `options`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.part-{os.getpid()}")
    digest, size, started = hashlib.sha256(), 0, time.monotonic()
    web = urlsplit(url).scheme in ("http", "https")
    blocks = _web(url, limits, session) if web else _other(url, options or {})
    try:
        with temporary.open("wb") as file:
            for block in blocks:
                size += len(block)
                if size > limits.max_bytes:
                    raise UserError(f"the download exceeds {limits.max_bytes} bytes", where=url, do="raise `max_bytes`")
                if time.monotonic() - started > limits.total_s:
                    raise UserError(f"the download took over {limits.total_s:g} s", where=url, do="raise `total_s`")
                digest.update(block)
                file.write(block)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return digest.hexdigest()


def _web(url: str, limits: Limits, session: Any) -> Iterator[bytes]:
    import requests  # only where something is fetched
    import urllib3

    session = session or requests.Session()
    try:
        response = _follow(url, limits, session)
        with response:
            if response.status_code != 200:
                raise UserError(f"the server answers {response.status_code}", where=url, do="check the address")
            expected = response.headers.get("Content-Length")
            if expected and expected.isdigit() and int(expected) > limits.max_bytes:
                raise UserError(f"the download has {expected} bytes, more than allowed", where=url, do="raise `max_bytes`")
            response.raw.decode_content = False  # the file as it lies there: a .gz stays a .gz
            while block := response.raw.read(_BLOCK):  # urllib3 raises where the server sends less than it stated
                yield block
    except requests.RequestException as error:
        raise UserError(
            f"the address cannot be reached ({type(error).__name__})",
            where=url,
            do="check the network, or set PRELUDE_MIRROR to a folder of mirrored corpora",
        ) from None
    except (urllib3.exceptions.HTTPError, OSError) as error:  # reading the raw stream raises urllib3's own
        raise UserError(f"the download broke off ({type(error).__name__})", where=url, do="run it again") from None


def _follow(url: str, limits: Limits, session: Any) -> Any:
    at = url
    for _ in range(_REDIRECTS + 1):
        response = session.get(
            at, stream=True, timeout=limits.answer_s, allow_redirects=False, headers={"Accept-Encoding": "identity"}
        )
        if response.status_code not in (301, 302, 303, 307, 308):
            return response
        onward = urljoin(at, response.headers.get("Location", ""))
        response.close()
        before, after = urlsplit(at).scheme, urlsplit(onward).scheme
        if after not in ("http", "https") or (before, after) == ("https", "http"):
            raise UserError(f"the server redirects from {before} to {after or 'nowhere'}", where=url, do="use another address")
        at = onward
    raise UserError(f"the server redirects more than {_REDIRECTS} times", where=url)


def _other(url: str, options: dict[str, Any]) -> Iterator[bytes]:
    import fsspec  # only where something is fetched

    try:
        with fsspec.open(url, "rb", **options) as stream:
            while block := stream.read(_BLOCK):
                yield block
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f"no file system is installed for this address: {error}", where=url, do="install it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"the address cannot be read ({type(error).__name__})", where=url, do="check it") from None
