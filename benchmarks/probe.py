"""The linear probe beside scikit-learn's logistic regression: same rows, same objective, same strengths, in turns.

    python benchmarks/probe.py [--rows 5000] [--columns 512] [--classes 10] [--rounds 5] [--threads 1]

Prints the median seconds of each and their ratio, and how far each is from the optimum that both approach.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import warnings
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", type=int, default=5000)
parser.add_argument("--columns", type=int, default=512)
parser.add_argument("--classes", type=int, default=10)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=None, help="default: each library's own choice")
parser.add_argument("--l2", type=float, nargs="+", default=[1e-4, 1e-3, 1e-2, 1e-1, 1.0])
args = parser.parse_args()
if args.threads:  # read by the libraries when they are loaded
    os.environ.update({name: str(args.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")})

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np  # noqa: E402
import torch  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402

from stages.fit.core import softmax  # noqa: E402
from stages.fit.core.linear import Axes  # noqa: E402

warnings.filterwarnings("ignore")


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Overlapping classes whose columns are correlated, with a spectrum that decays as that of learnt features does."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, args.classes, (args.rows,), generator=draw)
    means = 0.12 * torch.randn(args.classes, args.columns, generator=draw)
    mix = torch.randn(args.columns, args.columns, generator=draw) / args.columns**0.5
    x = (torch.randn(args.rows, args.columns, generator=draw) + means[labels]) @ (
        mix * torch.linspace(2, 0.05, args.columns)[:, None]
    )
    return x, labels


def probe(x: torch.Tensor, labels: torch.Tensor, tolerance: float = 1e-4) -> np.ndarray:
    """Objectives (R,) at all strengths, solved as one batch; standardising included."""
    axes = Axes.of(x)
    l2 = torch.tensor(args.l2, dtype=torch.float64)
    found = softmax.solve(axes.project(x), axes.moments, labels, args.classes, l2, tolerance=tolerance, steps=5000)
    return found.objective.numpy()


def scikit(x: torch.Tensor, labels: torch.Tensor, kind: str, tolerance: float = 1e-4) -> np.ndarray:
    """Objectives (R,) by one fit a strength; scikit-learn's tolerance (1e-4 by default) is of the largest gradient entry."""
    z = x.numpy().astype(kind)
    z = (z - z.mean(0)) / z.std(0)
    found = []
    for l2 in args.l2:
        model = LogisticRegression(C=1 / (l2 * len(z)), tol=tolerance, max_iter=5000).fit(z, labels.numpy())
        log_p = model.predict_log_proba(z.astype("float64"))
        found.append(-log_p[np.arange(len(z)), labels].mean() + l2 / 2 * (model.coef_.astype("float64") ** 2).sum())
    return np.array(found)


def main() -> None:
    x, labels = rows()
    if args.threads:
        torch.set_num_threads(args.threads)
    contenders = {
        "prelude, tolerance 1e-4": lambda: probe(x, labels),
        "prelude, tolerance 1e-3": lambda: probe(x, labels, 1e-3),
        "scikit-learn, float64, 1e-4": lambda: scikit(x, labels, "float64"),
        "scikit-learn, float32, 1e-4": lambda: scikit(x, labels, "float32"),
        "scikit-learn, float64, 1e-6": lambda: scikit(x, labels, "float64", 1e-6),
    }
    optimum = probe(x, labels, 1e-8)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    gap = {}
    for _ in range(args.rounds):
        for name, run in contenders.items():
            started = time.perf_counter()
            value = run()
            seconds[name].append(time.perf_counter() - started)
            gap[name] = float((value - optimum).max())
    threads = args.threads or f"default ({torch.get_num_threads()})"
    print(f"{args.rows} x {args.columns}, {args.classes} classes, l2 {args.l2}, threads {threads}, median of {args.rounds}")
    own = statistics.median(seconds["prelude, tolerance 1e-4"])
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        print(f"  {name:28s} {middle:7.3f} s   {middle / own:5.1f} x   above the optimum by at most {gap[name]:.1e}")


if __name__ == "__main__":
    main()
