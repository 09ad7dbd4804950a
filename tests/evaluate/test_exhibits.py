"""Pictures and sounds on their way from a task to the page."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from stages.common import atomic, tasks
from stages.common.errors import ContractError
from stages.evaluate import exhibits
from stages.evaluate.judged import Judged
from stages.report import page
from stages.report.collect import Found
from stages.report.exhibits import galleries, read
from tests.evaluate.builders import task_plan

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")


def task(root: Path, key: str = "t", present: bool = True) -> Judged:
    """A task with a picture of each of two seeds, and a sound."""
    folder = root / "demo" / key
    folder.mkdir(parents=True)
    made = [tasks.Exhibit("picture", "p", PNG, "a <b>map</b>", ("crack", "score")).written(folder, s, "10%") for s in (0, 1)]
    made.append(tasks.Exhibit("sound", "s", b"RIFF", "said", ("crack", "heard")).written(folder, 0, "10%"))
    tasks.write(folder, tasks.TaskResult(key, "demo", "f", "e", "h", [tasks.Value("x", 1.0, 0)], exhibits=made), [])
    if not present:
        (folder / made[0].file).unlink()
    atomic.seal(folder)
    return Judged(key, task_plan(), folder)


def test_those_of_the_first_seed_are_copied_and_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    found = exhibits.collect({"t": task(tmp_path)}, out)
    assert [(e["task"], e["kind"], e["file"]) for e in found] == [
        ("t", "picture", "exhibits/t__p_10_seed0.png"),
        ("t", "sound", "exhibits/t__s_10_seed0.wav"),
    ]
    assert (out / found[0]["file"]).read_bytes() == PNG


def test_one_without_a_file_and_more_than_a_page_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ContractError, match="an exhibit has no file"):
        exhibits.collect({"t": task(tmp_path, present=False)}, tmp_path)
    monkeypatch.setattr(exhibits, "MOST_MB", 0)
    with pytest.raises(ContractError, match="a page holds 0"):
        exhibits.collect({"u": task(tmp_path, "u")}, tmp_path)


def test_the_page_shows_them_in_their_places_with_nothing_fetched(tmp_path: Path) -> None:
    found = exhibits.collect({"t": task(tmp_path)}, tmp_path)
    shown = read(tmp_path, {"exhibits": found})
    (gallery,) = galleries({"demo": shown})
    assert (gallery.rows, gallery.columns) == (["crack"], ["score", "heard"])
    html = page.render(Found({"demo": {}}, {"demo": {}}, [], {"demo": shown}))
    assert f"data:image/png;base64,{base64.b64encode(PNG).decode()}" in html and "<audio controls" in html
    assert "a &lt;b&gt;map&lt;/b&gt;" in html and "<b>map" not in html
    assert 'id="exhibits"' not in page.render(Found({"demo": {}}, {"demo": {}}, []))


@pytest.mark.parametrize("file", ["exhibits/gone.png", "../t.png", "exhibits/t__s_10_seed0.wav"])
def test_a_file_that_is_not_there_or_lies_elsewhere_is_refused(tmp_path: Path, file: str) -> None:
    exhibits.collect({"t": task(tmp_path)}, tmp_path)
    (tmp_path.parent / "t.png").write_bytes(PNG)
    with pytest.raises(ContractError, match="an exhibit's file is missing"):
        read(tmp_path, {"exhibits": [{"kind": "picture", "file": file}]})
