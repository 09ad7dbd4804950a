"""The page's content: what each section shows, as plain values that the templates only lay out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from stages.report import curves, exhibits, forest, show, sweeps
from stages.report.audit import audit
from stages.report.collect import Found, Node
from stages.report.lineage import HEIGHT, TOP, WIDTH, Lineage

ASSETS = Path(__file__).parent / "assets"
MLFLOW = "http://127.0.0.1:5000"
VERDICTS = {"holds": "✓", "contradicted": "✕", "open": "○"}


def render(found: Found) -> str:
    """index.html as one text: styles, scripts and data inside, nothing fetched. Text from data is escaped."""
    return lay_out(content(found))


def lay_out(shown: dict[str, Any]) -> str:
    """The same of the page's content."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: list[Callable[..., Any]] = [show.number, show.signed, show.spread, show.better, show.duration, show.memory]
    filters += [show.share, show.labels, show.rank, show.ellipsis, show.middle]
    environment.filters.update({f.__name__: f for f in filters})

    def asset(name: str) -> Markup:  # ours, so not escaped
        return Markup((ASSETS / name).read_text(encoding="utf-8"))

    return environment.get_template("page.html.j2").render(asset=asset, **shown) + "\n"


def content(found: Found) -> dict[str, Any]:
    """Everything the templates name."""
    lineage = Lineage(found.nodes)
    simulated = simulated_tasks(found, lineage)
    systems = [_system(id, result, simulated) for id, result in sorted(found.systems.items(), key=_library_order)]
    verdicts = [c["verdict"] for s in systems for c in s["claims"]]
    variants = {n.id: f"{n.stage}/{sweeps.base(n)}" for n in found.nodes if sweeps.base(n) != n.key}
    compared = sweeps.sweeps(found, lineage)
    return {
        "systems": systems,
        "verdicts": {v: verdicts.count(v) for v in VERDICTS},
        "symbols": VERDICTS,
        "tiles": _tiles(found, verdicts),
        "rows": _folded([row for s in systems for row in s["rows"]], variants),
        "sweeps": compared,
        "galleries": exhibits.galleries(found.exhibits),
        "variants": variants,
        "cards": [_card(n) for n in found.nodes if n.stage == "ingest"],
        "nodes": _under_bases([_node(n, lineage) | {"base": variants.get(n.id)} for n in found.nodes]),
        "dag": lineage.picture(),
        "lineage": lineage,
        "box": {"width": WIDTH, "height": HEIGHT, "top": TOP},
        "mlflow": MLFLOW,
        "audit": audit(found.nodes, lineage),
        "versions": _versions(found.nodes),
        "data": _data(found, lineage, simulated, variants) | {"sweeps": [_drawn(s) for s in compared]},
    }


def simulated_tasks(found: Found, lineage: Lineage) -> dict[tuple[str, str], bool]:
    """{(system, task): whether its figures are of simulated data}, by the system's word or the lineage of the task."""
    return {
        (system, task): result.get("provenance") == "simulated" or lineage.simulated(f"fit/{task}")
        for system, result in found.systems.items()
        for task in {r["task"] for r in result.get("rows", ())} | set(result.get("tasks", ())) | set(found.maps[system])
    }


