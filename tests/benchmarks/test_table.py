"""Where the table goes: results by machine, the page, the terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.core import table
from benchmarks.core.row import Row

ROOT = Path(__file__).resolve().parents[2]
ROW = Row("m", "c", "what", "peer 1.0", 2.0, 1.5, 2.5, "≥ 2", "met", True, 5, "rev", {"a": [1.0]})


def test_results_of_cases_that_ran_replace_their_own_and_keep_the_others(tmp_path: Path) -> None:
    file = table.path(tmp_path / "results", "A CPU, 2 cores")
    assert file.name == "A CPU, 2 cores.json"
    other = replace(ROW, benchmark="z", what="other")
    gone = replace(ROW, benchmark="no_more")
    table.write(file, "A CPU, 2 cores", [other, ROW, gone], ["m", "z", "no_more"])
    newer = replace(ROW, ratio=3.0, what="another text")
    written = table.write(file, "A CPU, 2 cores", [newer], ["z", "m"])
    assert written == [other, newer] == table.rows_of(file)
    assert table.read(file)["machine"] == "A CPU, 2 cores"


def test_the_page_has_the_table_of_each_machine_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    missed = replace(ROW, what="x | y", verdict="short by 25%: why", met=False)
    table.write(tmp_path / "r" / "A CPU.json", "A CPU", [ROW, missed], ["m"])
    table.document(page, tmp_path / "r")
    text = page.read_text()
    assert text.startswith(f"before\n{table.BEGIN}\n") and text.endswith(f"{table.END}\nafter\n") and "old" not in text
    assert "### A CPU\n\nRevision rev.\n" in text
    assert "| what | peer 1.0 | 2.000 [1.500, 2.500] | ≥ 2 | met |" in text
    assert "| x \\| y | peer 1.0 | 2.000 [1.500, 2.500] | ≥ 2 | short by 25%: why |" in text


def test_the_committed_page_shows_the_committed_results() -> None:
    text = (ROOT / "docs/speed.md").read_text()
    between = text.split(table.BEGIN + "\n")[1].split(table.END)[0]
    assert between == table.tables(ROOT / "benchmarks/results")


def test_a_traceback_is_cut_to_its_head_and_end() -> None:
    failed = replace(ROW, ratio=None, verdict="FAILED: b: Traceback\n  File x\n  line\nValueError: it broke\n")
    assert table.cells(failed) == ("what", "peer 1.0", "-", "≥ 2", "FAILED: b: Traceback ... ValueError: it broke")


def test_every_line_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    table.show([ROW, replace(ROW, what="[other]", ratio=None)], "title")
    printed = capsys.readouterr().out
    assert "2.000 [1.500, 2.500]" in printed and "[other]" in printed and "title" in printed


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SystemExit, match="no benchmark 'simcl'; there are simclr, mae,"):
        command.main(["simcl"])


def test_cases_are_found_by_module_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list", "probe:2 threads", "knn"]) == 0
    assert capsys.readouterr().out.split("\n") == ["probe:2 threads", "knn:flat", ""]
