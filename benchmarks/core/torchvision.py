"""torchvision where its compiled operations do not load: their names are declared, so that its transforms can be imported."""

from __future__ import annotations

import importlib
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_NAMED = re.compile(r"""(?:register_meta\(|register_fake\(|register_autograd\(\s*)["'](?:torchvision::)?(\w+)["']""")
_declared: list[Any] = []  # libraries live as long as they are referred to


def load() -> None:
    """Imports torchvision, if it is installed. Where its operations are missing they are declared first; none is called.

    transformers imports it where it finds it, so its models need this too.
    """
    import torch

    if find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except (RuntimeError, AttributeError):
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in sorted(operations()):
            if not hasattr(torch.ops.torchvision, name):
                library.define(f"{name}(Tensor x) -> Tensor")
        _declared.append(library)
        importlib.import_module("torchvision")


def operations() -> set[str]:
    """The operations to which torchvision's Python adds something as it is imported."""
    found = find_spec("torchvision")
    if found is None or found.origin is None:
        raise ImportError("torchvision is not installed")
    folder = Path(found.origin).parent
    return {name for file in folder.glob("_*registrations.py") for name in _NAMED.findall(file.read_text(encoding="utf-8"))}
