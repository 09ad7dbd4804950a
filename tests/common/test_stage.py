"""How a stage runs: inputs checked, output whole or not there, a record, and an exit code that says whose mistake it was."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy  # noqa: F401  it brings a library of its own
import pytest
from threadpoolctl import threadpool_info

from stages.common import atomic, plan, process, stage
from stages.common.errors import ContractError, UserError
from stages.common.plan import Plan
from stages.common.schema import Part, build
from stages.common.stage import Job
from stages.common.workspace import Workspace
from tests.common.conftest import freeze
from tests.toy import plan_with

Start = Callable[..., subprocess.Popen[str]]


def inputs(key: str, node: plan.EncoderPlan, workspace: Workspace) -> dict[str, Path]:
    return {"corpus": workspace.corpus(node.corpus)}


def target(key: str, node: plan.EncoderPlan, workspace: Workspace) -> Path:
    return workspace.encoder(key)


def work(job: Job) -> None:
    """Copies its input."""
    shutil.copy(job.inputs["corpus"] / "a.txt", job.out / "b.txt")
    job.record.metric("rows", 3, seed=0)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(process, "die_with_parent", lambda: None)  # pytest is to outlive its shell
    with atomic.replacing(tmp_path / "data/corpora/digits") as folder:
        (folder / "a.txt").write_text("rows")
    (tmp_path / "params.yaml").write_text(json.dumps(plan_with()))
    return Workspace(tmp_path)


def whole() -> Plan:
    return build(Plan, plan_with(), "plan")


def execute(workspace: Workspace, does: Callable[[Job], None] = work) -> Path:
    return stage.execute("pretrain", "a", whole(), workspace, does, inputs, target)


def run(does: Callable[[Job], None] = work, *argv: str) -> int:
    return stage.run("pretrain", does, inputs, target, list(argv or ["a"]))


def record(workspace: Workspace) -> dict[str, object]:
    found: dict[str, object] = json.loads((workspace.record("pretrain", "a") / "record.json").read_text())
    return found


def test_a_stage_makes_its_output_and_its_record(workspace: Workspace) -> None:
    out = execute(workspace)
    assert (out / "b.txt").read_text() == "rows" and atomic.damaged(out) == []
    found = record(workspace)
    assert found["inputs"] == [
        {"name": "corpus", "path": "data/corpora/digits", "digest": atomic.manifest(workspace.corpus("digits"))["digest"]}
    ]
    assert found["outputs"] == [{"name": "pretrain", "path": "data/encoders/a", "digest": atomic.manifest(out)["digest"]}]
    assert found["metrics"] == [{"name": "rows", "value": 3.0, "seed": 0, "slice": "all", "n": None}]


def test_work_is_handed_its_node_the_plan_and_a_folder_for_what_it_resumes_from(workspace: Workspace) -> None:
    seen: list[Job] = []
    execute(workspace, seen.append)
    (job,) = seen
    assert (job.node, job.plan, job.input_digests.keys()) == (whole().encoders["a"], whole(), {"corpus"})
    assert job.work == workspace.state / "resume" / "pretrain" / f"a-{job.digest[:16]}"
    assert not job.out.is_relative_to(workspace.encoder("a"))


def digest(workspace: Workspace) -> object:
    execute(workspace)
    return record(workspace)["digest"]


def test_the_nodes_digest_changes_with_its_plan_its_input_and_nothing_else(workspace: Workspace) -> None:
    first = digest(workspace)
    assert digest(workspace) == first
    with atomic.replacing(workspace.corpus("digits")) as folder:
        (folder / "a.txt").write_text("other rows")
    assert digest(workspace) != first


def test_an_output_does_not_change_when_nothing_does(workspace: Workspace) -> None:
    digests = [atomic.manifest(execute(workspace))["digest"] for _ in range(2)]
    assert digests[0] == digests[1]


def test_sums_of_numpy_do_not_depend_on_the_machines_cores(workspace: Workspace) -> None:
    found: list[set[int]] = []
    process.set_numpy_threads(2)
    execute(workspace, lambda job: found.append({p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}))
    assert found == [{1}]


def test_a_damaged_input_is_named_before_any_work(workspace: Workspace) -> None:
    (workspace.corpus("digits") / "a.txt").write_text("ro")
    with pytest.raises(ContractError) as caught:
        execute(workspace, lambda job: pytest.fail("it worked on"))
    assert caught.value.where == str(workspace.corpus("digits") / "a.txt")


def test_nobody_else_makes_the_same_output_meanwhile(workspace: Workspace) -> None:
    def try_lock(job: Job) -> None:
        (path,) = (workspace.state / "locks").iterdir()
        with path.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    execute(workspace, try_lock)


def test_the_report_has_no_node_and_no_record(workspace: Workspace) -> None:
    def page(key: str, node: None, workspace: Workspace) -> Path:
        return workspace.page

    out = stage.execute("report", "report", whole(), workspace, lambda job: None, lambda *_: {}, page)
    assert atomic.manifest(out)["files"] == {}
    assert not workspace.record("report", "report").exists()


def test_exit_code_0_when_done(workspace: Workspace) -> None:
    assert run() == 0


def test_a_json_plan_will_do_where_there_is_no_yaml(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").rename(tmp_path / "plan.json")
    assert run(work, "a", "--plan", "plan.json") == 0


def test_an_unknown_node_is_the_users_mistake(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(work, "b") == 2
    assert "unknown encoders node 'b'" in capsys.readouterr().err


def test_a_mistake_in_the_data_is_the_users_and_shown_once(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(job: Job) -> None:
        raise UserError("the label is constant", where="column digit", do="choose another")

    assert run(refuse) == 2
    assert capsys.readouterr().err == (
        "error: pretrain a: the label is constant\n  where: column digit\n  do: choose another\n"
    )


def test_an_interrupt_has_exit_code_130_and_leaves_the_earlier_output(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(job: Job) -> None:
        (job.out / "half").write_text("half")
        raise KeyboardInterrupt

    execute(workspace)
    assert run(interrupted) == 130
    assert capsys.readouterr().err == "pretrain a: interrupted; run it again to go on\n"
    assert atomic.damaged(workspace.encoder("a")) == []


def test_our_own_mistake_is_a_traceback(workspace: Workspace) -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda job: 1 / 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(FileNotFoundError):
        run(lambda job: (job.out / "none").read_text())  # type: ignore[arg-type, return-value]


def test_our_own_mistake_has_exit_code_1(workspace: Workspace, python: Start) -> None:
    code = "import sys; from stages.common import stage; from pathlib import Path\n"
    code += "sys.exit(stage.run('pretrain', lambda job: 1 / 0, lambda *_: {}, lambda *_: Path('out'), ['a']))"
    process = python(code)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 1 and "ZeroDivisionError" in shown


ARROW = """
import sys
from pathlib import Path
import pyarrow as pa
from stages.common import stage
def work(job):
    sys.exit("pandas" in sys.modules if pa.array([1]) else 3)
