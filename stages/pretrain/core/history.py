"""The history of one seed: every logged scalar by step, without clocks. history.parquet: step, name, value."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

SCHEMA = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)


class History:
    """Grows by 20 bytes a value."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._step, self._name, self._value = array("q"), array("i"), array("d")

    def __len__(self) -> int:
        return len(self._step)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Notes what was measured after `step` optimiser steps."""
        for name, value in values.items():
            if name not in self.names:
                self.names.append(name)
            self._step.append(step)
            self._name.append(self.names.index(name))
            self._value.append(value)

    def of(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of one name, in order."""
        if name not in self.names:
            return []
        wanted = self.names.index(name)
        return [(s, v) for s, n, v in zip(self._step, self._name, self._value, strict=True) if n == wanted]

    def write(self, path: Path) -> None:
        names = pa.DictionaryArray.from_arrays(pa.array(self._name, pa.int32()), pa.array(self.names, pa.string()))
        columns = [pa.array(self._step, pa.int64()), names.cast(pa.string()), pa.array(self._value, pa.float64())]
        pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), path, compression="zstd")

    def state(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "step": torch.tensor(self._step, dtype=torch.int64),
            "name": torch.tensor(self._name, dtype=torch.int32),
            "value": torch.tensor(self._value, dtype=torch.float64),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.names = list(state["names"])
        self._step = array("q", state["step"].tolist())
        self._name = array("i", state["name"].tolist())
        self._value = array("d", state["value"].tolist())
