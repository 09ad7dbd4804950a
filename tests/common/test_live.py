"""Live progress: one event per line, each step once, also after a kill."""

from __future__ import annotations

import json
from pathlib import Path

from stages.common.live import Live, read


def run(folder: Path, steps: range, resume_at: int | None = None, digest: str = "d", seed: int = 0) -> Path:
    live = Live(folder, seed, digest, 10, resume_at)
    for step in steps:
        live.event(step, {"loss": step / 2})
    live.close()
    return live.path


def steps(path: Path) -> list[int]:
    return [e["step"] for e in read(path)]


def test_events_carry_where_the_run_stands(tmp_path: Path) -> None:
    path = run(tmp_path / "new" / "folder", range(1, 3), seed=2)
    assert path.name == "seed=2.jsonl"
    (first, _) = read(path)
    assert {k: first[k] for k in ("step", "steps", "seed", "digest", "values")} == {
        "step": 1,
        "steps": 10,
        "seed": 2,
        "digest": "d",
        "values": {"loss": 0.5},
    }


def test_an_event_is_seen_as_soon_as_it_is_logged(tmp_path: Path) -> None:
    live = Live(tmp_path, 0, "d", 10)
    live.event(1, {"loss": 1.0})
    assert steps(live.path) == [1]
    live.close()


def test_a_resumed_run_drops_what_lies_beyond_its_snapshot(tmp_path: Path) -> None:
    run(tmp_path, range(1, 8))
    assert steps(run(tmp_path, range(6, 10), resume_at=5)) == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_a_fresh_run_starts_with_an_empty_file(tmp_path: Path) -> None:
    run(tmp_path, range(1, 8))
    assert steps(run(tmp_path, range(1, 3))) == [1, 2]


def test_a_run_of_another_digest_keeps_nothing_of_the_earlier(tmp_path: Path) -> None:
    run(tmp_path, range(1, 8))
    assert steps(run(tmp_path, range(4, 5), resume_at=3, digest="other")) == [4]


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = run(tmp_path, range(1, 4))
    path.write_text(path.read_text()[:-20])
    assert steps(path) == [1, 2]
    assert steps(run(tmp_path, range(3, 4), resume_at=2)) == [1, 2, 3]


def test_a_loss_that_is_not_finite_is_an_event_like_any_other(tmp_path: Path) -> None:
    live = Live(tmp_path, 0, "d", 10)
    live.event(1, {"loss": float("nan")})
    live.event(2, {"loss": 1.0})
    live.close()
    assert steps(live.path) == [1, 2]


def test_there_are_no_events_before_the_run(tmp_path: Path) -> None:
    assert read(tmp_path / "none.jsonl") == []


def test_every_line_is_one_object(tmp_path: Path) -> None:
    lines = run(tmp_path, range(1, 4)).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
