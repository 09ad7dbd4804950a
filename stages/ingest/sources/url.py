"""A file or an archive at an address: http(s), s3, file, and whatever else fsspec knows."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from stages.common.atomic import digest_file
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.download import Limits, fetch, kept_as
from stages.ingest.core.files import FileList, Files, TarFiles, ZipFiles
from stages.ingest.core.item import Context, Source
from stages.ingest.core.patterns import matching


@part
class UrlSource(Source):
    """`url` names one file, or a tar or zip archive whose members are the files (`archive: none` takes an archive as a file).

    sha256: with it, a file fetched once is not fetched again, and one that differs is an error. include, exclude: patterns
    over the paths in the archive. options: for fsspec (`{anon: true}` for a public bucket); never put secrets there, the plan
    is committed. An archive may not unpack to more than `max_bytes`; links in it are refused.
    """

    name = "url"

    def __init__(
        self,
        context: Context,
        *,
        url: str,
        sha256: str | None = None,
        archive: Literal["auto", "none"] = "auto",
        include: list[str] | None = None,
        exclude: list[str] | None = None,
        options: dict[str, Any] | None = None,
        max_bytes: int = 100 << 30,
        answer_s: float = 60.0,
        total_s: float = 6 * 3600.0,
    ) -> None:
        where = url if urlsplit(url).scheme else f"file://{Path(url).absolute()}"
        kept = kept_as(context.downloads, url)
        if sha256 is None or not kept.is_file() or digest_file(kept) != sha256:
            self.digest = fetch(where, kept, Limits(max_bytes, answer_s, total_s), options=options)
        else:
            self.digest = sha256
        if sha256 is not None and self.digest != sha256:
            kept.unlink()
            raise UserError(
                f"the file has SHA-256 {self.digest}, the plan says {sha256}",
                where=url,
                do=f"if the new file is meant, write `sha256: {self.digest}`",
            )
        self.about: dict[str, Any] = {"url": url if "://" in url and not url.startswith("file:") else Path(url).name}
        wanted = matching(include or ["*"], exclude or [])
        self._files: Files = FileList({kept.name: kept})
        if archive == "auto" and tarfile.is_tarfile(kept):
            self._files = TarFiles(kept, wanted, max_bytes=max_bytes)
        elif archive == "auto" and zipfile.is_zipfile(kept) and kept.suffix not in (".npz", ".xlsx"):
            self._files = ZipFiles(kept, wanted, max_bytes=max_bytes)

    def files(self) -> Files:
        return self._files
