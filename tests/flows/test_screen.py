"""What a run shows: the table as text on a terminal of a set size, plain lines elsewhere, and the summary."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from flows import figures, screen, table
from flows.board import Board
from flows.pipeline import Outcome
from flows.steps import Step
from stages.common import atomic
from stages.common.live import Live
from stages.common.workspace import Workspace
from tests.flows import workspace as build

ROOT = Path(__file__).parents[2]


class Clock:
    """A clock that a test sets; `now` of the system's time too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in ("flows.progress", "flows.board", "stages.common.live"):
            monkeypatch.setattr(f"{module}.time.time", lambda: self.now)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def board(tmp_path: Path, clock: Clock) -> Board:
    return Board(Workspace(tmp_path), lambda name: 312.4, clock)


def drawn(board: Board, width: int = 80, height: int = 24) -> list[str]:
    """The table's lines as a terminal of that size shows them."""
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(table.table(board, board.look(), width, height))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) < height and max(map(len, lines)) < width + 1
    return [line.rstrip() for line in lines]


def row(board: Board, name: str, width: int = 80) -> str:
    """A row's words, one space between them."""
    return " ".join(next(line for line in drawn(board, width) if line.startswith(name)).split())


def record(root: Path, stage: str, key: str, seconds: float, **more: object) -> None:
    folder = Workspace(root).record(stage, key)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"stage": stage, "key": key, "timings": {"total_s": seconds}, "metrics": [], "plan": {}, "details": {}}
    atomic.write_json(folder / "record.json", about | more)


def test_each_state_has_its_row(board: Board, clock: Clock) -> None:
    names = ["ingest@a", "pretrain@b", "extract@c", "fit@d", "fit@e", "fit@f", "report"]
    board.begin(names)
    board.told(Step("ingest@a", "cached", 0.2))
    board.told(Step("pretrain@b", "restored", 1.25))
    board.started("extract@c")
    board.told(Step("extract@c", "ran", 62.04, peak_mb=512))
    board.told(Step("fit@d", "failed", 0.5, "the data is bad\n  where: x"))
    board.told(Step("fit@e", "skipped", 0.0, "needs fit@d, which failed"))
    board.started("fit@f")
    clock.now += 8
    shown = drawn(board)
    assert [line.split()[0] for line in shown[1:-1]] == names
    assert shown[0].split() == ["stage", "state", "time", "left", "memory", "figure"]
    assert row(board, "ingest@a") == "ingest@a cached"
    assert row(board, "pretrain@b") == "pretrain@b restored 1.2 s"
    assert row(board, "extract@c") == "extract@c ran 1:02 512M"
    assert row(board, "fit@d") == "fit@d failed 0.5 s the data is bad"
    assert row(board, "fit@e") == "fit@e skipped needs fit@d, which failed"
    assert row(board, "fit@f") == "fit@f running 8 s 312M"
    assert row(board, "fit@f", width=120).endswith(" 312M/312M")
    assert row(board, "report") == "report waiting"
    assert shown[-1] == "8 s   5/7 done (1 cached, 1 restored, 1 ran, 1 failed, 1 skipped)   1 running"
    board.started("fit@f")
    assert row(board, "fit@f").startswith("fit@f running 2 ")
    board.stop()
    assert row(board, "fit@f").startswith("fit@f stopped ")


def test_a_running_pretraining_shows_loss_knn_and_the_time_left(board: Board, clock: Clock) -> None:
    board.begin(["pretrain@e"])
    board.started("pretrain@e")
    live = Live(board.workspace.live("pretrain", "e"), 0, "d", 100)
    live.event(10, {"total": 5.0, "knn_accuracy": 0.91234})
    clock.now += 10
    assert row(board, "pretrain@e") == "pretrain@e running 10 s 312M 10% loss 5.00 kNN 0.912"  # one event gives no rate
    live.event(30, {"total": 4.0})
    assert row(board, "pretrain@e") == "pretrain@e running 10 s 35 s 312M 30% loss 4.00 kNN 0.912"
    assert drawn(board)[-1] == "10 s   0/1 done   1 running   ~35 s left"


