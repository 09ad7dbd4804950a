"""A small params/ tree: two systems over one corpus, with every kind of group that a plan is composed of."""

from __future__ import annotations

from pathlib import Path

GROUPS = {
    "config": """
        defaults: [compute: local, tracking: mlflow, _self_, system: one]
        corpora: {}
        encoders: {}
        features: {}
        tasks: {}
        systems: {}
        """,
    "compute/local": "{device: cpu, jobs: null}",
    "tracking/mlflow": "{uri: 'sqlite:///m.db', experiment: toy}",
    "corpus/digits": "{title: Digits, source: {name: plain}, reader: {name: plain}, labels: {digit: {kind: class}}}",
    "objective/plain": "{name: plain, strength: 0.5, size: 3}",
    "objective/none": "{name: none}",
    "encoder/small": """
        defaults: [/objective@objective: plain, _self_]
        corpus: ???
        parent: corpora/${.corpus}
        frontend: {name: plain}
        backbone: {name: plain}
        views: {name: plain}
        epochs: 3
        """,
    "features/clip": "{encoder: '???', corpus: '???', views: {name: none}}",
    "task/probe": "{system: '???', corpus: '???', features: '???', support: 'features/${.features}', head: {name: plain}}",
    "system/one": """
        defaults:
          - /corpus@corpora.digits: digits
          - /encoder@encoders.trained: small
          - /encoder@encoders.random: small
          - /features@features.trained: clip
          - /task@tasks.probe: probe
          - override /objective@encoders.random.objective: none
          - _self_
        encoders: {trained: {corpus: digits, objective: {strength: 0.25}}, random: {corpus: digits, epochs: 0}}
        features: {trained: {encoder: trained, corpus: digits}}
        tasks: {probe: {system: one, corpus: digits, features: trained}}
        systems: {one: {title: One}}
        """,
    "system/two": """
        defaults: [/corpus@corpora.digits: digits, /encoder@encoders.other: small, _self_]
        encoders: {other: {corpus: digits}}
        systems: {two: {title: Two}}
        """,
}


def write_tree(root: Path) -> None:
    """All groups, below root/params."""
    for name, text in GROUPS.items():
        put(root, name, text)


def put(root: Path, name: str, text: str) -> None:
    """One group's file; the margin of its text is taken off."""
    path = root / "params" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = text.strip("\n").splitlines()
    margin = len(lines[0]) - len(lines[0].lstrip())
    head = "# @package _global_\n" if name.startswith("system/") else ""
    path.write_text(head + "\n".join(line[margin:] for line in lines) + "\n")
