from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from pathlib import Path

import pytest

from flows import worker

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(worker, "PRELOAD", ["stages.common.stage"])  # torch would take seconds
    return tmp_path


def test_only_a_plain_stage_command_is_called_as_a_function() -> None:
    assert worker.stage_of("python -m stages.pretrain simclr") == ("pretrain", ["simclr"])
    assert worker.stage_of("/opt/bin/python3.11 -m stages.report") == ("report", [])
    for other in (
        "python make.py",
        "python -m stages.pretrain.core.trainer x",
        "python -m stages.fit a && rm b",
        "echo 'a",
        "ls",
    ):
        assert worker.stage_of(other) is None


def test_output_goes_to_the_log_and_to_the_listener_line_by_line(workspace: Path) -> None:
    heard: list[str] = []
    done = worker.run("echo one; echo two >&2; pwd", workspace, workspace / "logs/a.log", heard.append)
    assert done.code == 0
    assert heard == ["one", "two", str(workspace)]
    assert (workspace / "logs/a.log").read_text() == f"one\ntwo\n{workspace}\n"


def test_the_environment_of_dvc_reaches_the_command(workspace: Path) -> None:
    heard: list[str] = []
    worker.run("echo $DVC_STAGE", workspace, workspace / "log", heard.append, {"DVC_STAGE": "make@a"})
    assert heard == ["make@a"]


def test_exit_codes_and_signals_are_told_apart(workspace: Path) -> None:
    assert worker.run("exit 3", workspace, workspace / "log").code == 3
    assert worker.run("kill -KILL $$", workspace, workspace / "log").code == -signal.SIGKILL
    assert worker.run("exit 3\ntouch never", workspace, workspace / "log").code == 3
    assert not (workspace / "never").exists()


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])  # one stays and answers 128 + 9, another becomes the command
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_the_signal_that_ended_a_command_is_told_by_any_shell(workspace: Path, shell: str, by: signal.Signals) -> None:
    for command in (f"{sys.executable} -c 'import os; os.kill(os.getpid(), {by:d})'", f"exit {128 + by}"):
        assert worker.run(command, workspace, workspace / "log", environment={"SHELL": shell}).code == -by


def test_a_stage_is_called_with_its_arguments_in_the_workspace(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[object] = []
    monkeypatch.setattr(
        worker.importlib, "import_module", lambda name: type("M", (), {"main": lambda a: called.append((name, a))})
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", [])
    assert worker._call("fit", ["probe"], str(workspace)) == 0
    assert called == [("stages.fit.__main__", ["probe"])]
    assert sys.path[0] == str(workspace)


@pytest.mark.parametrize(("raised", "code"), [(SystemExit(2), 2), (SystemExit(), 0), (ValueError("x"), 1)])
def test_how_a_stage_ends_is_its_exit_code(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raised: BaseException, code: int
) -> None:
    def main(argv: list[str]) -> int:
        raise raised

    monkeypatch.setattr(worker.importlib, "import_module", lambda name: type("M", (), {"main": main}))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", [])
    assert worker._call("fit", [], str(workspace)) == code
    assert ("ValueError: x" in capsys.readouterr().err) == (code == 1)


def test_a_users_mistake_is_passed_up_whole_and_without_what_surrounds_it() -> None:
    lines = ["loading", "error: fit probe: unknown head 'prob'", "  where: tasks.probe", "  do: did you mean 'probe'?", "bye"]
    expected = "fit probe: unknown head 'prob'\n  where: tasks.probe\n  do: did you mean 'probe'?"
    assert worker.last_error(lines) == expected
    assert worker.last_error(["Traceback ...", "OSError: disk"]) == "OSError: disk"
    assert worker.last_error([]) == ""


def test_what_a_command_leaves_behind_in_its_group_is_ended_with_it(workspace: Path) -> None:
    worker.run("(sleep 2; touch late) & exit 0", workspace, workspace / "log")
    time.sleep(2.5)
    assert not (workspace / "late").exists()


def test_an_interrupted_wait_interrupts_the_command(workspace: Path) -> None:
    command = "trap 'echo tidy > tidied; exit 130' INT; touch started; sleep 30 & wait"

    def interrupt() -> None:
        until = time.monotonic() + 20
        while not (workspace / "started").exists() and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        worker.run(command, workspace, workspace / "log")
    assert (workspace / "tidied").read_text() == "tidy\n"


def test_a_command_is_interrupted_also_where_the_run_itself_ignores_interrupts(workspace: Path) -> None:
    script = f"""
        import signal, threading, time
        from pathlib import Path
        from flows import worker
        if __name__ == "__main__":
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            worker.PRELOAD = []
            root, stop = Path({str(workspace)!r}), threading.Event()
            command = "trap 'echo tidy > tidied; exit 130' INT; touch started; sleep 30 & wait"
            def end():
                while not (root / "started").exists():
                    time.sleep(0.05)
                stop.set()
            threading.Thread(target=end).start()
            try:
                worker.run(command, root, root / "log", stop=stop)
            except worker.Stopped:
                pass
    """
    file = workspace / "owner.py"
    file.write_text(textwrap.dedent(script))
    subprocess.run([sys.executable, str(file)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=60)
    assert (workspace / "tidied").read_text() == "tidy\n"


def test_a_killed_pipeline_leaves_no_command_that_goes_on_writing(workspace: Path) -> None:
    script = f"""
        from pathlib import Path
        from flows import worker
        if __name__ == "__main__":
            worker.PRELOAD = []
            root = Path({str(workspace)!r})
            worker.run("touch started; sleep 3; touch orphan", root, root / "log")
    """
    file = workspace / "owner.py"
    file.write_text(textwrap.dedent(script))
    owner = subprocess.Popen([sys.executable, str(file)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    until = time.monotonic() + 30
    while not (workspace / "started").exists() and time.monotonic() < until:
        time.sleep(0.05)
    owner.kill()
    owner.wait()
    time.sleep(3.5)
    assert (workspace / "started").exists()
    assert not (workspace / "orphan").exists()


def test_commands_that_start_and_end_at_once_each_give_their_own_code(workspace: Path) -> None:
    """Starting a process asks after all others: two threads that read one exit code left 255 for the second."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(lambda i: worker.run(f"exit {i % 3}", workspace, workspace / f"{i}.log").code, range(300)))
    finally:
        sys.setswitchinterval(interval)
    assert codes == [i % 3 for i in range(300)]


def _dies_before_its_command(*args: object) -> None:
    raise RuntimeError("no command ran")


def test_a_process_that_ends_before_its_command_is_lost_and_one_whose_command_fails_is_not(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not worker.run("exit 1", workspace, workspace / "log").lost
    assert (workspace / "log").read_text() == ""  # the sign that it began is not the command's
    monkeypatch.setattr(worker, "_child", _dies_before_its_command)
    ended = worker.run("exit 0", workspace, workspace / "log")
    assert ended.lost and ended.code == 1


def test_a_command_whose_server_is_killed_is_lost_and_the_next_one_gets_a_new_server(workspace: Path) -> None:
    worker.warm([])

    def kill_server() -> None:
        until = time.monotonic() + 20
        while not (workspace / "started").exists() and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]

    threading.Thread(target=kill_server).start()
    assert worker.run("touch started; sleep 3; touch late", workspace, workspace / "log").lost
    assert worker.run("exit 3", workspace, workspace / "log").code == 3
    time.sleep(3)
    assert not (workspace / "late").exists()