def test_a_stage_without_events_is_guessed_from_its_last_record_until_it_takes_longer(board: Board, clock: Clock) -> None:
    record(board.workspace.root, "fit", "a", 20.0)
    board.begin(["fit@a", "fit@new"])
    assert row(board, "fit@a") == "fit@a waiting ~20 s"
    assert row(board, "fit@new") == "fit@new waiting"
    assert drawn(board)[-1] == "<1 s   0/2 done   getting ready"
    board.started("fit@a")
    clock.now += 5
    assert row(board, "fit@a") == "fit@a running 5 s ~15 s 312M"
    assert "left" not in drawn(board)[-1]  # of fit@new nothing is known
    board.told(Step("fit@new", "cached"))
    assert drawn(board)[-1].endswith("~15 s left")
    clock.now += 16
    assert row(board, "fit@a") == "fit@a running 21 s 312M"
    assert "left" not in drawn(board)[-1]


def test_the_time_left_of_a_run_takes_stages_side_by_side_as_so_far(board: Board, clock: Clock) -> None:
    for key in "abcd":
        record(board.workspace.root, "fit", key, 30.0)
    board.begin([*(f"fit@{key}" for key in "abcd"), "report"])
    assert board.left_s() == pytest.approx(4 * 30)
    board.started("fit@a")
    board.started("fit@b")
    clock.now += 10
    board.look()
    assert board.left_s() == pytest.approx((20 + 20 + 30 + 30) / 2)
    for key in "abc":
        board.told(Step(f"fit@{key}", "ran", 10.0))
    assert board.left_s() == pytest.approx(30)  # one alone takes what it takes
    board.told(Step("fit@d", "ran", 10.0))
    board.told(Step("report", "ran", 1.0))
    assert "MLflow is being brought up to date" in drawn(board)[-1]


def test_a_stages_own_progress_lines_go_into_its_row(board: Board, clock: Clock) -> None:
    board.begin(["ingest@a"])
    board.started("ingest@a")
    clock.now += 10
    assert not board.heard("ingest@a", "warning: an item is broken")
    assert board.heard("ingest@a", "ingest a: 1000/5000 items  100.0/s  40 s left")
    assert row(board, "ingest@a") == "ingest@a running 10 s 40 s 312M 1,000/5,000 items"
    assert not board.heard("nobody", "ingest a: 1000/5000 items  100.0/s  40 s left")


def test_a_long_plan_folds_to_the_terminal(board: Board, clock: Clock) -> None:
    names = [f"fit@n{i:03}" for i in range(100)]
    board.begin(names)
    for i in range(42):
        board.told(Step(names[i], "cached" if i < 12 else "ran", 1.0))
    board.told(Step(names[42], "failed", 1.0, "bad"))
    for i in (43, 44):
        board.started(names[i])
    shown = drawn(board, height=20)
    assert len(shown) == 19
    assert shown[0] == "… 12 cached, 30 ran"
    assert [line.split()[1] for line in shown[2:5]] == ["failed", "running", "running"]
    assert [line.split()[0] for line in shown[2:-2]] == names[42:57]
    assert shown[-2] == "… 43 more waiting"
    for i in range(43, 97):
        board.told(Step(names[i], "ran", 1.0))
    shown = drawn(board, height=20)
    assert shown[0] == "… 12 cached, 72 ran"  # the last done fill what the waiting leave
    assert [line.split()[0] for line in shown[2:-1]] == [names[42], *names[85:]]
    for i in range(97, 100):
        board.started(names[i])
    assert sum("running" in line for line in drawn(board, height=20)[:-1]) == 3
    few = drawn(board, height=7)
    assert [line.split()[0] for line in few if line.startswith("fit@")] == [names[42], names[97]]
    assert few[-2] == "… 2 more running"


