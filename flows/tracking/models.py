"""Encoders in MLflow: a logged model per trained encoder and seed, and `champion`, the best of a corpus, in the registry."""

from __future__ import annotations

import re
import statistics
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.tracking import view
from flows.tracking.recorded import Recorded
from flows.tracking.store import Store
from stages.common.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

CHAMPION = "champion"
PROBE = "linear_probe"


def is_trained(recorded: Recorded) -> bool:
    """Whether the record is of an encoder with learnt weights: one left at random is no model to serve."""
    objective = recorded.data["plan"].get("objective") or {}
    return recorded.stage == "pretrain" and objective.get("name", "none") != "none"


def log(store: Store, run_id: str, recorded: Recorded, seed: int, workspace: Workspace) -> str | None:
    """Logs the encoder of one seed as a model of the run, once; returns its id, or None where its folder is gone.

    A model that a killed process left half written is deleted and logged again.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    folder = workspace.root / recorded.outputs[0] / f"seed={seed}"
    if not (folder / "encoder.json").is_file():
        return None
    for left in store.client.search_logged_models([store.experiment], filter_string=f"source_run_id='{run_id}'"):
        if left.status == LoggedModelStatus.READY:
            return str(left.model_id)
        store.client.delete_logged_model(left.model_id)
    model = store.client.create_logged_model(
        store.experiment,
        name=f"{recorded.key}-seed{seed}",
        source_run_id=run_id,
        tags={view.IDENTITY: recorded.identity, view.SEED: str(seed)},
        model_type="encoder",
    )
    with tempfile.TemporaryDirectory(prefix="prelude-model-") as temporary:
        save(Path(temporary) / "model", folder, model_id=model.model_id, run_id=run_id)
        store.client.log_model_artifacts(model.model_id, str(Path(temporary) / "model"))
    store.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    store.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id)


def save(path: Path, folder: Path, *, model_id: str | None = None, run_id: str | None = None) -> None:
    """Writes the pyfunc model of an encoder's seed folder: card, safetensors, signature. No pickle."""
    import importlib.metadata

    from mlflow.models import Model
    from mlflow.pyfunc import save_model

    versions = {p: importlib.metadata.version(p) for p in ("torch", "numpy", "safetensors")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for an input example; the signature is exact without one
        save_model(
            str(path),
            loader_module="flows.tracking.pyfunc",
            data_path=str(folder),
            signature=signature(folder),
            pip_requirements=["prelude-ssl", *(f"{p}=={v.partition('+')[0]}" for p, v in versions.items())],
            mlflow_model=Model(run_id=run_id, model_id=model_id),
        )


def signature(folder: Path) -> ModelSignature:
    """Tensors in and out: decoded media (-1, ...), embeddings (-1, D) float32."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    from stages.common import registry
    from stages.encoders.core.encoder import load_card

    card = load_card(folder)
    contract: dict[str, Any] = registry.make("frontend", card.frontend, card.column, folder).contract
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "image": (np.uint8, tuple(contract.get(k, -1) for k in ("height", "width", "channels"))),
        "waveform": (np.float32, (-1,)),
        "series": (np.float32, (-1, contract.get("channels", -1))),
    }
    outputs = Schema([TensorSpec(np.dtype(np.float32), (-1, card.width))])
    if contract["kind"] not in shapes:
        return ModelSignature(outputs=outputs)
    dtype, shape = shapes[contract["kind"]]
    return ModelSignature(inputs=Schema([TensorSpec(np.dtype(dtype), (-1, *shape))]), outputs=outputs)


@dataclass(frozen=True)
class Candidate:
    """An encoder and what its linear probe reached: the mean over seeds of one metric at one label share."""

    encoder: Recorded
    metric: str
    slice: str
    value: float


def best(records: Iterable[Recorded], higher_is_better: Mapping[str, bool]) -> dict[str, Candidate]:
    """{corpus: its best trained encoder}, by the first metric of its linear probes at the smallest label share.

    The smallest share is where encoders differ most. Only like is compared with like: of a corpus' probes, those with the
    label, metric and share that most encoders have.
    """
    by_path = {path: r for r in records for path in r.outputs}
    found: dict[str, dict[tuple[str, str, str], list[Candidate]]] = {}
    for task in by_path.values():
        plan = task.data["plan"]
        if task.stage != "fit" or plan["head"]["name"] != PROBE or not plan["metrics"]:
            continue
        features = by_path.get(f"data/features/{plan['features']}")
        encoder = features and by_path.get(f"data/encoders/{features.data['plan']['encoder']}")
        if not encoder or not is_trained(encoder) or encoder.data["plan"]["corpus"] != plan["corpus"]:
            continue
        metric, share = plan["metrics"][0], min(plan["labels"], key=_share)
        values = [m["value"] for m in task.data["metrics"] if (m["name"], m["slice"]) == (metric, share)]
        if values and None not in values:
            alike = found.setdefault(plan["corpus"], {}).setdefault((str(plan["label"]), metric, share), [])
            alike.append(Candidate(encoder, metric, share, statistics.fmean(values)))
    widest = {corpus: max(groups.values(), key=len) for corpus, groups in found.items()}
    turn = {metric: 1 if higher else -1 for metric, higher in higher_is_better.items()}
    return {corpus: max(some, key=lambda c: turn.get(c.metric, 1) * c.value) for corpus, some in widest.items()}


def crown(store: Store, corpus: str, winner: Candidate, runs: Mapping[tuple[str, int | None], str]) -> str | None:
    """Points `champion` of the registered model `prelude-<corpus>` at the winner; returns its version, or None if unlogged.

    The version is of the encoder's first seed: choosing the best of its seeds would be choosing on the test split.
    """
    from mlflow.entities import LoggedModelStatus
    from mlflow.exceptions import MlflowException

    client, name, seed = store.client, f"prelude-{corpus}", winner.encoder.seeds[0]
    run_id = runs.get((winner.encoder.identity, seed))
    models = client.search_logged_models([store.experiment], filter_string=f"source_run_id='{run_id}'") if run_id else []
    ready = [m for m in models if m.status == LoggedModelStatus.READY]
    if not ready:
        return None
    try:
        registered = client.get_registered_model(name)
    except MlflowException:
        registered = client.create_registered_model(name, description=f"Encoders pretrained on the corpus `{corpus}`.")
    versions = client.search_model_versions(f"name='{name}'")
    mine = [v for v in versions if v.tags.get(view.IDENTITY) == winner.encoder.identity]
    if mine:
        version = str(mine[0].version)
    else:
        share = "" if winner.slice == "all" else f" at {winner.slice} labels"
        made = client.create_model_version(
            name,
            source=ready[0].artifact_location,
            run_id=run_id,
            model_id=ready[0].model_id,
            tags={view.IDENTITY: winner.encoder.identity, view.NODE: winner.encoder.node},
            description=f"{winner.encoder.key}: {winner.metric} {winner.value:.4f}{share}, mean over seeds; linear probe.",
        )
        version = str(made.version)
    if str(registered.aliases.get(CHAMPION)) != version:
        client.set_registered_model_alias(name, CHAMPION, version)
    return version


def _share(text: str) -> tuple[int, float]:
    """Orders label shares: `5` per class, then `1%`, `10%`, then `all`."""
    number = float(re.sub(r"[^\d.]", "", text) or 0)
    return (2, 0.0) if text == "all" else (1, number) if text.endswith("%") else (0, number)
