"""How much memory is free, so that a corpus too large for it is refused before it is decoded."""

from __future__ import annotations

from pathlib import Path

import torch

from stages.common.errors import UserError

SHARE = 0.5  # of the free memory that media may take


_WHOLE = (
    "train from a stream of the corpus (`stream: {}` in the encoder), ingest fewer items (`limit:`), make them smaller in the "
    "front end, or use a machine with more memory"
)


def check_fits(size: int, device: str, where: Path, what: str = "decoded, the media", do: str = _WHOLE) -> None:
    """Raises UserError if `size` bytes of media exceed half of the free memory of the device (`cpu` or `cuda`)."""
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else free_memory()
    if size > SHARE * free:
        raise UserError(
            f"{what} take {size / 2**30:.2f} GB; {free / 2**30:.2f} GB are free and half of that may be used",
            where=where,
            do=do,
        )


def free_memory() -> int:
    """Bytes to be had without swapping: the kernel's estimate, or what the control group leaves where that is less."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text().strip(), int((group / "memory.current").read_text())
        cache = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())["inactive_file"]
        if limit != "max":
            found.append(int(limit) - used + int(cache))
    except (OSError, KeyError, ValueError):
        pass  # no control group of version 2
    return min(found)