def test_a_plan_that_fits_is_shown_whole(board: Board) -> None:
    names = [f"fit@n{i}" for i in range(21)]
    board.begin(names)
    assert [line.split()[0] for line in drawn(board, height=24)[1:-1]] == names
    assert drawn(board, height=23)[-2] == "… 2 more waiting"


def test_long_names_keep_both_ends_on_a_narrow_terminal(board: Board) -> None:
    name = "pretrain@simclr_without_projector_seed_sweep_large_batch"
    board.begin([name])
    board.told(Step(name, "failed", 1.0, "it went wrong in a way that takes more words than this terminal has columns"))
    narrow, wide = drawn(board)[1], drawn(board, width=120)[1]
    assert narrow.startswith("pretrain@s…rge_batch failed") and narrow.endswith("…")
    assert wide.startswith("pretrain@simclr_without_pro…ctor_seed_sweep_large_batch failed")


def test_the_final_table_unfolds_what_was_done_and_counts_the_rest(board: Board) -> None:
    names = [f"fit@n{i:03}" for i in range(60)]
    board.begin(names)
    for i in range(50):
        board.told(Step(names[i], "cached" if i < 10 else "ran", 1.0))
    console = Console(file=io.StringIO(), width=80, height=10, force_terminal=True, color_system=None)
    console.print(table.final(board, 80))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "… 10 cached" and lines[-1] == "… 10 not started"
    assert [line.split()[0] for line in lines[2:-1]] == names[10:50]


def test_lines_go_above_the_table_once_and_the_streams_are_given_back(board: Board) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True, color_system=None)
    streams = sys.stdout, sys.stderr
    with table.LiveTable(board, console, interval=60) as shown:
        shown.begin(["fit@a"])
        assert not sys.stderr.isatty() and sys.stdout is not streams[0]
        shown.heard("fit@a", "warning: [/bold] \x1b[31mit\x1b[0m is " + "long " * 30 + "end")
        shown.heard("fit@a", "  ")
        shown.told(Step("fit@a", "failed", 1.0, "it failed\n  where: x.csv"))
        sys.stderr.write("a library says this\n")
        sys.stdout.write("and")
        sys.stdout.write(" that")
        shown.say("a note")
    assert (sys.stdout, sys.stderr) == streams
    text = out.getvalue()
    for once in (f"fit@a | warning: [/bold] it is {'long ' * 30}end\n", "a library says this\n", "and that\n", "a note\n"):
        assert text.count(once) == 1, once
    assert text.count("    where: x.csv".replace("    ", "      ")) == 1
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    shown.say("after the table")
    assert out.getvalue().endswith("after the table\n")


def test_what_does_not_change_is_not_drawn_again(board: Board) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True, color_system=None)
    with table.LiveTable(board, console, interval=60) as shown:
        shown.begin(["fit@a"])
        before = len(out.getvalue())
        shown._draw()
        assert len(out.getvalue()) == before
        shown.started("fit@a")
        shown._draw()
        assert len(out.getvalue()) > before


def test_plain_lines_tell_now_and_then_how_far_a_pretraining_is(board: Board, clock: Clock) -> None:
    said: list[str] = []
    with screen.Lines(said.append, board) as shown:
        shown.begin(["pretrain@e"])
        shown.started("pretrain@e")
        live = Live(board.workspace.live("pretrain", "e"), 0, "d", 100)
        live.event(0, {"total": 5.0})
        shown.heard("pretrain@e", "pretrain e seed 0: 10/100 steps  1.0/s  90 s left  loss 5")
        clock.now += 29
        live.event(29, {"total": 4.0})
        shown.look()
        assert said == []
        clock.now += 1
        shown.look()
        shown.look()
        assert said == ["  pretrain@e | step 29/100, loss 4, 70 s left"]
        clock.now += 30
        shown.look()
        assert len(said) == 2
        shown.told(Step("pretrain@e", "ran", 61.0))
        clock.now += 60
        shown.look()
        assert said[2:] == ["pretrain@e                         ran          61.0 s"]


