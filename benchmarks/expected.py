"""What 10^6 to 10^10 samples take, from the rates of one core in benchmarks/rates.json: the tables of docs/scale.md.

python -m benchmarks.expected
"""

from __future__ import annotations

import json
import math

from benchmarks.rates import RATES

SAMPLES = [10**power for power in range(6, 11)]
CORES = 16  # of a node
DISK = 1e9  # bytes/s that a node reads
NETWORK = 1.25e9  # bytes/s that a node sends, and receives: 10 Gbit/s
BATCH = 256  # samples of a node between two exchanges of gradients
FEATURES = 0.84  # of 4 bytes a number: zstd over byte_stream_split (1M x 384 float32)
DAY = 24.0

Rates = dict[str, float]


def node_hours(samples: int, core_seconds: float) -> float:
    """Of CORES cores at work without a pause."""
    return samples * core_seconds / CORES / 3600


def ceilings(rate: Rates) -> dict[str, float]:
    """Samples/s that each part of a node lets through, were it the only one.

    network: a ring's all-reduce sends 2 float32 of each parameter a step (Patarasuk and Yuan 2009), while nothing is computed.
    """
    return {
        "disk": DISK / rate["bytes"],
        "decode": CORES / rate["decode_s"],
        "network": NETWORK * BATCH / (2 * 4 * rate["parameters"]),
        "training on its cores": CORES / (rate["views_s"] + rate["train_s"]),
    }


def row(samples: int, rate: Rates) -> list[str]:
    """Of the first table: what one pass over the samples takes."""
    extract = node_hours(samples, rate["decode_s"] + rate["forward_s"])
    epoch = node_hours(samples, rate["decode_s"] + rate["views_s"] + rate["train_s"])
    stored, features = samples * rate["bytes"], samples * rate["dimension"] * 4 * FEATURES
    return [size(stored), size(features), short(extract), short(epoch), f"{math.ceil(epoch / DAY):,}", "not measured"]


def size(count: float) -> str:
    """Bytes in the largest fitting unit."""
    power = min(int(math.log10(count) // 3), 5)
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"


def short(count: float) -> str:
    """Two digits of it."""
    rounded = float(f"{count:.2g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def expected(rates: dict[str, Rates]) -> str:
    """The first table: what one pass over the samples takes."""
    head = ["samples", "kind", "corpus", "features", "extract, node-hours", "an epoch, node-hours", "nodes for an epoch a day"]
    rows = [[f"10^{len(str(n)) - 1}", kind, *row(n, rate)] for n in SAMPLES for kind, rate in rates.items()]
    return table([*head, "the same on GPUs"], rows)


def saturated(rates: dict[str, Rates]) -> str:
    """The second table: what each part lets through, and which is the first to be too slow."""
    rows = []
    for kind, rate in rates.items():
        limit = ceilings(rate)
        others = [name for name in limit if not name.startswith("training")]
        first, behind = (min(names, key=lambda name: limit[name]) for names in (limit, others))
        rows.append([kind, *(short(v) for v in limit.values()), first, "not measured", behind])
    parts = [f"{name}, samples/s" for name in limit]
    return table(["kind", *parts, "saturates first", "training on a GPU, samples/s", "and behind a GPU"], rows)


def main() -> None:
    rates: dict[str, Rates] = json.loads(RATES.read_text(encoding="utf-8"))
    print(expected(rates), saturated(rates), sep="\n\n")


if __name__ == "__main__":
    main()
