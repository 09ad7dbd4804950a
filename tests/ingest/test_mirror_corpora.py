"""The committed corpora, ingested from the mirror through their own configuration; facts are those of each SOURCE.json."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stages.common.corpus import Corpus
from stages.common.media import decode, read_wav
from stages.common.plan import CorpusPlan, Plan, validate
from stages.common.schema import build
from stages.common.workspace import Workspace
from tests.ingest.making import ingest

ROOT = Path(__file__).parents[2]
PARAMS = ROOT / "params" / "corpus"
NAMES = sorted(p.stem for p in PARAMS.glob("*.yaml"))


def params(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((PARAMS / f"{name}.yaml").read_text())
    return read


@pytest.fixture(scope="session")
def made(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Ingests a committed corpus once per session, in a process of its own: its memory is in its record."""
    root, done = tmp_path_factory.mktemp("corpora"), dict[str, Corpus]()
    environment = {**os.environ, "PRELUDE_MIRROR": str(mirror), "PYTHONPATH": str(ROOT)}

    def make(name: str) -> Corpus:
        if name not in done:
            (root / "params.yaml").write_text(yaml.safe_dump({"corpora": {name: params(name)}}))
            # A shell between: the kernel counts what a process held before its exec, which is all that this one holds.
            command = ["sh", "-c", '"$0" -m stages.ingest "$1"; exit $?', sys.executable, name]
            ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
            assert ended.returncode == 0, ended.stderr
            done[name] = Corpus(Workspace(root).corpus(name))
        return done[name]

    return make