stage.run("pretrain", work, lambda *_: {}, lambda *_: Path("data/encoders/a").absolute(), ["a"])
"""


def test_a_stage_that_makes_arrays_does_not_load_pandas(workspace: Workspace, python: Start) -> None:
    process = python(ARROW)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 0, shown


def fill(job: Job) -> None:
    (job.out / "big").write_bytes(b"x" * (4 << 20))


def on(disk: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The same workspace on another disk, with an earlier output."""
    shutil.copytree(workspace.root, disk, dirs_exist_ok=True, ignore=shutil.ignore_patterns(disk.name))
    monkeypatch.chdir(disk)
    moved = Workspace(disk)
    execute(moved)
    return moved


def test_a_full_disk_is_one_clear_error_and_the_earlier_output_stays_whole(
    workspace: Workspace, small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = on(small_disk, workspace, monkeypatch)
    assert run(fill) == 2
    shown = capsys.readouterr().err
    assert "No space left on device" in shown and "do: make room" in shown and "Traceback" not in shown
    assert (moved.encoder("a") / "b.txt").read_text() == "rows" and atomic.damaged(moved.encoder("a")) == []


def test_a_read_only_disk_is_one_clear_error_and_the_earlier_output_stays_whole(
    workspace: Workspace, small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = on(small_disk, workspace, monkeypatch)
    freeze(small_disk)
    assert run() == 2
    assert "Read-only file system" in capsys.readouterr().err
    assert atomic.damaged(moved.encoder("a")) == []


def test_the_code_digest_changes_with_any_source_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "common").mkdir()
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "probe.py").write_text("a = 1")
    monkeypatch.setattr(stage, "__file__", str(tmp_path / "common" / "stage.py"))
    digests = [stage.code_digest.__wrapped__()]
    (tmp_path / "fit" / "probe.py").write_text("a = 2")
    digests.append(stage.code_digest.__wrapped__())
    assert len(set(digests)) == 2


LIMITED = """
import resource, sys
from pathlib import Path
from stages.common import stage
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
fill = lambda job: (job.out / "big").write_bytes(b"x" * (4 << 20))
sys.exit(stage.run("pretrain", fill, lambda *_: {}, lambda *_: Path("data/encoders/a").absolute(), ["a"]))
"""


def test_a_file_over_the_limit_on_sizes_is_one_clear_error(workspace: Workspace, python: Start) -> None:
    execute(workspace)
    process = python(LIMITED)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 2 and "File too large" in shown and "Traceback" not in shown
    assert atomic.damaged(workspace.encoder("a")) == []
    assert [p.name for p in workspace.encoder("a").parent.iterdir()] == ["a"]


def save_weights(job: Job) -> None:
    import torch

    from stages.common.corpus import Column
    from stages.encoders.core import encoder

    part = Part("none")
    card = encoder.EncoderCard(part, part, Column("x", "media", "pixels"), "c", "d", "d", "none", 0, 0, 1)
    encoder.save(job.out, torch.nn.Linear(1000, 1000), card)


def test_weights_on_a_full_disk_are_one_clear_error(
    workspace: Workspace, small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = on(small_disk, workspace, monkeypatch)
    assert run(save_weights) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert atomic.damaged(moved.encoder("a")) == []
