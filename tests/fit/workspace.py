"""A small corpus with features in a workspace, and tasks run on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.common import atomic, features, stage
from stages.common.corpus import Column
from stages.common.plan import Plan
from stages.common.schema import as_plain, build
from stages.common.workspace import Workspace
from stages.fit.__main__ import inputs, target, work
from tests.builders import write_corpus, write_features

CLASSES = ["a", "b", "c"]


def corpus(
    folder: Path, n: int = 120, splits: tuple[str, ...] = ("train", "train", "train", "valid", "test"), **columns: Any
) -> Path:
    """n items of a class `kind` (i % 3) and a number `size`, ten to a group; `columns` replace or add values by name."""
    kind = columns.pop("kind", [i % 3 for i in range(n)])
    size = columns.pop("size", [float(i % 7) for i in range(n)])
    rows: list[dict[str, object]] = [
        {
            "id": f"i{i:04d}",
            "split": splits[i % len(splits)],
            "group": f"g{i // 10}",
            "kind": kind[i],
            "size": size[i],
            "note": f"n{i}",
        }
        for i in range(n)
    ]
    described = [
        Column("kind", "label", "class", classes=CLASSES),
        Column("size", "label", "number", unit="cm"),
        Column("note", "meta", "string"),
    ]
    return write_corpus(folder, described, rows)


def embeddings(n: int = 120, d: int = 8, seed: int = 0, spread: float = 1.0) -> np.ndarray:
    """(n, d) float32: classes i % 3 apart, and in the last column the number i % 7, over noise."""
    rng = np.random.default_rng(seed)
    x = spread * rng.normal(size=(n, d))
    x[:, :3] += 2 * np.eye(3)[np.arange(n) % 3]
    x[:, -1] = np.arange(n) % 7 + 0.3 * rng.normal(size=n)
    return x.astype(np.float32)


def split_of(n: int = 120, splits: tuple[str, ...] = ("train", "train", "train", "valid", "test")) -> list[str]:
    return [splits[i % len(splits)] for i in range(n)]


def ids(n: int = 120) -> list[str]:
    return [f"i{i:04d}" for i in range(n)]


def workspace(root: Path, seeds: tuple[int, ...] = (0, 1), **columns: Any) -> Workspace:
    """A workspace with corpus `c` and features `f` of it."""
    made = Workspace(root)
    corpus(made.corpus("c"), **columns)
    write_features(made.features("f"), ids(), split_of(), {s: embeddings(seed=s) for s in seeds})
    return made


def copies(folder: Path, x: np.ndarray, split: list[str], name: str = "c") -> Path:
    """Features with V copies of each item, x (N, V, D), item by item from the last copy to the first."""
    n, v, d = x.shape
    (folder / "seed=0").mkdir(parents=True)
    index = np.tile(np.arange(v)[::-1], n).astype(np.int32)
    rows = np.repeat(np.arange(n), v)
    with features.writer(folder / "seed=0" / "part-00000.parquet", d, "float32") as out:
        values = x[:, ::-1].reshape(n * v, d).astype(np.float32)
        names, splits = pa.array([ids(n)[i] for i in rows]), pa.array([split[i] for i in rows])
        out.write_batch(features.batch(names, splits, rows, index, -1, values))
    counts = {s: v * split.count(s) for s in sorted(set(split))}
    about = features.FeaturesInfo("clip", [-1], d, "float32", [0], counts, "e", name)
    atomic.write_json(folder / features.INFO, as_plain(about))
    atomic.seal(folder)
    return folder


def node(head: str | dict[str, Any] = "linear_probe", **changes: Any) -> dict[str, Any]:
    """A task node as a plan writes it."""
    plain: dict[str, Any] = {
        "system": "q",
        "corpus": "c",
        "features": "f",
        "support": "features/f",
        "head": {"name": head} if isinstance(head, str) else head,
        "metrics": ["accuracy"],
        "label": "kind",
        "seeds": [0, 1],
    }
    return {**plain, **changes}


def run(made: Workspace, task: dict[str, Any], key: str = "t") -> Path:
    """Runs the stage on one task; the folder it made."""
    plan = build(Plan, {"tasks": {key: task}, "compute": {"device": "cpu"}}, "plan")
    return stage.execute("fit", key, plan, made, work, inputs, target)