def source(mirror: Path, name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((mirror / params(name)["source"]["slug"] / "SOURCE.json").read_text())
    return read


@pytest.mark.parametrize("name", NAMES)
def test_each_configuration_is_a_valid_plan(name: str) -> None:
    validate(build(Plan, {"corpora": {name: params(name)}}, "plan"))


@pytest.mark.mirror
@pytest.mark.parametrize("name", [n for n in NAMES if "slug" in params(n)["source"]])
def test_each_configuration_names_the_repository_commit_and_licence_of_its_source(mirror: Path, name: str) -> None:
    plan, facts = build(CorpusPlan, params(name), name), source(mirror, name)
    assert (plan.source.args["repo"], plan.source.args["commit"]) == (facts["repo"], facts["commit"])
    assert plan.licence == facts["licence"]
    assert plan.provenance == ("simulated" if plan.reader.name == "mesh_views" else "real")  # pictures that nobody took


def values(corpus: Corpus, column: str) -> list[Any]:
    found: list[Any] = corpus.table([column])[column].to_pylist()
    return found


@pytest.mark.mirror
def test_fsdd_has_three_thousand_clips_and_no_speaker_in_two_splits(made: Any, mirror: Path) -> None:
    assert "3000 clips" in source(mirror, "fsdd")["format"]
    corpus = made("fsdd")
    assert corpus.card.counts == {"train": 2000, "valid": 500, "test": 500} and corpus.card.groups == {
        "train": 4,
        "valid": 1,
        "test": 1,
    }
    assert Counter(values(corpus, "digit")) == dict.fromkeys(range(10), 300)
    row = corpus.table(["id", "audio"]).slice(0, 1).to_pylist()[0]
    assert row["audio"]["bytes"] == (mirror / "fsdd/recordings" / f"{row['id']}.wav").read_bytes()
    assert corpus.card.totals["seconds"] / 3000 == pytest.approx(0.43, abs=0.01)  # "mean about 0.43 s"


@pytest.mark.mirror
def test_strings_of_fsdd_spell_the_digits_of_their_clips(made: Any) -> None:
    corpus = made("fsdd_strings")
    assert corpus.card.counts == {"train": 1502, "valid": 112, "test": 111} and corpus.card.totals["quarantined"] == 6
    used: Counter[str] = Counter()
    for row in corpus.table(["split", "group", "text", "parts", "audio"]).to_pylist():
        parts = row["parts"].split()
        assert row["text"] == "".join(p[0] for p in parts) and {p.split("_")[1] for p in parts} == {row["group"]}
        assert 3 <= len(parts) <= 6 and len(read_wav(row["audio"]["bytes"])) <= 2.8 * 8000
        used.update(parts)
    for speaker, uses in {"george": 3, "jackson": 3, "nicolas": 3, "yweweler": 1}.items():  # the others have clips too long
        counts = [n for part, n in used.items() if speaker in part]
        assert max(counts) == uses and 500 * uses - 2 * uses <= sum(counts)  # two clips make no string


@pytest.mark.mirror
def test_eurosat_has_two_hundred_tiles_of_each_of_ten_classes(made: Any) -> None:
    corpus = made("eurosat")
    assert set(Counter(values(corpus, "label")).values()) == {200}
    assert corpus.card.counts == {"train": 1400, "valid": 200, "test": 400}
    assert corpus.card.totals["pixels"] == 2000 * 64 * 64
    contract = {"kind": "image", "height": 64, "width": 64, "channels": 3}
    assert decode(corpus.table(["image"]).slice(0, 2)["image"], corpus.card.media(), contract).data.std() > 1


@pytest.mark.mirror
def test_speechocean_has_two_hundred_clips_of_forty_speakers(made: Any, mirror: Path) -> None:
    assert "200 clips, 9.2 min, 990 words" in source(mirror, "speechocean762")["checked"]
    corpus = made("speechocean762")
    assert corpus.count() == 200 and corpus.card.totals["seconds"] / 60 == pytest.approx(9.2, abs=0.05)
    assert sum(len(t.split()) for t in values(corpus, "text")) == 990
    assert corpus.card.groups["test"] == 16 and sum(corpus.card.groups.values()) == 40
    assert corpus.card.media().rate == 16000 and read_wav(values(corpus, "audio")[0]["bytes"]).dtype == np.int16
    assert corpus.card.quarantined == []


@pytest.mark.mirror
def test_cora_has_its_nodes_edges_and_unlabelled_papers(made: Any, mirror: Path) -> None:
    assert "2,277 nodes / 5,214 edges" in source(mirror, "cora_text")["shape"]
    corpus = made("cora_text")
    rows = corpus.table(["id", "topic", "edges"]).to_pylist()
    assert len(rows) == 2277 and sum(r["topic"] is None for r in rows) == 66
    lines = (mirror / "cora-hepth-text/datasets/cora/graph.txt").read_text().splitlines()
    pairs = {tuple(sorted(map(int, line.split()))) for line in lines}
    assert len(lines) == 5214
    neighbours = {int(r["id"][5:]): {int(e[5:]) for e in r["edges"]} for r in rows}
    assert {(a, b) for a, of in neighbours.items() for b in of if a < b} == {p for p in pairs if p[0] != p[1]}


@pytest.mark.mirror
def test_bbbp_quarantines_the_rows_without_a_molecule(made: Any, mirror: Path) -> None:
    table = list(csv.DictReader((mirror / "moleculenet-csv/latest/BBBP.csv").open()))
    corpus = made("moleculenet_bbbp")
    assert len(table) == 2050 and len(corpus.card.quarantined) == sum(not r["smiles"] for r in table) == 11
    stored = dict(zip(values(corpus, "id"), values(corpus, "penetrates"), strict=True))
    assert stored == {r["num"]: int(r["p_np"]) for r in table if r["smiles"]}
    assert corpus.card.duplicates["exact"]["cross_split_pairs"] == 0  # one molecule, one split


@pytest.mark.mirror
def test_esol_has_a_number_for_each_molecule(made: Any, mirror: Path) -> None:
    table = list(csv.DictReader((mirror / "moleculenet-csv/latest/ESOL_delaney-processed.csv").open()))
    corpus = made("moleculenet_esol")
    stored = dict(zip(values(corpus, "id"), values(corpus, "solubility"), strict=True))
    assert stored == {r["Compound ID"]: float(r["measured log solubility in mols per litre"]) for r in table}


@pytest.mark.mirror
def test_csi_has_346_points_of_which_two_have_no_position(made: Any, mirror: Path) -> None:
    assert "346 pcap files parse" in source(mirror, "csi_indoor")["checked"]
    corpus = made("csi_indoor")
    rows = corpus.table(["id", "split", "x", "y", "path", "csi"]).to_pylist()
    assert len(rows) == 346 and corpus.card.counts["test"] == 166
    assert {r["id"] for r in rows if r["x"] is None} == {"test-242_1", "test-A233_3"}
    at = {r["id"]: r for r in rows}
    assert at["ref-204_1"]["x"] == pytest.approx(9.72643, abs=1e-5) and at["test-204_1"]["y"] == pytest.approx(
        5.48869, abs=1e-5
    )
    whole = (mirror / "csu_csi_indoor/data/test/test_204_1_100.pcap").read_bytes()
    first = np.frombuffer(whole, "<i2", 128, 24 + 16 + 60)
    assert at["test-204_1"]["csi"][:128] == first.tolist()


def nearest(corpus: Corpus, subcarriers: list[int]) -> tuple[float, float]:
    """How far (m) a test point lies, on average, from the mean of its path's five nearest reference points by the amplitudes of
    these subcarriers, and from the mean of all of them.
    """
    rows = [r for r in corpus.table(["split", "x", "y", "path", "csi"]).to_pylist() if r["x"] is not None]
    iq = np.array([r["csi"] for r in rows], np.float64).reshape(len(rows), 99, 64, 2)[:, :, subcarriers]
    amplitude = np.hypot(iq[..., 0], iq[..., 1]).mean(1)
    amplitude /= np.linalg.norm(amplitude, axis=1, keepdims=True)
    at = np.array([(r["x"], r["y"]) for r in rows])
    test, path = np.array([r["split"] == "test" for r in rows]), np.array([r["path"] for r in rows])
    near, middle = [], []
    for i in np.flatnonzero(test):
        pool = np.flatnonzero(~test & (path == path[i]))
        found = pool[np.argsort(-(amplitude[pool] @ amplitude[i]))[:5]]
        near.append(np.linalg.norm(at[found].mean(0) - at[i]))
        middle.append(np.linalg.norm(at[pool].mean(0) - at[i]))
    return float(np.mean(near)), float(np.mean(middle))


UNUSED = [0, *range(29, 36)]  # of 64 subcarriers, in a channel of 20 MHz


@pytest.mark.mirror
def test_csi_amplitudes_tell_where_they_were_measured_by_subcarriers_that_the_channel_does_not_use(made: Any) -> None:
    """The source's figure, 1.3-4.2 m against 6.1-11.2 m, is that of what was left in the chip's memory."""
    corpus = made("csi_indoor")
    for subcarriers in (list(range(64)), UNUSED):
        near, middle = nearest(corpus, subcarriers)
        assert near < 5 < 8 < middle
    near, middle = nearest(corpus, [k for k in range(64) if k not in UNUSED])
    assert near > middle  # no better than a guess


@pytest.mark.mirror
def test_csi_packets_are_the_sources_reference_and_test_points_and_none_of_a_capture_parts(made: Any, mirror: Path) -> None:
    corpus = made("csi_packets")
    assert corpus.card.counts == {"train": 180 * 99, "test": 166 * 99} and corpus.card.groups == {"train": 180, "test": 166}
    assert {i.split("-")[0] for i in values(corpus, "id")} == {"ref", "test"} and corpus.card.media().shape == [56, 2]
    assert all(i.rpartition("-")[0] == g for i, g in zip(values(corpus, "id"), values(corpus, "group"), strict=True))
    row = values(corpus, "id").index("test-204_1-00000")
    whole = (mirror / "csu_csi_indoor/data/test/test_204_1_100.pcap").read_bytes()
    first = np.frombuffer(whole, "<i2", 128, 24 + 16 + 60).reshape(64, 2)
    assert corpus.table(["csi"])["csi"][row].as_py() == np.concatenate([first[36:], first[1:29]]).reshape(-1).tolist()


@pytest.mark.mirror
def test_unused_subcarriers_of_a_csi_capture_hold_what_marks_the_capture(made: Any) -> None:
    """Why they are left out of the packets: nearly all of these numbers are the same in every packet of a capture."""
    iq = np.array(values(made("csi_indoor"), "csi")).reshape(-1, 99, 64, 2)
    same = (iq == iq[:, :1]).all(3).mean(1)  # (captures, subcarriers)
    assert same[:, UNUSED].mean() > 0.9 > 0.1 > np.delete(same, UNUSED, axis=1).mean()


@pytest.mark.mirror
def test_mimic_has_a_hundred_patients_and_no_event_that_tells_the_label(made: Any) -> None:
    corpus = made("mimic4demo")
    assert corpus.count() == 100 and corpus.card.totals["events"] == 916_166 - 100 - 31 - 15 - 1
    assert Counter(values(corpus, "died"))[1] == 31 and Counter(values(corpus, "sex")) == {0: 43, 1: 57}
    codes = {e["code"] for events in values(corpus, "events") for e in events[:50] + events[-50:]}
    assert not {c for c in codes if c.startswith(("GENDER", "MEDS_DEATH")) or "DIED" in c}


@pytest.mark.mirror
def test_windows_of_mimic_hold_nothing_that_tells_the_label_and_no_patient_lies_in_two_splits(made: Any) -> None:
    corpus = made("mlem_mimic")
    rows = corpus.table(["group", "split", "events"]).to_pylist()
    places = {(r["group"], r["split"]) for r in rows}
    assert len(places) == len({group for group, _ in places}) == 100 and {len(r["events"]) for r in rows} == {48}
    codes = {e["code"].split("//")[0] for r in rows for e in r["events"]}
    assert "LAB" in codes and not codes & {"GENDER", "MEDS_DEATH", "HOSPITAL_DISCHARGE", "DRG", "DIAGNOSIS", "MEDS_BIRTH"}
    assert len(corpus.card.column("events").classes) == 400


@pytest.mark.mirror
def test_eeg_has_five_trials_of_each_of_twenty_subjects(made: Any) -> None:
    corpus = made("smni_eeg")
    assert corpus.count() == 100 and set(Counter(values(corpus, "group")).values()) == {5}
    assert corpus.card.groups == {"train": 12, "valid": 4, "test": 4} and Counter(values(corpus, "alcoholic")) == {0: 50, 1: 50}
    rows = corpus.table(["id", "eeg"]).to_pylist()
    assert rows[0]["id"] == "co2a0000364-000" and np.allclose(rows[0]["eeg"][0::64][:4], [-8.921, -8.433, -2.574, 5.239])
    assert Counter(values(corpus, "condition")) == {0: 58, 1: 13, 2: 29}


@pytest.mark.mirror
def test_doid_keeps_a_concept_with_all_its_names_in_one_split(made: Any) -> None:
    corpus = made("doid")
    rows = corpus.table(["id", "split", "group", "text", "edges"]).to_pylist()
    ids, of = {r["id"] for r in rows}, dict[str, set[str]]()
    for r in rows:
        of.setdefault(r["group"], set()).add(r["split"])
    assert set(map(len, of.values())) == {1} and len(of) == 4419
    assert {r["text"] for r in rows if r["group"] == "DOID:0001816"} == {"angiosarcoma", "hemangiosarcoma"}
    assert all(e in ids for r in rows for e in r["edges"])


@pytest.mark.mirror
def test_known_and_new_concepts_are_doids_names_parted_by_concept(made: Any) -> None:
    known, new = made("doid_names"), made("doid_new")
    assert known.card.counts == {"train": 9018, "valid": 800, "test": 1579, "text": 3255}
    assert new.card.counts == {"train": 2314, "valid": 206, "test": 392} and known.card.vocabulary == 2000
    concepts = [set(c.card.column("concept").classes or []) for c in (known, new)]
    assert not concepts[0] & concepts[1] and len(concepts[0]) + len(concepts[1]) == 4419
    names = Counter(values(known, "id") + values(new, "id"))
    assert {i for i in names if not i.endswith("/definition")} == set(values(made("doid"), "id"))


@pytest.mark.mirror
def test_mentions_of_diseases_lie_in_the_published_abstracts_splits(made: Any) -> None:
    corpus = made("ncbi_mentions")
    assert corpus.card.counts == {"train": 1513, "valid": 125, "test": 123, "unlinked": 154}
    rows = corpus.table(["split", "concept", "text"]).to_pylist()
    named = {r["concept"] for r in rows if r["split"] == "train"}
    assert all((r["concept"] in named) == (r["split"] != "unlinked") for r in rows)
    assert {"adenomatous polyposis coli", "APC"} <= {r["text"] for r in rows if r["split"] == "train"}


def pairs(mirror: Path) -> set[tuple[str, str]]:
    """Near-duplicates of CIFAR-10 that people judged (ciFAIR): (path in test, path in train)."""
    with (mirror / "cifar10-jpg/derived_cifair_pairs.csv").open() as file:
        return {(r["test_path"], r["train_path"]) for r in csv.DictReader(file)}


@pytest.mark.mirror
@pytest.mark.slow
def test_cifar10_is_ingested_within_a_gibibyte_with_its_published_splits(made: Any) -> None:
    corpus = made("cifar10")
    assert corpus.card.counts == {"train": 45_000, "valid": 5_000, "test": 10_000}
    assert set(Counter(values(corpus, "label")).values()) == {6000}
    record = json.loads((corpus.folder.parents[1] / "records/ingest/cifar10/record.json").read_text())
    assert record["peak_memory_mb"] < 1024


@pytest.mark.mirror
@pytest.mark.slow
def test_half_of_the_near_copies_that_people_found_in_cifar10_are_found(made: Any, mirror: Path) -> None:
    from stages.ingest.core.duplicates import ALIKE, near_pairs
    from stages.ingest.core.perceptual import looks_of

    corpus, known = made("cifar10"), pairs(mirror)
    table = corpus.table(["id", "image"])
    seen, ids = looks_of(corpus.card.media(), table["image"].chunks), table["id"].to_pylist()
    close = near_pairs(seen.hashes, 10)
    close = close[(seen.shape[close[:, 0]] * seen.shape[close[:, 1]]).sum(1) >= ALIKE]
    found = {tuple(sorted((ids[a], ids[b]))) for a, b in close[:, :2].tolist()}
    across = {p for p in found if p[0].startswith("test/") != p[1].startswith("test/")}
    card = corpus.card.duplicates["near"]
    assert len(across) == card["between"]["test-train"] + card["between"]["test-valid"]
    assert len(known) == 231 and len(found & known) >= 110 and len(across) <= 320  # docs/ingest.md states both


@pytest.mark.mirror
@pytest.mark.slow
def test_the_small_cifar10_lies_within_the_large_one(made: Any) -> None:
    small, large = made("cifar10_10k"), made("cifar10")
    assert small.card.counts == {"train": 9000, "valid": 1000, "test": 2000}
    assert Counter(values(small, "label")) == dict.fromkeys(range(10), 1200)
    of = dict(zip(values(large, "id"), values(large, "split"), strict=True))
    assert all(of[i] == s for i, s in zip(values(small, "id"), values(small, "split"), strict=True))


@pytest.mark.mirror
def test_ycb_views_show_each_object_in_every_split_in_poses_of_its_own(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRELUDE_MIRROR", str(mirror))
    plan = params("ycb_views")
    plan["reader"] |= {"views": 10, "samples": 1}  # of 150, and 4 rays a pixel
    corpus = ingest(tmp_path, plan)
    assert corpus.card.counts == {"train": 112, "valid": 16, "test": 32} and not corpus.card.quarantined
    table = corpus.table(["object", "split", "pose", "image"])
    names = corpus.card.column("object").classes or []
    assert len(names) == 16 and {"PowerDrill", "TomatoSoupCan"} <= set(names)
    assert set(Counter(zip(table["object"].to_pylist(), table["split"].to_pylist(), strict=True)).values()) == {7, 1, 2}
    np.testing.assert_allclose(np.linalg.norm(table["pose"].to_pylist(), axis=1), 1, atol=1e-6)
    pictures = np.array(table["image"].to_pylist(), np.uint8).reshape(-1, 32, 32, 3)
    assert len({p.tobytes() for p in pictures}) == 160
    edge = np.concatenate([pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]], 1)
    assert (np.ptp(edge, axis=1) == 0).all()  # no object reaches the border
    assert (np.ptp(pictures.reshape(160, -1), axis=1) > 50).all()  # and each is there
