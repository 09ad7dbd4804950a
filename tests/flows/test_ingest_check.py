"""`prelude ingest-check`: what is known of folders and tables that nobody described, tried by a real ingest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import cli
from flows.ingest_check import check
from stages.common.errors import UserError
from tests.ingest.making import images, put, tone


def plan(text: str) -> dict[str, Any]:
    """The configuration among the lines."""
    found: dict[str, Any] = yaml.safe_load(text[text.index("title:") : text.index("\n\nan ingest of it")])
    return found


def test_a_folder_of_class_folders_is_pictures_with_a_label(tmp_path: Path) -> None:
    said = check(tmp_path, put(tmp_path / "birds", images({"crow": 12, "wren": 12})))
    made = plan(said)
    assert made["reader"] == {"name": "image_folder"} and made["labels"] == {"label": {"kind": "class"}}
    assert made["split"]["stratify"] == "label"
    assert "24 images" in said and "label: class of 2 classes" in said and "image: image" in said


def test_sounds_with_metadata_take_its_columns_and_its_split(tmp_path: Path) -> None:
    rows = [f"a{i}.wav,{'xy'[i % 2]},s{i // 3},{('train', 'validation', 'test')[i // 4]}" for i in range(12)]
    files = {f"a{i}.wav": tone(i) for i in range(12)}
    folder = put(tmp_path / "calls", {**files, "metadata.csv": "\n".join(["file_name,call,site,split", *rows])})
    made = plan(check(tmp_path, folder))
    assert made["reader"] == {"name": "audio_folder", "group": "site", "split": "split"}
    assert made["labels"] == {"call": {"kind": "class"}} and made["split"] == {"by": "declared"}


def test_a_table_of_molecules(tmp_path: Path) -> None:
    rows = [f"{i},m{i},{'C' * (i + 3)}O,{i / 7:.3f},{i % 2}" for i in range(40)]
    folder = put(tmp_path, {"assay.csv": "\n".join(["num,key,smiles,logp,toxic", *rows])})
    made = plan(check(tmp_path, folder / "assay.csv"))
    assert made["reader"]["media"] == {"smiles": {"kind": "molecule", "column": "smiles"}} and made["reader"]["id"] == "key"
    assert made["labels"] == {"logp": {"kind": "number"}, "toxic": {"kind": "class"}}


def test_rows_of_events_become_entities(tmp_path: Path) -> None:
    rows = [
        f"c{i % 12},2024-01-{1 + i // 12:02d},{('buy', 'look')[i % 5 % 2]},{i * 1.5},{('free', 'gold')[i % 12 % 2]}"
        for i in range(120)
    ]
    folder = put(tmp_path / "shop", {"log.csv": "\n".join(["customer,when,what,amount,plan", *rows])})
    said = check(tmp_path, folder)
    made = plan(said)
    assert made["reader"] == {
        "name": "event_table",
        "files": ["log.csv"],
        "entity": "customer",
        "time": "when",
        "code": ["what"],
        "static": ["plan"],
        "value": "amount",
    }
    assert made["labels"] == {"plan": {"kind": "class"}} and "events: events" in said
    assert made["codes"] == 400  # without them an encoder cannot read the events


def test_an_entity_without_a_telling_name_is_the_column_that_decides_a_label(tmp_path: Path) -> None:
    rows = [
        f"2024-{1 + i // 20:02d}-{1 + i // 4 % 5:02d},2024-{1 + i // 20:02d}-{1 + i // 4 % 5:02d}T{i % 4:02d}:00:00,"
        f"{('up', 'down')[i * 7 % 5 % 2]},{i * 0.5},{('winter', 'spring')[i // 20 // 2 % 2]}"
        for i in range(160)
    ]
    said = check(tmp_path, put(tmp_path / "log", {"log.csv": "\n".join(["day,when,what,amount,season", *rows])}))
    made = plan(said)
    reader = {k: made["reader"].get(k) for k in ("name", "entity", "time", "code", "static", "value")}
    assert reader == {
        "name": "event_table",
        "entity": "day",
        "time": "when",
        "code": ["what"],
        "static": ["season"],
        "value": "amount",
    }
    assert made["labels"] == {"season": {"kind": "class"}} and "events of 40 values of day, at when" in said


def test_rows_with_a_text_of_their_own_are_no_events(tmp_path: Path) -> None:
    rows = [f"2024-01-{1 + i % 28:02d},{'abcd'[i % 4]},{'xxyy'[i % 4]},a review with number {i}" for i in range(80)]
    made = plan(check(tmp_path, put(tmp_path / "log", {"log.csv": "\n".join(["date,shop,town,review", *rows])})))
    assert made["reader"]["name"] == "table" and made["tokenizer"] == {"kind": "wordpiece", "vocabulary": 4096}


def test_a_long_log_says_how_much_of_it_was_looked_at(tmp_path: Path) -> None:
    rows = [f"c{i // 100},2024-01-01T{i % 24:02d}:00:00,{('buy', 'look')[i * 7 % 5 % 2]}" for i in range(5100)]
    said = check(tmp_path, put(tmp_path / "shop", {"log.csv": "\n".join(["customer,when,what", *rows])}))
    assert "events of 50 values of customer (in the first 5000 rows), at when" in said and "test" in said


def test_nodes_and_edges_become_a_graph(tmp_path: Path) -> None:
    nodes = "\n".join(["id,abstract,field", *(f"p{i},a text about number {i},{'ab'[i % 2]}" for i in range(30))])
    edges = "\n".join(["citing,cited", *(f"p{i},p{(i * 7) % 30}" for i in range(1, 30))])
    made = plan(check(tmp_path, put(tmp_path / "papers", {"nodes.csv": nodes, "edges.csv": edges})))
    assert made["reader"] == {
        "name": "edge_list",
        "nodes": "nodes.csv",
        "edges": "edges.csv",
        "id": "id",
        "text": "abstract",
        "ends": ["citing", "cited"],
    }
    assert made["labels"] == {"field": {"kind": "class"}} and made["tokenizer"] == {"kind": "wordpiece", "vocabulary": 4096}


def test_it_writes_a_configuration_once_and_says_how_to_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params/corpus").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "birds", images({"crow": 6, "wren": 6}))
    assert cli.main(["ingest-check", "birds", "--write", "birds"]) == 0
    assert "written: params/corpus/birds.yaml" in capsys.readouterr().out
    assert yaml.safe_load((tmp_path / "params/corpus/birds.yaml").read_text())["reader"] == {"name": "image_folder"}
    assert cli.main(["ingest-check", "birds", "--write", "birds"]) == 2
    assert "configured already" in capsys.readouterr().err
    assert cli.main(["ingest-check", "birds", "--write", "my birds"]) == 2


def test_what_is_no_data_and_what_cannot_be_ingested_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        check(tmp_path, tmp_path / "nothing")
    with pytest.raises(UserError, match=r"no data that is known here: \.txt"):
        check(tmp_path, put(tmp_path / "notes", {"a.txt": "x"}))
    with pytest.raises(UserError, match="no column to encode"):
        check(tmp_path, put(tmp_path / "flags", {"a.csv": "yes\n" + "a\nb\n" * 20}))
    said = check(tmp_path, put(tmp_path / "broken", {"a.png": b"no picture", "b.png": b"nor this"}))
    assert "an ingest of it stops: none of 2 items can be used" in said
