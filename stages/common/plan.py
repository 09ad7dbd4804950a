"""The typed plan: what params.yaml may say. `load` reads it, `validate` checks it whole (names, references, parts)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stages.common import secret
from stages.common.claim import ClaimPlan
from stages.common.compute import ComputePlan
from stages.common.errors import UserError, unknown
from stages.common.schema import Part, build
from stages.common.variant import Variant

SECTIONS = {"ingest": "corpora", "pretrain": "encoders", "extract": "features", "fit": "tasks", "evaluate": "systems"}


@dataclass(frozen=True)
class LabelPlan:
    """A label column. class: one of `classes` (else found in the data, sorted); number: with a unit; text: a transcript;
    steps: a class index for each of an item's rows (frames, tokens), or `width` of them, -1 where it is not known.
    """

    kind: Literal["class", "number", "text", "steps"]
    classes: list[str] | None = None
    unit: str = ""
    width: int = 1


@dataclass(frozen=True)
class SplitPlan:
    """Which rows train, tune and test. declared: the source says; hash: by the hash of the group (or id), per stratum.

    Declared splits may be refined: `carve: {valid: {from: train, share: 0.1}}` moves a hashed share of a declared split.
    """

    by: Literal["declared", "hash"] = "hash"
    fractions: dict[str, float] = field(default_factory=lambda: {"train": 0.7, "valid": 0.1, "test": 0.2})
    carve: dict[str, dict[str, Any]] = field(default_factory=dict)
    stratify: str | None = None
    salt: int = 0


@dataclass(frozen=True)
class DuplicatesPlan:
    """Rows with the same media bytes (exact) and images with near perceptual hashes (near): keep, report or drop."""

    exact: Literal["keep", "report", "drop"] = "report"
    near: Literal["off", "report", "drop"] = "off"
    distance: int = 4  # bits of the 64-bit perceptual hash that may differ


@dataclass(frozen=True)
class TokenizerPlan:
    """A tokenizer learnt from the train split, kept with the corpus: how text becomes symbols.

    words and characters are looked up whole; wordpiece and bpe learn parts of words. pattern: a regular expression of
    the pieces that a text is cut into first, such as the atoms of a molecule string.
    """

    kind: Literal["words", "characters", "wordpiece", "bpe"] = "wordpiece"
    vocabulary: int = 4096
    lowercase: bool = True
    pattern: str | None = None
    columns: list[str] = field(default_factory=list)  # none: every text and molecule column of the media


@dataclass(frozen=True)
class CorpusPlan(Variant):
    """corpora.<name>: where it comes from, how it is read, what its columns mean, how it is split."""

    title: str
    source: Part
    reader: Part
    licence: str = "unknown"
    provenance: Literal["real", "simulated"] = "real"
    labels: dict[str, LabelPlan] = field(default_factory=dict)
    split: SplitPlan = field(default_factory=SplitPlan)
    duplicates: DuplicatesPlan = field(default_factory=DuplicatesPlan)
    limit: dict[str, int] = field(default_factory=dict)  # at most so many rows of a split, chosen by the hash of the id
    tokenizer: TokenizerPlan | None = None
    codes: int | None = None  # the so many most frequent codes of the train split's events become their vocabulary
    quarantine_share: float = 0.01  # above this share of broken items the stage fails
    shard_mb: int = 64


@dataclass(frozen=True)
class OptimPlan:
    """The optimiser and its schedule. `lr` is the peak rate; warm-up and decay are counted in optimiser steps."""

    name: Literal["adamw", "sgd", "lars"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.1  # share of all steps
    final_lr: float = 0.0  # share of lr at the end
    clip_norm: float | None = None
    decay_norm_and_bias: bool = False


@dataclass(frozen=True)
class MonitorPlan:
    """What is measured as it trains, on `rows` of the train and valid splits. kNN alone sees `label`, the loss never does."""

    label: str | None = None
    rows: int = 1024
    every: int = 1  # epochs
    k: int = 20


@dataclass(frozen=True)
class StreamPlan:
    """A corpus that is read as it trains. window: row groups (4 to 8 MB each) whose items are shuffled together."""

    window: int = 16


@dataclass(frozen=True)
class EncoderPlan(Variant):
    """encoders.<name>: one encoder per seed, pretrained on a corpus (objective `none`: left at random)."""

    corpus: str
    frontend: Part
    backbone: Part
    views: Part
    objective: Part
    parent: str  # corpora/<corpus> (no parent) or encoders/<name>: the start, teacher or unit source
    optim: OptimPlan = field(default_factory=OptimPlan)
    use: Literal["start", "teacher"] = "start"  # what a parent encoder is: where the weights start, or a frozen teacher
    splits: list[str] = field(default_factory=lambda: ["train"])
    transductive: bool = False  # declares that it trains on items that tasks are judged on (never on their labels)
    pairs: str | None = None  # a column: items of the same value are each other's positives
    side: list[str] = field(default_factory=list)  # columns that the objective is handed beside the views
    media: str | None = None  # the media column; not needed when there is one
    batch_size: int = 256
    epochs: int = 10
    accumulate: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    compile: bool = False
    snapshot_every: int = 200  # steps between resumable snapshots
    monitor: MonitorPlan = field(default_factory=MonitorPlan)
    stream: StreamPlan | None = None  # null: the corpus is decoded before the first step, and has to fit
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    threads: int = 1


@dataclass(frozen=True)
class FeaturesPlan(Variant):
    """features.<name>: an encoder's outputs on a corpus, as Parquet rows."""

    encoder: str
    corpus: str
    rows: Literal["clip", "patch", "frame", "node", "token"] = "clip"
    output: Literal["embedding", "projection"] = "embedding"  # projection: what the loss saw, after the projector
    layers: list[int] = field(default_factory=lambda: [-1])
    splits: list[str] = field(default_factory=lambda: ["train", "valid", "test"])
    views: Part = field(default_factory=lambda: Part("none"))
    copies: int = 1  # augmented copies of each item (`index` 0 .. copies-1), for measures that need several views
    limit: dict[str, int] = field(default_factory=dict)
    dtype: Literal["float32", "float16"] = "float32"
    batch_size: int = 512
    shard_rows: int = 262_144
    threads: int = 1