def _under_bases(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each base with its variants after it; one whose base is not there stands for itself. folded: how many a row has."""
    there = {row["id"] for row in rows}
    of: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        row["base"] = row["base"] if row["base"] in there else ""
        of.setdefault(row["base"], []).append(row)
    groups = ([row, *of.get(row["id"], [])] for row in of.get("", []))
    return [row | {"folded": 0 if row["base"] else len(group) - 1} for group in groups for row in group]


def _folded(rows: list[dict[str, Any]], variants: dict[str, str]) -> list[dict[str, Any]]:
    """Results of variants under the same figure of their base."""

    def name(row: dict[str, Any], task: str) -> str:
        return "/".join((row["system"], task, row["metric"], row["slice"]))

    bases = {row["task"]: variants.get(f"fit/{row['task']}", "").removeprefix("fit/") for row in rows}
    named = [row | {"id": name(row, row["task"]), "base": bases[row["task"]] and name(row, bases[row["task"]])} for row in rows]
    return _under_bases(named)


def _drawn(sweep: sweeps.Sweep) -> dict[str, Any]:
    """What the scripts draw of a sweep: a chart for each column, over its points."""
    return {
        "keys": list(sweep.keys.values()),
        "points": [row.values for row in sweep.rows],
        "columns": [
            {
                "name": f"{c.metric}, {'no label' if c.free else show.labels(c.slice)} · {c.task}",
                "figures": [row.figures[i] for row in sweep.rows],
            }
            for i, c in enumerate(sweep.columns)
        ],
    }


def _library_order(entry: tuple[str, dict[str, Any]]) -> tuple[bool, int, str]:
    id, result = entry
    number = result.get("seed")
    return number is None, number or 0, id


def _system(id: str, result: dict[str, Any], simulated: dict[tuple[str, str], bool]) -> dict[str, Any]:
    of_system = [flag for (system, _), flag in simulated.items() if system == id]
    tasks = result.get("tasks") or {}
    rows = [
        {
            **row,
            "system": id,
            "encoder": tasks.get(row["task"], {}).get("encoder", ""),
            "head": tasks.get(row["task"], {}).get("head", ""),
            "simulated": simulated[id, row["task"]],
            "better": (result.get("metrics") or {}).get(row["metric"], {}).get("higher_is_better"),
        }
        for row in result.get("rows", ())
    ]
    return {
        "id": id,
        "title": result.get("title") or id,
        "paper": result.get("paper") or "",
        "number": result.get("seed"),
        "simulated": result.get("provenance") == "simulated" or (bool(of_system) and all(of_system)),
        "partly": any(of_system),
        "claims": [_claim(c, tasks) | {"simulated": _any(simulated, id, c)} for c in result.get("claims", ())],
        "rows": rows,
        "tasks": len(tasks),
    }


def _claim(claim: dict[str, Any], tasks: dict[str, Any]) -> dict[str, Any]:
    steps = [{"label": (p["better"], p["worse"]), **p["difference"]} for p in claim.get("pairs") or []]
    if claim.get("correlation"):
        steps = [{"label": (f"Spearman’s ρ of {claim.get('correlation_of', '')}",), **claim["correlation"]}]
    threshold = float(claim.get("margin") or 0.0)
    marked = [{**step, "mark": mark} for step, mark in zip(steps, forest.marks(steps, threshold))]
    return {
        "correlation": None,
        **claim,
        "steps": marked,
        "ladder": _ladder(claim, tasks),
        "threshold": threshold,
        "width": forest.WIDTH,
    }


def _any(simulated: dict[tuple[str, str], bool], system: str, claim: dict[str, Any]) -> bool:
    return any(simulated.get((system, task), False) for task in claim.get("values") or {})


def _ladder(claim: dict[str, Any], tasks: dict[str, Any]) -> list[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """The figures a claim rests on: (task, [(metric, mean and std)]), best first; of a correlation a line per encoder."""
    values = claim.get("values") or {}
    if claim.get("matched"):
        return [
            (
                tasks.get(y, {}).get("encoder") or y,
                [figure for task in dict.fromkeys((x, y)) for figure in values[task].items()],
            )
            for x, y in claim["matched"]
        ]
    order = dict.fromkeys(name for p in claim.get("pairs") or [] for name in (p["better"], p["worse"]))
    return [(task, list(values[task].items())) for task in order]


def _tiles(found: Found, verdicts: list[str]) -> list[tuple[str, str, str]]:
    count = functools.partial(_count, found.nodes)
    seconds = sum((n.record.get("timings") or {}).get("total_s") or 0.0 for n in found.nodes)
    return [
        ("Systems", str(len(found.systems)), f"{count('fit')} tasks"),
        ("Claims that hold", f"{verdicts.count('holds')} of {len(verdicts)}", "at 95%"),
        ("Encoders", str(count("pretrain")), f"on {count('ingest')} corpora"),
        ("Work recorded", show.duration(seconds), f"{len(found.nodes)} nodes"),
    ]


def _count(nodes: Iterable[Node], stage: str) -> int:
    return sum(n.stage == stage for n in nodes)


def _card(node: Node) -> dict[str, Any]:
    """A corpus' card from its record; the details hold the card itself or its fields."""
    card = node.details.get("card") or node.details
    quarantined = card.get("quarantined") or []
    return {
        "key": node.key,
        "title": card.get("title") or node.plan.get("title") or node.key,
        "licence": card.get("licence") or node.plan.get("licence") or "unknown",
        "simulated": (card.get("provenance") or node.plan.get("provenance")) == "simulated",
        "counts": _by_split(card.get("counts") or {}),
        "groups": card.get("groups") or {},
        "totals": {k: v for k, v in (card.get("totals") or {}).items() if k not in ("items", "quarantined")},
        "labels": node.plan.get("labels") or {},
        "duplicates": card.get("duplicates") or {},
        "quarantined": quarantined,
        "digest": (card.get("source") or {}).get("digest") or "",
    }


def _by_split(counts: dict[str, Any]) -> dict[str, Any]:
    first = ("train", "valid", "test")
    return {k: counts[k] for k in sorted(counts, key=lambda k: (first.index(k) if k in first else len(first), k))}


def _node(node: Node, lineage: Lineage) -> dict[str, Any]:
    record = node.record
    throughput = record.get("throughput") or {}
    fastest = next(iter(throughput.items()), None)
    return {
        "id": node.id,
        "stage": node.stage,
        "key": node.key,
        "seconds": (record.get("timings") or {}).get("total_s"),
        "rate": fastest[1] if fastest else None,
        "unit": fastest[0].replace("_per_s", "/s").replace("_", " ") if fastest else "",
        "memory": record.get("peak_memory_mb"),
        "device": record.get("device") or "",
        "warnings": [str(w) for w in record.get("warnings") or []],
        "digest": record.get("digest") or "",
        "simulated": lineage.simulated(node.id),
        "stale": lineage.stale(node.id),
    }


def _versions(nodes: Iterable[Node]) -> dict[str, list[str]]:
    """The versions that the records were made with, sorted; several where nodes differ."""
    found: dict[str, set[str]] = {}
    for node in nodes:
        for package, version in (node.record.get("versions") or {}).items():
            found.setdefault(package, set()).add(str(version))
    return {package: sorted(found[package]) for package in sorted(found)}


def _data(found: Found, lineage: Lineage, simulated: dict[tuple[str, str], bool], variants: dict[str, str]) -> dict[str, Any]:
    """What the scripts draw. base: of a variant, so that it is drawn as one of its base's group."""

    def base(id: str) -> str | None:
        return variants[id].partition("/")[2] if id in variants else None

    pretrained = [n for n in found.nodes if n.series]
    share = [
        {**curve, "system": system, "simulated": simulated[system, curve["task"]], "base": base(f"fit/{curve['task']}")}
        for system, result in found.systems.items()
        for curve in result.get("curves", ())
    ]
    learning = [
        {
            "name": name,
            "headline": curves.headline(name),
            "encoders": [
                {
                    "encoder": n.key,
                    "simulated": lineage.simulated(n.id),
                    "base": base(n.id),
                    **curves.learning(n.series[name]),
                }
                for n in pretrained
                if name in n.series
            ],
        }
        for name in curves.names(pretrained)
    ]
    maps = [
        {
            "task": task,
            "simulated": simulated[system, task],
            "seeds": [{"seed": seed, **_columns(points)} for seed, points in sorted(seeds.items())],
        }
        for system, tasks in found.maps.items()
        for task, seeds in tasks.items()
    ]
    return {"share": share, "learning": learning, "maps": maps}


def _columns(points: dict[str, list[Any]]) -> dict[str, Any]:
    return {**points, "x": [round(v, 3) for v in points["x"]], "y": [round(v, 3) for v in points["y"]]}
