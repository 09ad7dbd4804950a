"""The command line: what its commands do, and the exit code that says whose mistake it was."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows import cli, doctor, dry, pipeline
from flows.alone import alone
from flows.tracking import ui
from stages.common import atomic, plan
from stages.common.errors import UserError
from stages.common.workspace import Workspace
from tests.flows.conftest import Said
from tests.flows.params_tree import GROUPS, put

ROOT = Path(cli.__file__).resolve().parents[1]
Capture = pytest.CaptureFixture[str]


def test_outside_a_workspace_every_command_says_where_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["plan"], ["systems"], ["show", "a"], ["verify"], ["doctor"], ["ui"], ["run"], ["serve"]):
        said = Said(capsys, *command)
        assert said.code == 2 and said.out == ""
        assert said.err.startswith("error: this is no Prelude workspace") and "do: change into a folder" in said.err


def test_a_command_works_from_a_folder_inside_the_workspace(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(root / "params" / "system")
    assert Said(capsys, "plan", "one").code == 0
    assert (root / "params.yaml").exists()


def test_plan_writes_the_plan_and_counts_its_nodes(root: Path, capsys: Capture) -> None:
    said = Said(capsys, "plan", "one", "two")
    assert said.code == 0
    assert said.out == "params.yaml: one two: 1 corpora, 3 encoders, 1 features, 2 tasks, 2 systems\n"
    assert set(plan.load(root / "params.yaml").systems) == {"one", "two"}


@pytest.mark.parametrize("command", ["plan two", "run two", "sweep two encoders.other.epochs=2,3"])
def test_a_plan_stays_as_it_is_while_a_run_is_at_work_on_it(root: Path, capsys: Capture, command: str) -> None:
    assert Said(capsys, "plan", "one").code == 0
    workspace, before = Workspace(root), (root / "params.yaml").read_bytes()
    workspace.encoder("trained").mkdir(parents=True)
    with alone(workspace, "long"):
        said = Said(capsys, *command.split())
        assert said.code == 2 and "another run is at work in this workspace: 'long'" in said.err
        assert (root / "params.yaml").read_bytes() == before and workspace.encoder("trained").exists()
        assert Said(capsys, "plan", "two", "--check").code == 0
    assert Said(capsys, "plan", "two").code == 0
    assert (root / "params.yaml").read_bytes() != before and not workspace.encoder("trained").exists()


def test_a_dry_run_of_a_system_sees_its_plan_and_leaves_the_one_that_is_there(
    root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    def foresee(path: Path, targets: list[str] | None, force: bool) -> list[dry.Foreseen]:
        seen.append(set(plan.load(path / "params.yaml").systems))
        return []

    monkeypatch.setattr(dry, "foresee", foresee)
    assert Said(capsys, "run", "--dry", "two").code == 0 and not (root / "params.yaml").exists()
    assert Said(capsys, "plan", "one").code == 0
    before = (root / "params.yaml").read_bytes()
    Workspace(root).encoder("trained").mkdir(parents=True)
    assert Said(capsys, "run", "--dry", "two").code == 0 and Said(capsys, "run", "--dry").code == 0
    assert seen == [{"two"}, {"two"}, {"one"}]
    assert (root / "params.yaml").read_bytes() == before and Workspace(root).encoder("trained").exists()


def test_a_dry_run_that_is_terminated_takes_its_plan_back(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Said(capsys, "plan", "one").code == 0
    before = (root / "params.yaml").read_bytes()
    monkeypatch.setattr(dry, "foresee", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    assert Said(capsys, "run", "--dry", "two").code == 130
    assert (root / "params.yaml").read_bytes() == before


def test_plan_check_writes_nothing(root: Path, capsys: Capture) -> None:
    said = Said(capsys, "plan", "one", "--check")
    assert said.code == 0 and said.out.startswith("checked: one: ")
    assert not (root / "params.yaml").exists()


def test_plan_sets_values_and_writes_json_for_machines_without_yaml(root: Path, capsys: Capture) -> None:
    assert Said(capsys, "plan", "one", "-s", "encoders.trained.epochs=9", "--json", "plan.json").code == 0
    assert plan.load(root / "plan.json") == plan.load(root / "params.yaml")
    assert plan.load(root / "plan.json").encoders["trained"].epochs == 9


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["plan", "oen"], "did you mean 'one'?"),
        (["plan", "one", "-s", "encoders.trained.epoch=9"], "the plan does not compose"),
        (["plan", "one", "-s", "encoders.trained.epochs=nine"], "expected a whole number, got str 'nine'"),
        (["systems", "--commit", "one"], "do: run `prelude run one` first"),
        (["show", "trained"], "nothing has run yet"),
    ],
)
def test_a_users_mistake_is_one_error_and_exit_code_2(root: Path, capsys: Capture, argv: list[str], shown: str) -> None:
    said = Said(capsys, *argv)
    assert said.code == 2 and said.out == ""
    assert said.err.startswith("error: ") and shown in said.err and said.err.count("error: ") == 1


def test_doctor_shows_every_check_and_what_to_do(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Said(capsys, "doctor", "--json")
    assert said.code == 0
    assert {"python", "torch", "disk", "memory", "git", "gpu"} <= {c["name"] for c in said.json}
    monkeypatch.setenv("PRELUDE_MIRROR", str(root / "none"))
    said = Said(capsys, "doctor")
    assert said.code == 1 and "BAD corpora mirror" in said.out and "PRELUDE_MIRROR names no folder" in said.out


def test_run_plans_systems_and_hands_stages_on(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    outcome = pipeline.Outcome()

    def run(targets: list[str] | None, force: bool, **more: object) -> pipeline.Outcome:
        asked.append((targets, force, *more.values()))
        return outcome

    monkeypatch.setattr(pipeline, "run", run)
    assert Said(capsys, "run", "two").code == 0
    assert set(plan.load(root / "params.yaml").systems) == {"two"}
    assert Said(capsys, "run", "--force", "--keep-going", "--workers", "3", "pretrain@other", "report").code == 0
    assert Said(capsys, "run", "--wait", "--no-prefect", "fit", "data/tasks").code == 0
    assert asked == [
        (None, False, False, None, False, True),
        (["pretrain@other", "report"], True, True, 3, False, True),
        (["fit", "data/tasks"], False, False, None, True, False),
    ]
    outcome.failed.append("pretrain@other")
    assert Said(capsys, "run").code == 1
    outcome.stopped = "interrupted"
    assert Said(capsys, "run").code == 130


def test_run_without_a_plan_composes_the_quickstart(root: Path, capsys: Capture) -> None:
    said = Said(capsys, "run")
    assert said.code == 2 and "unknown system 'quickstart'" in said.err


def test_ui_serves_on_the_port_it_was_given(ran: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(ui, "serve", lambda root, tracking, port: asked.append((tracking.experiment, port)) or 0)
    assert Said(capsys, "ui", "--port", "5055").code == 0
    assert asked == [("toy", 5055)]


def test_an_interrupt_has_exit_code_130(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "checks", lambda root: (_ for _ in ()).throw(KeyboardInterrupt))
    said = Said(capsys, "doctor")
    assert said.code == 130 and said.err == "interrupted; run it again to go on\n"


def test_no_command_or_an_unknown_one_has_exit_code_2(capsys: Capture) -> None:
    for argv in ([], ["plam"], ["show"], ["ui", "--port", "five"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(argv)
        assert caught.value.code == 2


def test_the_workspaces_root_is_the_nearest_folder_with_a_dvc_file(root: Path) -> None:
    inner = root / "a" / "b"
    inner.mkdir(parents=True)
    assert cli.workspace_root(inner) == root
    (inner / "dvc.yaml").write_text("")
    assert cli.workspace_root(inner) == inner
    with pytest.raises(UserError):
        cli.workspace_root(Path("/"))


def test_the_command_line_runs_as_a_program(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, cli.__file__, "--help"], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("plan", "run", "systems", "show", "verify", "serve", "ui", "doctor"))


def test_doctor_works_where_libraries_are_missing(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(doctor, "_NEEDED", ("library-that-is-not-there",))
    said = Said(capsys, "doctor")
    assert said.code == 1 and "BAD library-that-is-not-there" in said.out and "run `make setup`" in said.out
    assert "torch is not installed" in said.out


def test_a_file_is_written_where_the_user_is(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "params")
    assert Said(capsys, "plan", "one", "--check", "--json", "plan.json").code == 0
    assert (root / "params" / "plan.json").exists() and not (root / "plan.json").exists()


def test_a_read_only_workspace_is_one_clear_error(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "params.yaml")

    monkeypatch.setattr(atomic, "write_text", refuse)
    said = Said(capsys, "plan", "one")
    assert said.code == 2
    assert said.err == "error: Read-only file system\n  where: params.yaml\n  do: make room or check permissions\n"


def test_our_own_mistake_is_not_dressed_up_as_the_users(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "checks", lambda root: Path("none").read_text())
    with pytest.raises(FileNotFoundError):
        cli.main(["doctor"])


@pytest.mark.parametrize("words", [1, 40_000], ids=["little to say", "more than a pipe holds"])
def test_a_closed_pipe_ends_a_command_quietly(root: Path, words: int) -> None:
    put(root, "system/one", GROUPS["system/one"].replace("title: One", f"title: {'long ' * words}"))
    command = [sys.executable, cli.__file__, "systems", "--json"]
    process = subprocess.Popen(command, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(timeout=30) == 0
    process.stderr.close()
