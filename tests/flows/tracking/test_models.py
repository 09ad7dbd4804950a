from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flows.tracking import models
from flows.tracking.recorded import read_all
from flows.tracking.sync import synchronise
from stages.common.errors import ContractError
from stages.common.media import decode
from stages.common.plan import Plan
from stages.common.workspace import Workspace
from stages.encoders.core import encoder
from tests.flows import tiny, tracking_db
from tests.flows import workspace as build


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch)
    torch.set_num_threads(1)


def _reference(folder: Path, data: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
    net, _ = encoder.load(folder)
    with torch.inference_mode():
        x = net.frontend(torch.from_numpy(data), None if lengths is None else torch.from_numpy(lengths))
        return net(x).numpy()


def test_a_logged_encoder_embeds_as_the_encoder_itself_does(tmp_path: Path) -> None:
    import mlflow

    workspace, plan = Workspace(tmp_path), build.make_plan(real=True)
    build.populate(workspace, plan)
    synchronise(workspace, plan)
    client = tracking_db.client(workspace, plan)
    run = tracking_db.by_name(workspace, plan)["pretrain/e0 seed 1"]
    (output,) = client.get_run(run.info.run_id).outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    images = np.random.default_rng(0).integers(0, 256, (300, 4, 4, 1)).astype(np.uint8)
    loaded = mlflow.pyfunc.load_model(logged.artifact_location)
    found = loaded.predict(images)
    assert found.shape == (300, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, _reference(workspace.encoder("e0") / "seed=1", images), atol=1e-6)
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, 4, 4, 1)
    assert not list(Path(logged.artifact_location.removeprefix("file://")).rglob("*.pkl"))

    trained = {m.name for m in client.search_logged_models([run.info.experiment_id])}
    assert trained == {"e0-seed0", "e0-seed1"}
    champion = client.get_model_version_by_alias("prelude-digits", "champion")
    assert champion.tags["prelude.node"] == "pretrain/e0"
    assert champion.run_id == tracking_db.by_name(workspace, plan)["pretrain/e0 seed 0"].info.run_id
    synchronise(workspace, plan)
    assert len(client.search_model_versions("name='prelude-digits'")) == 1
    assert len(client.search_logged_models([run.info.experiment_id])) == 2


def test_waveforms_of_any_length_are_padded_as_the_corpus_decoder_pads_them(tmp_path: Path) -> None:
    import mlflow
    import pyarrow as pa

    from stages.common.media import wav_bytes

    folder = tiny.write(tmp_path / "seed=0", column=tiny.WAVE)
    models.save(tmp_path / "model", folder)
    rng = np.random.default_rng(0)
    waves = [rng.normal(size=n).astype(np.float32) for n in (3, 8, 12)]
    stored = pa.array([{"bytes": wav_bytes(w, 8000), "path": "w"} for w in waves], tiny.WAVE.type)
    media = decode(stored, tiny.WAVE, {"kind": "waveform", "rate": 8000, "samples": 8})
    ragged = np.empty(3, object)
    ragged[:] = waves
    found = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(ragged)
    np.testing.assert_allclose(found, _reference(folder, media.data, media.lengths), atol=1e-6)


def test_a_data_frame_of_media_rows_and_a_mapping_are_taken_too(tmp_path: Path) -> None:
    import mlflow
    import pandas as pd

    folder = tiny.write(tmp_path / "seed=0")
    models.save(tmp_path / "model", folder)
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1)).astype(np.uint8)
    expected = _reference(folder, images)
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    frame = pd.DataFrame({"image": [i.reshape(-1).tolist() for i in images]})
    np.testing.assert_allclose(loaded.predict(frame), expected, atol=1e-6)
    inner = loaded.unwrap_python_model() if hasattr(loaded._model_impl, "python_model") else loaded._model_impl
    np.testing.assert_allclose(inner.predict({"image": images}), expected, atol=1e-6)


def test_an_image_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    from flows.tracking.pyfunc import EncoderModel

    model = EncoderModel(tiny.write(tmp_path / "seed=0"))
    with pytest.raises(ContractError, match=r"\(5, 5, 1\), the encoder takes \(4, 4, 1\)"):
        model.predict(np.zeros((2, 5, 5, 1), np.uint8))
    assert model.predict(np.zeros((0, 4, 4, 1), np.uint8)).shape == (0, 3)


def test_the_champion_is_the_trained_encoder_that_probes_best_at_the_smallest_label_share(tmp_path: Path) -> None:
    workspace, plan = Workspace(tmp_path), build.make_plan(encoders=4, seeds=2)
    build.populate(workspace, plan)
    _probe(workspace, plan, "e0", few=0.5, all=0.99)
    _probe(workspace, plan, "e1", few=0.7, all=0.8)
    _probe(workspace, plan, "e2", few=0.6, all=0.9)
    _probe(workspace, plan, "random", few=0.95, all=0.95)
    records, _ = read_all(workspace)
    winner = models.best(records, {"accuracy": True})["digits"]
    assert (winner.encoder.key, winner.metric, winner.slice) == ("e1", "accuracy", "10%")
    assert winner.value == pytest.approx(0.71)
    assert models.best(records, {"accuracy": False})["digits"].encoder.key == "e0"


