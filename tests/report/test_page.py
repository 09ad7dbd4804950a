"""The page without a browser: what it says, what it escapes, what it does without, that it repeats to the byte."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from stages.common import atomic
from stages.common.errors import ContractError
from stages.common.workspace import Workspace
from stages.report import __main__ as report
from stages.report import page
from stages.report.collect import Found, Node, collect, folders
from tests.report.workspace import write_report

EVIL = "</script><script>alert(1)</script>{{ 7 * 7 }}"


class Reader(HTMLParser):
    """Collects the text of a page outside of scripts and styles, and every URL in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.urls, self.scripts, self._skip = "", [], 0, False
        self.urls: list[str]
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skip = tag in ("script", "style")
        self.scripts += tag == "script"
        self.urls += [v for k, v in attrs if k in ("src", "href") and v]

    def handle_endtag(self, tag: str) -> None:
        self._skip = False

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self.text += data


def read(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def embedded(html: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


def row(**changes: Any) -> dict[str, Any]:
    base = {"task": "probe", "metric": "accuracy", "slice": "all", "mean": 0.5, "std": 0.1, "seeds": {"0": 0.4, "1": 0.6}}
    return base | {"items": 100, "low": 0.4, "high": 0.6, "draws": 1000} | changes


def test_the_scoreboard_shows_each_claim_with_verdict_figures_and_interval(page_folder: Path) -> None:
    text = " ".join(Reader(read(page_folder)).text.split())
    assert "Digits quickstart" in text and "Chen et al. 2020; Bardes et al. 2022" in text
    assert "✓ holds Contrastive pretraining beats a random encoder and raw pixels (Sec. 4)" in text
    assert "✕ contradicted Contrastive prediction beats autoregressive prediction by ten points (Tab. 2)" in text
    assert re.search(r"probe_simclr over probe_pixels \+0\.\d{3} \[\+0\.\d{3}, \+0\.\d{3}\] over 3 seeds · holds", text)
    assert re.search(r"Spearman’s ρ of rankme and accuracy over 6 encoders", text)


def test_simulated_is_named_in_every_row_card_claim_and_chart_of_simulated_data_and_nowhere_else(page_folder: Path) -> None:
    html = read(page_folder)
    data = embedded(html)
    flags = {c["task"]: c["simulated"] for c in data["share"]} | {m["task"]: m["simulated"] for m in data["maps"]}
    flags |= {e["encoder"]: e["simulated"] for m in data["learning"] for e in m["encoders"]}
    of_speech = {name for name in flags if re.search("cpc|apc|melspec", name)}
    assert of_speech and all(flags[name] == (name in of_speech) for name in flags)
    results = re.search(r'id="results-table".*?</table>', html, re.S)
    assert results
    for line in re.findall(r"<tr>.*?</tr>", results[0], re.S)[1:]:
        assert ("simulated" in line) == ("speech" in line)
    speech = re.search(r'id="system-speech".*?</article>', html, re.S)
    digits = re.search(r'id="system-quickstart".*?</article>', html, re.S)
    assert speech and speech[0].count(">simulated<") == 3  # its title and both claims
    assert digits and ">simulated<" not in digits[0]


def test_a_system_declared_simulated_is_so_whatever_its_records_say() -> None:
    found = Found({"s": {"provenance": "simulated", "rows": [row()]}, "t": {"rows": [row()]}}, {"s": {}, "t": {}}, [])
    assert page.simulated_tasks(found, page.Lineage([])) == {("s", "probe"): True, ("t", "probe"): False}


def test_the_page_fetches_nothing_and_holds_its_styles_and_scripts(page_folder: Path) -> None:
    html = read(page_folder)
    assert all(u.startswith(("#", "data:", "http://127.0.0.1:5000/")) for u in Reader(html).urls)
    assert "@import" not in html and "url(" not in html and len(html) < 2_000_000


def test_text_from_data_cannot_become_markup() -> None:
    claim = {"id": EVIL, "says": EVIL, "verdict": "open", "metric": EVIL, "slice": "all", "margin": 0.0, "seeds": 1}
    difference = {"estimate": 0.1, "low": None, "high": None, "by": "nothing", "n": 1, "verdict": "open", "note": EVIL}
    claim |= {
        "values": {EVIL: {EVIL: {"mean": 1.0, "std": None}}},
        "pairs": [{"better": EVIL, "worse": EVIL, "difference": difference}],
    }
    point = {"slice": EVIL, "mean": 0.5, "std": None, "low": None, "high": None}
    system = {"title": EVIL, "paper": EVIL, "claims": [claim], "rows": [row(task=EVIL, metric=EVIL)]}
    system |= {"curves": [{"metric": EVIL, "task": EVIL, "points": [point]}], "tasks": {EVIL: {"encoder": EVIL, "head": EVIL}}}
    maps = {"s": {EVIL: {0: {"id": [EVIL], "x": [0.0], "y": [0.0], "label": [EVIL]}}}}
    corpus = {"plan": {"title": EVIL, "licence": EVIL, "labels": {EVIL: {"kind": EVIL}}}, "device": EVIL, "warnings": [EVIL]}
    corpus |= {"details": {"quarantined": [{"item": EVIL, "reason": EVIL}], "counts": {EVIL: 3}}, "digest": EVIL}
    corpus |= {"throughput": {EVIL: 1.0}, "versions": {EVIL: EVIL}}
    trained = Node("pretrain", EVIL, {}, {EVIL: {0: ([1, 2], [0.1, 0.2])}})
    html = page.render(Found({"s": system}, maps, [Node("ingest", EVIL, corpus), trained]))
    assert Reader(html).scripts == 3 and "<script>alert" not in html
    assert Reader(html).text.count(EVIL) > 10
    assert embedded(html)["maps"][0]["seeds"][0]["label"] == [EVIL]


def test_an_empty_workspace_says_what_to_do(tmp_path: Path) -> None:
    folder = write_report(Workspace(tmp_path))
    text = " ".join(Reader(read(folder)).text.split())
    for line in ("Nothing has been evaluated yet", "No results yet", "No records yet", "No corpus has been ingested yet"):
        assert line in text
    assert json.loads((folder / "metrics.json").read_text()) == {}


def test_records_with_fields_missing_are_shown_with_dashes() -> None:
    nodes = [Node("ingest", "bare", {}), Node("fit", "t", {"timings": None, "throughput": {}, "details": None, "plan": None})]
    text = " ".join(Reader(page.render(Found({}, {}, nodes))).text.split())
    assert "No counts recorded" in text and "licence unknown" in text and "fit t – – –" in text


def test_a_system_without_claims_or_a_task_without_values_is_still_shown() -> None:
    rows = [row(mean=None, std=None, low=None, high=None, items=0)]
    text = " ".join(Reader(page.render(Found({"s": {"rows": rows}}, {"s": {}}, []))).text.split())
    assert "No claims: its figures are in the table below" in text and "probe accuracy all – – – 2 –" in text


def test_systems_go_by_their_number_in_the_library_then_by_name() -> None:
    systems = {"b": {}, "a": {}, "z": {"seed": 3}, "y": {"seed": 12}}
    assert [s["id"] for s in page.content(Found(systems, {s: {} for s in systems}, []))["systems"]] == ["z", "y", "a", "b"]


def test_the_inputs_are_every_finished_report_and_record_but_the_reports_own(full: Workspace) -> None:
    found = folders(full)
    assert {"reports/quickstart", "records/ingest/digits", "records/evaluate/speech"} <= set(found)
    write_report(full)
    assert folders(full) == found


def test_running_again_gives_the_same_bytes_and_the_tables_agree_with_the_page(full: Workspace) -> None:
    folder = write_report(full)
    first = atomic.manifest(folder)["digest"]
    assert atomic.manifest(write_report(full))["digest"] == first
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"quickstart", "speech"} and set(metrics["quickstart"]["probe_simclr"]) == {"5", "10%", "all"}
    assert (folder / "learning_curves.csv").read_text().startswith("encoder,seed,step,name,value\n")
    assert ",simulated\n" in (folder / "label_share.csv").read_text()


def test_a_damaged_input_is_named(full: Workspace, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text("[1]")
    with pytest.raises(ContractError, match=r"expected an object[\s\S]*record.json"):
        collect({"records/fit/t": tmp_path})
    (tmp_path / "record.json").write_text("{}")
    (tmp_path / "series.parquet").write_text("not a table")
    with pytest.raises(ContractError, match=r"cannot be read[\s\S]*series.parquet"):
        collect({"records/fit/t": tmp_path})
    with pytest.raises(ContractError, match="missing"):
        collect({"reports/s": tmp_path})


def test_the_command_line_takes_no_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert report.main(["--plan", str(tmp_path / "none.yaml")]) == 2
    assert "the plan cannot be read" in capsys.readouterr().err