@dataclass(frozen=True)
class TaskPlan(Variant):
    """tasks.<name>: a head fitted on features and judged on the test split."""

    system: str
    corpus: str
    features: str
    support: str  # features/<features> (none) or features/<other>, encoders/<name>, tasks/<system>/<task>
    head: Part
    metrics: list[str] = field(default_factory=list)
    layer: int | None = None  # which of the features' layers, by its name there; null: the last
    dimensions: tuple[int, int] | None = None  # [first, end) of an embedding's dimensions that the head sees; null: all
    label: str | None = None
    labels: list[str] = field(default_factory=lambda: ["all"])  # shares: "all", "10%" (of train, stratified), "5" (per class)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    threads: int = 1


@dataclass(frozen=True)
class ScalePlan:
    """A system at another size. set: {key with a pattern for the node: value}. parameters: {encoder: weights it then has}."""

    set: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SystemPlan:
    """systems.<id>: a published system (or a set of our own): what it is, and its claims."""

    title: str
    provenance: Literal["real", "simulated"] = "real"
    seed: int | None = None  # its number in the library of published systems
    paper: str = ""
    claims: dict[str, ClaimPlan] = field(default_factory=dict)
    scale: dict[str, ScalePlan] = field(default_factory=dict)  # smoke and paper; the recipe itself is small


@dataclass(frozen=True)
class TrackingPlan:
    """Where records are shown: MLflow's address and experiment. Not tracked as a parameter."""

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "prelude"


@dataclass(frozen=True)
class Plan:
    """The whole plan: five flat dictionaries of nodes, and where it runs and is tracked."""

    corpora: dict[str, CorpusPlan] = field(default_factory=dict)
    encoders: dict[str, EncoderPlan] = field(default_factory=dict)
    features: dict[str, FeaturesPlan] = field(default_factory=dict)
    tasks: dict[str, TaskPlan] = field(default_factory=dict)
    systems: dict[str, SystemPlan] = field(default_factory=dict)
    compute: ComputePlan = field(default_factory=ComputePlan)
    tracking: TrackingPlan = field(default_factory=TrackingPlan)

    def node(self, stage: str, key: str) -> Any:
        """The node of a stage by its key. Raises UserError naming the nearest key."""
        section: Mapping[str, Any] = getattr(self, SECTIONS[stage])
        if key not in section:
            raise unknown(f"{SECTIONS[stage]} node", key, section, where=f"params.yaml: {SECTIONS[stage]}")
        return section[key]

    def tasks_of(self, system: str) -> dict[str, TaskPlan]:
        return {k: t for k, t in self.tasks.items() if t.system == system}


COMPOSED = "# Composed from params/ by `prelude plan`; do not edit: change params/ and compose again.\n"
END = "...\n"  # of a YAML document: what `prelude plan` wrote and does not end so was cut


def read(path: Path) -> dict[str, Any]:
    """The plan file as plain data: YAML, or JSON (which needs no YAML library). Raises UserError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"the plan cannot be read: {error.strerror}", where=path, do="write it with `prelude plan`") from None
    except UnicodeDecodeError as error:
        raise UserError(f"the plan is not UTF-8: {error}", where=path) from None
    if text.startswith(COMPOSED) and not text.rstrip().endswith(END.strip()):
        raise UserError("the plan is cut short: its end is missing", where=path, do="write it again with `prelude plan`")
    data = _json(text, path) if path.suffix == ".json" else _yaml(text, path)
    if not isinstance(data, dict):
        raise UserError("the plan is empty", where=path, do="write it with `prelude plan`")
    secret.refuse(data)
    return data


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"the plan is not valid JSON: {error}", where=path) from None


def _yaml(text: str, path: Path) -> Any:
    import yaml  # only here: stages run from a JSON plan where no YAML library is installed

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is none of
        raise UserError(f"the plan is not valid YAML: {error}", where=path) from None


def load(path: Path) -> Plan:
    """Reads and types a plan. References and parts are checked by `validate`, which imports the parts.

    Raises UserError for a plan that Hydra composed without us, whose grids are not spread.
    """
    data = read(path)
    if data.get("grids"):
        raise UserError("the plan's grids are not spread into nodes", where=path, do="compose it with `prelude plan`")
    return build(Plan, {key: value for key, value in data.items() if key != "grids"}, path.name)


def validate(plan: Plan) -> None:
    """Checks names, references between nodes, and every part's arguments. Raises UserError at the first mistake."""
    from stages.common import validation  # only here: stages need not check a plan whole, and it imports every part

    validation.validate(plan)
