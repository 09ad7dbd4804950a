"""Parquet is read by the thread that asks: where one of Arrow's own finds no memory, who asked would wait for ever."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stages.common import atomic, tasks
from stages.common.tasks import Predictions, TaskResult
from tests.builders import image_corpus, write_features

ROOT = Path(__file__).resolve().parents[2]
READERS = ("read_row_group", "read_row_groups", "iter_batches")
READ = """
import os, sys
from pathlib import Path
import numpy, pyarrow.compute
from stages.common import features, parquet, tasks
from stages.common.corpus import Corpus

before = set(os.listdir("/proc/self/task"))
corpus = Corpus(Path(sys.argv[1]))
columns = [c.name for c in corpus.card.columns]
rows = [sum(b.num_rows for b in corpus.batches(columns)), corpus.row_group(0, 0, columns).num_rows]
rows += [parquet.read(corpus.files[0]).num_rows, len(features.read(Path(sys.argv[2]), 0).ids)]
rows += [len(tasks.read_predictions(Path(sys.argv[3]), 0, "all").ids)]
print(rows, len(set(os.listdir("/proc/self/task")) - before))
"""


def test_corpora_features_and_predictions_are_read_without_a_further_thread(
    tmp_path: Path, python: Callable[..., subprocess.Popen[str]]
) -> None:
    corpus = image_corpus(tmp_path / "corpus", n=60)
    ids, task = [f"i{i}" for i in range(50)], tmp_path / "task"
    features = write_features(tmp_path / "features", ids, ["train"] * 50, {0: np.zeros((50, 3))})
    task.mkdir()
    predictions = Predictions(0, "all", np.array(ids, object), np.zeros(50), np.zeros(50), np.ones((50, 2)))
    tasks.write(task, TaskResult("t", "s", "f", "e", "h", []), [predictions])
    atomic.seal(task)
    out, err = python(READ, corpus, features, task).communicate(timeout=60)
    assert out == "[60, 60, 60, 50, 50] 0\n", err


def threaded(path: Path) -> Iterator[str]:
    """Calls by which Arrow reads with threads of its own."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            words = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if node.func.attr == "read_table" or (node.func.attr in READERS and words.get("use_threads") != "False"):
                yield f"{path.name}, line {node.lineno}: {ast.unparse(node.func)}"


def test_no_stage_has_arrow_read_with_threads_of_its_own() -> None:
    assert [call for path in sorted((ROOT / "stages").rglob("*.py")) for call in threaded(path)] == []


@pytest.mark.parametrize("line", ["pq.read_table(p)", "f.read_row_group(0)", "f.iter_batches(9, use_threads=True)"])
def test_the_search_for_such_calls_finds_them(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.py").write_text(line)
    assert list(threaded(tmp_path / "a.py"))


def test_the_library_reads_with_further_threads_where_it_may(
    tmp_path: Path, python: Callable[..., subprocess.Popen[str]]
) -> None:
    """Else the first test could not fail."""
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": range(1000), "b": range(1000)}), tmp_path / "a.parquet")
    code = "import os, sys, pyarrow.parquet as pq; before = os.listdir('/proc/self/task'); pq.read_table(sys.argv[1]); "
    code += "print(len(os.listdir('/proc/self/task')) > len(before))"
    out, err = python(code, tmp_path / "a.parquet").communicate(timeout=60)
    assert out == "True\n", err
