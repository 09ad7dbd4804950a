"""What can be seen of a corpus' source without reading it all, and its digest where that changed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stages.common import atomic
from stages.common.errors import UserError
from stages.common.plan import CorpusPlan
from stages.common.workspace import Workspace

ANSWER_S = 60.0


@dataclass(frozen=True)
class Sighting:
    """glance: a digest of the outside (paths, sizes, times; or what a server says of the file). digest: of the content."""

    source: str  # a digest of the plan's source: a changed plan is no changed source
    glance: str
    digest: str


def fixed(plan: CorpusPlan) -> str:
    """Why a source cannot change while the plan stays, or nothing."""
    source = plan.source
    if source.name == "git":
        return f"it is pinned to commit {source.args.get('commit')}"
    if source.name == "url" and source.args.get("sha256"):
        return "it is pinned by its SHA-256"
    if source.name in ("folder", "url"):
        return ""
    return f"a source of kind {source.name!r} is part of the plan and the installation"


def glance(plan: CorpusPlan) -> str:
    """The outside of a `folder` or `url` source; empty where nothing can be told without reading it. Raises UserError."""
    args = plan.source.args
    if plan.source.name == "folder":
        return _folder(Path(str(args["path"])).expanduser(), args.get("include") or ["*"], args.get("exclude") or [])
    url = str(args["url"])
    if urlsplit(url).scheme in ("http", "https"):
        return _web(url)
    return _other(url if urlsplit(url).scheme else f"file://{Path(url).absolute()}", args.get("options") or {})


def digest(plan: CorpusPlan, workspace: Workspace) -> str:
    """The content's digest, as ingest takes it: reads a folder, fetches a file. Raises UserError."""
    from stages.ingest.core.gather import open_source
    from stages.ingest.core.item import Context

    mirror = os.environ.get("PRELUDE_MIRROR")
    context = Context(workspace.state / "downloads", Path(mirror).expanduser() if mirror else None)
    return open_source(plan, context).digest


def _folder(root: Path, include: list[str], exclude: list[str]) -> str:
    from stages.ingest.core.files import FolderFiles
    from stages.ingest.core.patterns import matching

    if not root.is_dir():
        raise UserError("the folder does not exist", where=root, do="mount it, or correct the corpus' source")
    seen = hashlib.sha256()
    for file in FolderFiles(root, matching(include, exclude)).each():
        about = (root / file.path).stat()
        seen.update(f"{file.path}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    return seen.hexdigest()


def _web(url: str) -> str:
    """What the server says of the file: ETag, Last-Modified, length. Nothing of use: an empty text."""
    import requests  # 0.1 s

    try:
        answer = requests.head(url, timeout=ANSWER_S, allow_redirects=True, headers={"Accept-Encoding": "identity"})
    except requests.RequestException as error:
        what = f"the address cannot be reached ({type(error).__name__})"
        raise UserError(what, where=url, do="check the network, or the address") from None
    told = {name: answer.headers.get(name) for name in ("ETag", "Last-Modified", "Content-Length")}
    if answer.status_code != 200 or not (told["ETag"] or told["Last-Modified"]):
        return ""
    return atomic.digest_json(told)


def _other(url: str, options: dict[str, Any]) -> str:
    import fsspec

    try:
        files, path = fsspec.core.url_to_fs(url, **options)
        files.invalidate_cache()
        return str(files.ukey(path))
    except NotImplementedError:
        return ""
    except ImportError as error:
        raise UserError(f"no file system is installed for this address: {error}", where=url, do="install it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"the address cannot be read ({type(error).__name__})", where=url, do="check it") from None