def _probe(workspace: Workspace, plan: Plan, name: str, few: float, all: float) -> None:
    task = plan.tasks[f"probe_{name}"]
    record = build.started("fit", f"probe_{name}", task)
    for seed in task.seeds:
        record.metric("accuracy", few + 0.02 * seed, seed=seed, slice="10%")
        record.metric("accuracy", all, seed=seed, slice="all")
    build.finish(workspace, record, workspace.task("quick", f"probe_{name}"), {"f": workspace.features(name)}, {"m.json": {}})


def test_a_text_encoder_takes_texts_and_symbols_as_its_features_do(tmp_path: Path) -> None:
    import pyarrow as pa

    from flows.tracking.pyfunc import EncoderModel
    from stages.common.column import Column
    from stages.common.media import tokenised
    from stages.common.plan import TokenizerPlan
    from stages.common.schema import Part
    from stages.encoders.core import encoder as encoders
    from stages.ingest.core.tokenizer import trained

    texts = ["renal failure", "acute renal failure", ""]
    folder = tmp_path / "seed=0"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(trained(lambda: iter(texts), TokenizerPlan("words", 20)).to_str())
    column, front = Column("said", "media", "text"), Part("tokens", {"length": 6})
    back = Part("text_transformer", {"dim": 8, "depth": 1, "heads": 2})
    torch.manual_seed(0)
    net = encoders.new(front, back, column, folder).eval()
    encoders.save(folder, net, encoders.EncoderCard(front, back, column, "c", "d", "s", "mlm", 0, 0, net.width))
    media = tokenised(pa.array(texts), str(folder / "tokenizer.json"), 6)
    assert media.lengths is not None
    with torch.no_grad():
        wanted = net(net.frontend(torch.from_numpy(media.data), torch.from_numpy(media.lengths))).numpy()
    found = EncoderModel(folder).predict({"said": texts})
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_an_encoder_of_graphs_takes_them_as_a_corpus_stores_them(tmp_path: Path) -> None:
    import pyarrow as pa

    from flows.tracking.pyfunc import EncoderModel
    from stages.common.column import Column
    from stages.common.plan import TokenizerPlan
    from stages.common.schema import Part
    from stages.encoders.core import encoder as encoders
    from stages.ingest.core.tokenizer import trained

    graphs = [
        {"nodes": ["renal failure", "flu"], "edges": [0, 1], "degree": [1, 3]},
        {"nodes": ["flu"], "edges": [], "degree": [0]},
    ]
    folder = tmp_path / "seed=0"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(trained(lambda: iter(["renal failure", "flu"]), TokenizerPlan("words", 20)).to_str())
    column, front = Column("around", "media", "graph"), Part("graph", {"nodes": 3, "length": 6})
    back = Part("gcn", {"hidden": 8, "dim": 4, "heads": 1})
    torch.manual_seed(0)
    net = encoders.new(front, back, column, folder).eval()
    encoders.save(folder, net, encoders.EncoderCard(front, back, column, "c", "d", "s", "taga", 0, 0, net.width))
    media = decode(pa.array(graphs, column.type), column, net.frontend.contract)
    assert media.lengths is not None
    with torch.no_grad():
        wanted = net(net.frontend(torch.from_numpy(media.data), torch.from_numpy(media.lengths))).numpy()
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(EncoderModel(folder).predict({"around": graphs}), wanted, atol=1e-6)
    np.testing.assert_allclose(EncoderModel(folder).predict(np.array(graphs)), wanted, atol=1e-6)
    assert models.signature(folder).inputs is None


def test_an_encoder_of_events_takes_them_as_a_corpus_stores_them(tmp_path: Path) -> None:
    import pyarrow as pa

    from flows.tracking.pyfunc import EncoderModel
    from stages.common.column import Column
    from stages.common.schema import Part
    from stages.encoders.core import encoder as encoders

    buy, look = {"time": 5.0, "code": "buy", "value": 2.0}, {"time": 9.0, "code": "look", "value": None}
    sequences = [[buy, look], [look]]
    folder = tmp_path / "seed=0"
    folder.mkdir()
    column = Column("events", "media", "events", classes=["buy", "look"])
    front, back = Part("events", {"length": 3}), Part("event_gru", {"dim": 4})
    torch.manual_seed(0)
    net = encoders.new(front, back, column, folder).eval()
    encoders.save(folder, net, encoders.EncoderCard(front, back, column, "c", "d", "s", "coles", 0, 0, net.width))
    media = decode(pa.array(sequences, column.type), column, net.frontend.contract)
    assert media.lengths is not None
    with torch.no_grad():
        wanted = net(net.frontend(torch.from_numpy(media.data), torch.from_numpy(media.lengths))).numpy()
    assert np.abs(wanted[0] - wanted[1]).max() > 0.01
    np.testing.assert_allclose(EncoderModel(folder).predict({"events": sequences}), wanted, atol=1e-6)
    np.testing.assert_allclose(EncoderModel(folder).predict(sequences), wanted, atol=1e-6)
