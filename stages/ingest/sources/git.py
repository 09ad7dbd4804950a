"""Files of a public Git repository at a fixed commit, checked against one digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.download import Limits, fetch, kept_as
from stages.ingest.core.files import FileList, Files, FolderFiles, HeadFiles, TarFiles, hashed
from stages.ingest.core.item import Context, Source
from stages.ingest.core.patterns import expand, is_literal, matching


@part
class GitSource(Source):
    """Files of `repo` (owner/name) at `commit` whose paths match `include` and not `exclude`.

    Patterns are fnmatch over the whole path, with braces. digest: SHA-256 over the sorted lines `<sha256>  <path>` of the
    files taken, whether they come from a mirror or the network.
    slug: the folder of the mirror, `<mirror>/<slug>/`, holding the files or one `<slug>.tar.gz`; taken where it is there.
    heads: {pattern: bytes}, where only so many first bytes of a file are wanted. mirror_folders: {prefix there: prefix here},
    where the mirror keeps some files in another folder. raw, tarball: how the forge addresses a file and a whole tree: paths
    without wildcards are fetched one by one, else the tree's tarball is.
    """

    name = "git"

    def __init__(
        self,
        context: Context,
        *,
        slug: str,
        repo: str,
        commit: str,
        include: list[str],
        digest: str,
        exclude: list[str] | None = None,
        heads: dict[str, int] | None = None,
        mirror_folders: dict[str, str] | None = None,
        raw: str = "https://raw.githubusercontent.com/{repo}/{commit}/{path}",
        tarball: str = "https://codeload.github.com/{repo}/tar.gz/{commit}",
        max_bytes: int = 20 << 30,
    ) -> None:
        wanted = matching(include, exclude or [])
        limits = Limits(max_bytes)
        fetched: list[Path] = []
        mirrored = context.mirror / slug if context.mirror else None
        if mirrored is not None and mirrored.is_dir():
            files = _mirror(mirrored, slug, wanted, mirror_folders or {})
        elif all(is_literal(p) for p in expand(include)):
            files, fetched = _one_by_one(context, [p for p in expand(include) if wanted(p)], raw, repo, commit, limits)
        else:
            files, fetched = _tree(context, tarball.format(repo=repo, commit=commit), wanted, limits)
        self._files, self.digest = hashed(HeadFiles(files, heads) if heads else files)
        count = len(self._files.paths)
        if self.digest != digest:
            for path in fetched:
                path.unlink(missing_ok=True)
            raise UserError(
                f"the {count} files have digest {self.digest}, the plan says {digest}",
                where=f"{repo}@{commit}" if mirrored is None or not mirrored.is_dir() else f"{slug} in PRELUDE_MIRROR",
                do=f"run it again; if these files are meant, write `digest: {self.digest}`",
            )
        self.about: dict[str, Any] = {"repo": repo, "commit": commit, "files": count}

    def files(self) -> Files:
        return self._files


def _mirror(folder: Path, slug: str, wanted: Any, folders: dict[str, str]) -> Files:
    packed = folder / f"{slug}.tar.gz"
    if packed.is_file():
        return TarFiles(packed, wanted, refuse_links=False)
    paths: dict[str, Path] = {}
    for file in FolderFiles(folder).each():
        path = file.path
        for there, here in folders.items():
            if path.startswith(there):
                path = here + path.removeprefix(there)
        if wanted(path):
            paths[path] = folder / file.path
    return FileList(paths)


def _one_by_one(
    context: Context, paths: list[str], raw: str, repo: str, commit: str, limits: Limits
) -> tuple[Files, list[Path]]:
    import requests  # only where something is fetched

    found: dict[str, Path] = {}
    with requests.Session() as session:
        for path in paths:
            url = raw.format(repo=repo, commit=commit, path=quote(path))
            found[path] = kept_as(context.downloads, url)
            if not found[path].is_file():  # the commit fixes the content, and the digest checks it
                fetch(url, found[path], limits, session)
    return FileList(found), list(found.values())


def _tree(context: Context, url: str, wanted: Any, limits: Limits) -> tuple[Files, list[Path]]:
    kept = kept_as(context.downloads, url)
    if not kept.is_file():
        fetch(url, kept, limits)
    return TarFiles(kept, wanted, skip_root=True, refuse_links=False), [kept]
