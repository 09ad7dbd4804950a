"""One column of a corpus: its role, its kind and how that is stored (see corpus.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
GRAPH = pa.struct([("nodes", pa.list_(pa.string())), ("edges", pa.list_(pa.int32())), ("degree", pa.list_(pa.int32()))])
EVENT = pa.struct([("time", pa.float64()), ("code", pa.string()), ("value", pa.float32())])
Kind = Literal[
    "string",
    "class",
    "steps",
    "number",
    "text",
    "image",
    "pixels",
    "waveform",
    "series",
    "tokens",
    "points",
    "edges",
    "graph",
    "events",
    "molecule",
]


@dataclass(frozen=True)
class Column:
    """One column: its role, kind, and what the kind needs (shape, rate in Hz, class names, unit)."""

    name: str
    role: Literal["id", "split", "group", "label", "media", "meta"]
    kind: Kind = "string"
    shape: list[int] | None = None
    rate: int | None = None
    classes: list[str] | None = None
    unit: str = ""

    @property
    def type(self) -> pa.DataType:
        size = math.prod(self.shape) if self.shape and -1 not in self.shape else -1
        match self.kind:
            case "image" | "waveform":
                return FILE
            case "pixels":
                return pa.list_(pa.uint8(), size)
            case "series" | "points":
                return pa.list_(pa.float32(), size)
            case "tokens" | "steps":
                return pa.list_(pa.int32())
            case "edges":
                return pa.list_(pa.string())
            case "graph":
                return GRAPH
            case "events":
                return pa.list_(EVENT)
            case "class":
                return pa.int64()
            case "number":
                return pa.float64()
        return pa.string()

    @property
    def feature(self) -> Any:
        """The column in Hugging Face's description of features."""
        text = {"dtype": "string", "_type": "Value"}
        match self.kind:
            case "image":
                return {"_type": "Image"}
            case "waveform":
                return {"sampling_rate": self.rate, "_type": "Audio"}
            case "class":
                return {"names": self.classes or [], "_type": "ClassLabel"}
            case "number":
                return {"dtype": "float64", "_type": "Value"}
            case "pixels" | "series" | "points" | "tokens" | "steps" | "edges":
                dtype = {"pixels": "uint8", "tokens": "int32", "steps": "int32", "edges": "string"}.get(self.kind, "float32")
                length = self.type.list_size if pa.types.is_fixed_size_list(self.type) else -1
                return {"feature": {"dtype": dtype, "_type": "Value"}, "length": length, "_type": "Sequence"}
            case "graph":
                whole = {"feature": {"dtype": "int32", "_type": "Value"}, "length": -1, "_type": "Sequence"}
                return {"nodes": {"feature": text, "length": -1, "_type": "Sequence"}, "edges": whole, "degree": whole}
            case "events":
                number = {"dtype": "float64", "_type": "Value"}
                return [{"time": number, "code": text, "value": {"dtype": "float32", "_type": "Value"}}]
        return text
