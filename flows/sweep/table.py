"""A sweep in print: the variants with their values and figures, the chosen one marked, and what the probe says of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flows.sweep.figures import Figure, Figures, Measure
from flows.sweep.selection import Choice, Pick
from stages.common.variant import brief

if TYPE_CHECKING:
    from rich.table import Table

CHOSEN, PROBES = "*", "+"


def show(found: Figures, choice: Choice | None, oracle: Measure | None) -> None:
    """Prints the table and what was chosen; plain columns where standard output is no terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=400, highlight=False)  # columns take what they need, and no line is broken
    console.print(table(found, choice, oracle, plain=not console.is_terminal))
    for line in words(found, choice):
        console.print(line, markup=False, soft_wrap=True)


def table(found: Figures, choice: Choice | None, oracle: Measure | None, *, plain: bool) -> Table:
    """One row a variant."""
    from rich.markup import escape
    from rich.table import Table

    shown = found.shown(choice.by.measure if choice else None, oracle)
    keys = brief(list(found.variants[0].values))
    sheet = Table(box=None, pad_edge=False, header_style="") if plain else Table()
    for title in ("", "variant", *keys.values()):
        sheet.add_column(escape(title))
    for measure in shown:
        sheet.add_column(escape(f"{measure.title}{' (labels)' if measure.sees_labels else ''}"), justify="right")
    for i, (variant, row) in enumerate(zip(found.variants, found.table)):
        values = [said(variant.values[key]) for key in keys]
        sheet.add_row(_mark(i, choice), escape(variant.name), *map(escape, values), *(cell(row[m]) for m in shown))
    return sheet


def words(found: Figures, choice: Choice | None) -> list[str]:
    """What was chosen and by what; the probe's own choice, and the gap between them."""
    if choice is None:
        return []
    by, oracle = choice.by, choice.oracle
    how = "which sees labels" if by.measure.sees_labels else "no label seen"
    by_what = f"{by.measure.title} ({by.measure.source}; {how})"
    if by.index is None:
        return [f"nothing is chosen by {by_what}: no variant has a finite value of every seed"]
    lines = [f"{CHOSEN} chosen by {by_what}: {_reached(found, by, by.index)}"]
    if by.ties:
        lines.append(f"  as good: {', '.join(found.variants[i].name for i in by.ties)}; the first is taken")
    if by.unfit:
        lines.append(f"  not eligible, a seed is missing or not finite: {', '.join(found.variants[i].name for i in by.unfit)}")
    if oracle is None or oracle.index is None:
        return [*lines, "  no probe to compare with"]
    probe = f"{oracle.measure.title} ({oracle.measure.source}; which sees labels)"
    if oracle.index == by.index:
        return [*lines, f"{PROBES} {probe} would have chosen the same: {_reached(found, oracle, by.index)}"]
    lines.append(f"{PROBES} {probe} would have chosen {_reached(found, oracle, oracle.index)}")
    spread = "" if choice.spread is None else f" ± {choice.spread:.3f}"
    told = found.table[by.index][oracle.measure]
    gap = "" if choice.behind is None else f", {choice.behind:.3f}{spread} behind over {len(choice.gap)} seeds"
    return [*lines, f"  there the chosen one reaches {cell(told)}{gap}"]


def cell(figure: Figure) -> str:
    """Mean ± standard deviation over seeds; how many seeds, where some are missing."""
    if figure.mean is None:
        return "none"
    spread = "" if figure.std is None else f" ± {_number(figure.std, figure.mean)}"
    missing = "" if figure.whole else f" ({len(figure.finite)} of {len(figure.values)} seeds)"
    return f"{_number(figure.mean, figure.mean)}{spread}{missing}"


def said(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, dict) and "name" in value:
        return str(value["name"])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _mark(index: int, choice: Choice | None) -> str:
    if choice is None:
        return ""
    oracle = choice.oracle.index if choice.oracle else None
    return CHOSEN * (index == choice.by.index) + PROBES * (index == oracle)


def _reached(found: Figures, of: Pick, index: int) -> str:
    return f"{found.variants[index].name}, {cell(found.table[index][of.measure])}"


def _number(value: float, mean: float) -> str:
    return f"{value:.1f}" if abs(mean) >= 10 else f"{value:.3f}"
