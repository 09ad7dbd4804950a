"""Tries items one after the other in this process, as the stage would ingest them, and says how each ended.

    python -m tests.faults.hostile.trial <folder> <file of names>

One line of JSON an item goes to <folder>/said as soon as it is known, the peak memory of this process and its children last.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.common.corpus import Column, Corpus
from stages.common.errors import UserError, of_machine
from stages.common.media import decode
from tests.faults.hostile import corpus
from tests.faults.hostile.item import Hostile
from tests.ingest.making import ingest

LIMIT_S = 20  # of a core, so that a busy machine changes no outcome
_MEDIA_SIDE = 8


class Hang(BaseException):
    """An item took longer than it may."""


def main(folder: Path, names: list[str]) -> None:
    """Tries the named items in `folder`."""
    known = {item.name: item for item in corpus.items()}
    signal.signal(signal.SIGPROF, _late)
    sound = dict[str, dict[str, Any]]()
    with (folder / "said").open("a") as said:
        for name in names:
            print(json.dumps({"begun": name}), file=said, flush=True)
            print(json.dumps({"name": name, **tried(known[name], folder, sound)}), file=said, flush=True)
        print(json.dumps({"peak": _peak()}), file=said, flush=True)


def _peak() -> int:
    """Bytes that this process has held at most. Not getrusage's: that counts what its parent held, even after an exec."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def tried(item: Hostile, folder: Path, sound: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The outcome of an item, and what was said; `failed` with the reason where it is none of the right ones."""
    place = folder / "item"
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        outcome, said = _outcome(item, place, sound)
    except Hang:
        outcome, said = "failed", f"it took more than {LIMIT_S} s of a core"
    except Exception:
        outcome, said = "failed", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        shutil.rmtree(place, ignore_errors=True)
    if outcome != "failed" and outcome not in item.outcomes:
        outcome, said = "failed", f"{outcome}, where {sorted(item.outcomes)} is right: {said}"
    if outcome != "failed" and item.says not in said:
        outcome, said = "failed", f"it does not say {item.says!r}: {said}"
    return {"outcome": outcome, "said": said}


def _outcome(item: Hostile, place: Path, sound: dict[str, dict[str, Any]]) -> tuple[str, str]:
    plan = item.laid(place / "f")
    try:
        made = ingest(place / "w", plan)
    except UserError as error:
        return _refused(error, place)
    except OSError as error:
        if (shown := of_machine(error)) is None:
            raise
        return _refused(shown, place)
    rows = _read(made)
    if item.ids is not None and item.sound is not None:
        if item.sound not in sound:
            whole = corpus.sound(item.sound).laid(place / "s")
            sound[item.sound] = _read(ingest(place / "t", whole))
        for identity in item.ids:
            if identity not in rows:
                return "failed", f"the row {identity!r}, which nobody touched, is not in the corpus"
            if rows[identity] != sound[item.sound][identity]:
                return "failed", f"the row {identity!r}, which nobody touched, has other media"
    for entry in made.card.quarantined:
        if wrong := _unfit(entry["reason"], place) or _unfit(entry["item"][:200], place, lines=True):
            return "failed", f"{wrong}: {entry['item'][:200]!r}: {entry['reason'][:500]!r}"
    if made.card.quarantined:
        return "quarantine", "; ".join(f"{q['item'][:80]}: {q['reason']}" for q in made.card.quarantined[:3])
    return "corpus", f"{len(rows)} rows"


def _refused(error: UserError, place: Path) -> tuple[str, str]:
    wrong = "" if error.what else "an error that says nothing"
    wrong = wrong or ("an error too long to read" if len(str(error)) > 13_000 else "")
    return ("failed", f"{wrong}: {str(error)[:3000]}") if wrong else ("refused", str(error))


def _unfit(text: str, place: Path, lines: bool = False) -> str:
    if not text.strip():
        return "nothing is said"
    if "\n" in text and not lines:
        return "more than one line"
    if len(text) > 1000:
        return "too long to read"
    named = [str(place), str(Path.cwd()), str(Path.home()), "/tmp/", "0x7f", ".py"]
    return next((f"it names {name!r}" for name in named if name in text), "")


def _read(made: Corpus) -> dict[str, dict[str, Any]]:
    """Every row by id, its media alone; and all of them decoded, as a pretraining would."""
    media = [c for c in made.card.columns if c.role == "media"]
    rows = {}
    for batch in made.batches([c.name for c in made.card.columns], rows=64):
        for row in batch.to_pylist():
            rows[row["id"]] = {c.name: row[c.name] for c in media}
        for column in made.card.columns:
            if (contract := _contract(column)) is not None:
                values: pa.Array = batch.column(column.name).drop_null()
                found = decode(values, column, contract)
                assert len(found) == len(values)
    assert len(rows) == made.count() == made.card.totals["items"]
    return rows


def _contract(column: Column) -> dict[str, Any] | None:
    """What an encoder would ask of the column; None where one would need a tokenizer first, or takes none of its kind."""
    contracts: dict[str, dict[str, Any]] = {
        "image": {"kind": "image", "height": _MEDIA_SIDE, "width": _MEDIA_SIDE, "channels": 3},
        "waveform": {"kind": "waveform", "rate": column.rate, "samples": 256},
        "series": {"kind": "series", "steps": 16, "channels": (column.shape or [1])[-1]},
        "tokens": {"kind": "tokens", "length": 16, "tokenizer": None},
        "events": {"kind": "events", "length": 4, "codes": ["a"], "keep": "last"},
    }
    if column.kind == "pixels":
        height, width, channels = column.shape or []
        return {"kind": "image", "height": height, "width": width, "channels": channels}
    return contracts.get(column.kind) if column.role in ("media", "meta") else None


def _late(number: int, frame: Any) -> None:
    raise Hang


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))
