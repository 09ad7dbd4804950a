"""A folder of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.files import Files, FolderFiles, hashed
from stages.ingest.core.item import Context, Source
from stages.ingest.core.patterns import matching


@part
class FolderSource(Source):
    """All files under `path`, sorted; `include` and `exclude` are patterns over paths relative to it (`*` spans `/`).

    The card names the digest over the files, not where they lay.
    """

    name = "folder"

    def __init__(
        self, context: Context, *, path: str, include: list[str] | None = None, exclude: list[str] | None = None
    ) -> None:
        root = Path(path).expanduser()
        if not root.is_dir():
            what = "is no folder" if root.exists() else "does not exist"
            raise UserError(f"the folder {what}", where=root, do="write the path from the workspace's root, or a whole one")
        self._files, self.digest = hashed(FolderFiles(root, matching(include or ["*"], exclude or [])))
        self.about: dict[str, Any] = {"files": len(self._files.paths)}

    def files(self) -> Files:
        return self._files
