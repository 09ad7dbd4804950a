"""How figures read on the page: significant digits, durations, sizes."""

from __future__ import annotations

from typing import Any

NOTHING = "–"


def number(value: Any) -> str:
    """A figure in about four significant digits: 0.913, 23.4, 1,280, 3.1e-05; a dash for none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value != value:
        return NOTHING
    if value < 0:
        return f"−{number(-value)}"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if isinstance(value, int):
        return str(value)
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.3f}" if size >= 0.001 or size == 0 else f"{value:.1e}"


def spread(std: Any, mean: Any) -> str:
    """A standard deviation to as many decimals as its mean is written with."""
    if isinstance(std, float) and isinstance(mean, (int, float)) and abs(mean) >= 10 and std < 10:
        return f"{std:.1f}"
    return number(std)


def signed(value: Any) -> str:
    """A number with its sign."""
    text = number(value)
    return text if text == NOTHING or text.startswith("−") else f"+{text}"


def better(higher: bool | None) -> str:
    """An arrow to where a metric is better, nothing where neither way is."""
    return {True: "↑", False: "↓"}.get(higher, "") if higher is not None else ""


def duration(seconds: Any) -> str:
    """4.2 s, 3 min 10 s, 2 h 5 min."""
    if not isinstance(seconds, (int, float)):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def memory(mebibytes: Any) -> str:
    """Mebibytes in a unit that suits them."""
    if not isinstance(mebibytes, (int, float)):
        return NOTHING
    return f"{mebibytes / 1024:.1f} GiB" if mebibytes >= 1024 else f"{mebibytes:.0f} MiB"


def share(label_share: str) -> str:
    """A label share in words: "5" is 5 labels per class."""
    return f"{label_share} per class" if label_share.isdigit() else label_share


def labels(label_share: str) -> str:
    """The same in a sentence."""
    if label_share.isdigit():
        return f"{label_share} labels per class"
    return f"{label_share} of the labels" if label_share.endswith("%") else f"{label_share} labels"


def rank(label_share: str) -> float:
    """A number that sorts label shares from few labels to all."""
    if label_share.isdigit():
        return float(label_share)
    return 1e6 + float(label_share.removesuffix("%")) if label_share.endswith("%") else 2e6


def middle(text: str, length: int) -> str:
    """Text cut to a length in its middle: a variant begins as its base and ends with what tells it from others."""
    head = length // 3
    return text if len(text) <= length else f"{text[:head]}…{text[head + 1 - length :]}"


def ellipsis(text: str, length: int) -> str:
    """Text cut to a length."""
    return text if len(text) <= length else text[: length - 1] + "…"
