"""Objects of DVC's cache: whether the workspace's files may become them again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvc.output import Output


def unaltered(out: Output) -> bool:
    """Whether files of a hashed output that the cache lacks have the content of their hash: DVC remembers it, unlooked."""
    from dvc_data.hashfile.tree import Tree

    root, tree = Path(out.fs_path), out.obj
    entries = [(root.joinpath(*key), info) for key, _, info in tree] if isinstance(tree, Tree) else [(root, out.hash_info)]
    for path, info in entries:
        if not out.cache.exists(info.value):
            with path.open("rb") as file:
                if hashlib.file_digest(file, "md5").hexdigest() != info.value:
                    return False
    return True