def test_a_table_only_on_a_terminal_that_can_show_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = lambda say=None: type(screen.screen(say, Workspace(tmp_path), lambda name: 0.0))  # noqa: E731
    monkeypatch.setenv("TERM", "xterm")
    assert made() is screen.Lines
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert made() is table.LiveTable and made(print) is screen.Lines
    monkeypatch.setenv("TERM", "dumb")
    assert made() is screen.Lines


def test_plain_lines_do_without_rich() -> None:
    code = "import sys; from flows import pipeline, screen; from stages.common.workspace import Workspace; "
    code += "screen.screen(None, Workspace(), lambda name: 0.0); print(sorted(m for m in sys.modules if m.startswith('rich')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_record_is_summed_up_in_one_figure(tmp_path: Path) -> None:
    workspace, plan = Workspace(tmp_path), build.make_plan(encoders=2, seeds=2)
    build.populate(workspace, plan)

    def headline(stage: str, key: str, **more: object) -> str:
        return figures.headline(json.loads((workspace.record(stage, key) / "record.json").read_text()) | more)

    assert headline("fit", "probe_e0") == f"accuracy {(0.8 + 0.81) / 2:.3f} at 10% labels"
    assert headline("pretrain", "e0") == f"loss {(1 / 5 + 1 / 6) / 2:.3f}"
    assert headline("evaluate", "quick", details={"claims": [{"verdict": v} for v in ("open", "holds", "holds")]}) == (
        "2 holds, 1 open"
    )
    assert headline("extract", "e0", details={"counts": {"train": 1258, "test": 42}}) == "1,300 rows"
    items = [{"name": "items", "value": v, "seed": None, "slice": s, "n": 1} for s, v in (("train", 1258.0), ("test", 42.0))]
    assert headline("ingest", "digits", metrics=items) == "1,300 items"
    values = [{"name": "rankme", "value": v, "seed": s, "slice": "all", "n": 1} for s, v in ((0, 30.0), (1, 32.0), (2, None))]
    assert headline("fit", "probe_e0", metrics=values, plan={"metrics": []}) == "RankMe 31.0"
    knn = [{"name": n, "value": v, "seed": 0, "slice": "all", "n": 1} for n, v in (("loss", 4.0), ("knn_accuracy", 0.5))]
    assert headline("pretrain", "e0", metrics=knn) == "kNN 0.500"
    assert headline("fit", "probe_e0", metrics=[]) == ""


def test_the_summary_repeats_failures_with_cause_and_log(tmp_path: Path) -> None:
    steps = [
        Step("pretrain@a", "ran", 9.0),
        Step("pretrain@b", "ran", 12.0),
        Step("extract@a", "restored", 1.0),
        Step("fit@a", "failed", 2.0, "fit@a: a column is missing\n  where: x.csv\n  log: .prelude/logs/fit/a.log"),
    ]
    outcome = Outcome(
        ["pretrain@a", "pretrain@b"],
        ["ingest@a", "extract@a"],
        ["fit@a"],
        ["evaluate@s"],
        30.0,
        steps,
        ["a note"],
        "cancelled in Prefect",
    )
    outcome.stopped = "cancelled in Prefect"
    workspace = Workspace(tmp_path)
    workspace.page.mkdir(parents=True)
    (workspace.page / "index.html").write_text("")
    lines = list(screen.summary(outcome, workspace))
    assert lines == [
        "2 ran, 2 cached (1 restored), 1 failed, 1 skipped in 30.0 s",
        "slowest: pretrain@b 12.0 s, pretrain@a 9.0 s",
        "failed: fit@a\n    fit@a: a column is missing\n      where: x.csv\n      log: .prelude/logs/fit/a.log",
        "note: a note",
        f"report: {workspace.page / 'index.html'}   MLflow: prelude ui   a node: prelude show pretrain@b",
        f"logs: {workspace.state / 'logs'}",
        "cancelled in Prefect; run it again to go on",
    ]
