"""Resumable state on disk: nested dicts, lists and tensors as one safetensors file and one JSON file, no pickle.

step=<n>/state.json holds the structure, in which a tensor is {"tensor": its name in state.safetensors}. Folders are written
whole (temporary folder, fsync, rename), so a killed run leaves the last whole one.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialised
from torch import Tensor

from stages.common import atomic
from stages.common.errors import ContractError

STRUCTURE, TENSORS = "state.json", "state.safetensors"
_KINDS = (bool, int, float, str, type(None))


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Writes the state after `step` steps, then drops earlier ones."""
    tensors: dict[str, Tensor] = {}
    structure = _pack(state, "state", tensors)
    target = folder / f"step={step:010d}"
    with atomic.replacing(target) as temporary:
        (temporary / TENSORS).write_bytes(serialised(tensors))  # not save_file, whose errors do not say that a disk is full
        atomic.write_json(temporary / STRUCTURE, structure)
    for other in folder.glob("step=*"):
        if other.name < target.name:
            shutil.rmtree(other, ignore_errors=True)


def latest(folder: Path) -> dict[str, Any] | None:
    """The state of the newest whole snapshot, or None where there is none. Damaged ones are passed over."""
    for path in sorted(folder.glob("step=*"), reverse=True):
        try:
            if atomic.damaged(path):
                continue
            state: dict[str, Any] = _unpack(atomic.read_json(path / STRUCTURE), load_file(str(path / TENSORS)))
            return state
        except (ContractError, SafetensorError, OSError, KeyError):
            continue
    return None


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """The structure as JSON values. Keys keep their type (optimisers number their states), tuples stay tuples."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[key, _pack(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [_pack(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if not isinstance(value, _KINDS):
        raise TypeError(f"{path}: a {type(value).__name__} cannot be kept in a snapshot")
    return value


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpack(item, tensors) for key, item in content}
    items = [_unpack(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
