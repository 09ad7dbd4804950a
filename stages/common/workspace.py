"""Where everything lies, relative to the workspace's root (the folder with dvc.yaml)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """Folders of a workspace; `root` may be relative, as where a stage runs."""

    root: Path = Path()

    @property
    def data(self) -> Path:
        return self.root / "data"

    def corpus(self, name: str) -> Path:
        return self.data / "corpora" / name

    def encoder(self, name: str) -> Path:
        return self.data / "encoders" / name

    def features(self, name: str) -> Path:
        return self.data / "features" / name

    def task(self, system: str, name: str) -> Path:
        return self.data / "tasks" / system / name

    def report(self, system: str) -> Path:
        return self.data / "reports" / system

    @property
    def page(self) -> Path:
        return self.data / "report"

    def record(self, stage: str, key: str) -> Path:
        return self.data / "records" / stage / key

    def node(self, path: str) -> Path:
        """A node by its path in the plan, such as `encoders/simclr` or `tasks/quickstart/probe`."""
        return self.data / path

    @property
    def state(self) -> Path:
        """Work state that is no output: locks, resumable snapshots, live progress, logs."""
        return self.root / ".prelude"

    def work(self, stage: str, key: str, digest: str) -> Path:
        return self.state / "resume" / stage / f"{key}-{digest[:16]}"

    def live(self, stage: str, key: str) -> Path:
        return self.state / "live" / stage / key
