"""Process start to first useful work of each stage, and `dvc repro` with nothing to do. Seconds on this machine."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

REPEATS = 5
AIMS = {"ingest": 0.7, "pretrain": 2.5, "extract": 2.5, "fit": 2.5, "evaluate": 0.7, "report": 0.7}
# What each stage has imported when its work begins.
FIRST = {
    "ingest": "import stages.ingest.__main__, stages.common.corpus",
    "pretrain": "import stages.pretrain.__main__, stages.pretrain.core.trainer",
    "extract": "import stages.extract.__main__, stages.encoders.core.encoder",
    "fit": "import stages.fit.__main__, stages.common.features, torch",
    "evaluate": "import stages.evaluate.__main__, stages.common.tasks",
    "report": "import stages.report.__main__, jinja2",
}


def seconds(command: list[str]) -> float:
    """Median wall time of a command over REPEATS runs, after one to warm the file cache."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    print(f"{'process':24} {'seconds':>8} {'aim':>6}")
    for stage, code in FIRST.items():
        guard = "; import sys; assert 'mlflow' not in sys.modules"
        print(f"{'start of ' + stage:24} {seconds([sys.executable, '-c', code + guard]):8.2f} {AIMS[stage]:6.1f}")
    print(f"{'prelude --help':24} {seconds([sys.executable, '-m', 'flows.cli', '--help']):8.2f} {0.5:6.1f}")
    print(f"{'dvc repro, nothing to do':24} {seconds([sys.executable, '-m', 'dvc', 'repro', '-q']):8.2f} {3.0:6.1f}")


if __name__ == "__main__":
    main()
