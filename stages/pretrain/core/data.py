"""The training media: decoded once into files that every seed maps into memory (one page cache) or moves to its device.

They must fit: a corpus that does not is refused before it is decoded, unless the node streams it (`streaming.py`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from stages.common import media
from stages.common.corpus import Column, Corpus
from stages.common.errors import ContractError, UserError, unknown
from stages.common.plan import EncoderPlan, MonitorPlan
from stages.encoders.core import inputs
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Padded
from stages.pretrain.core.items import BLOCK, Items, Partners, Source
from stages.pretrain.core.memory import check_fits
from stages.pretrain.core.watched import labels_of, watched

TRAIN, VALID, BANK = "train", "valid", "bank"  # folders; the last one of a stream: the training items that the monitor looks at
_STILL = 1e-6  # a channel whose deviation is below is constant: it is centred, not scaled
_SIDE, _PAIRS = "side_", "pairs"  # names of files
_TEXTS = 256  # read at once


def decode(corpus: Corpus, column: Column, frontend: Frontend, node: EncoderPlan, folder: Path, device: str) -> None:
    """Writes the node's splits as `train`, and the monitor's rows of the split `valid`, into `folder`.

    Raises ContractError for media that do not fit the front end, UserError for a split that is missing, empty or too large.
    """
    check_splits(corpus, node)
    _write(corpus, column, frontend, node.splits, None, node.monitor, folder / TRAIN, device)
    save_sides(corpus, frontend, node, folder)
    if node.pairs is not None:
        np.save(folder / TRAIN / f"{_PAIRS}.npy", codes(corpus, node.pairs, node.splits))
    if corpus.card.counts.get(VALID) and VALID not in node.splits:
        chosen = watched(corpus, node.monitor, [VALID])
        if len(chosen):
            _write(corpus, column, frontend, [VALID], chosen, node.monitor, folder / VALID, device)


def check_splits(corpus: Corpus, node: EncoderPlan) -> None:
    """Raises UserError for a split that is missing, or if none of them holds an item."""
    for split in node.splits:
        if split not in corpus.card.counts:
            raise unknown("split", split, corpus.card.counts, where=corpus.folder)
    if not corpus.count(node.splits):
        shown = " or ".join(node.splits)
        raise UserError(f"no item in split {shown}", where=corpus.folder, do="choose other `splits:`")


def save(items: Items, folder: Path) -> None:
    """Writes items, without the columns beside them, so that `read` finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "data.npy", items.data.numpy())
    np.save(folder / "rows.npy", items.rows.numpy())
    np.save(folder / "labels.npy", items.labels.numpy())
    if items.lengths is not None:
        np.save(folder / "lengths.npy", items.lengths.numpy())


def read(folder: Path) -> Items:
    """Decoded media, mapped into memory: pages are read when they are used, and shared between processes."""

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))

    lengths = tensor("lengths") if (folder / "lengths.npy").exists() else None
    partners = Partners.of(tensor(_PAIRS)) if (folder / f"{_PAIRS}.npy").exists() else None
    return Items(tensor("data"), lengths, tensor("rows"), tensor("labels"), sides(folder), partners)


def sides(folder: Path) -> dict[str, Tensor]:
    """The columns beside the media, mapped into memory."""
    found = sorted(folder.glob(f"{_SIDE}*.npy"))
    return {p.stem.removeprefix(_SIDE): torch.from_numpy(np.load(p, mmap_mode="c")) for p in found}


def statistics(items: Source, frontend: Frontend, corpus: Corpus) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of x = frontend(media) over all items, padding left out, in float64.

    Raises ContractError naming the item whose media hold a number that is not finite.
    """
    channels = frontend.channels
    total, squares, count = torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64), 0
    for block in items.blocks() if channels else ():
        x = frontend(block.data, block.lengths)
        values = inputs.tensor(x)
        finite = torch.isfinite(values).flatten(1).all(1)
        if not finite.all():
            _refuse(int(block.rows[int((~finite).int().argmax())]), corpus)
        by_channel = values.transpose(0, 1).reshape(channels, -1).double()
        if isinstance(x, Padded):
            own = x.own().view(len(x), *(1,) * (values.dim() - 2), -1).expand(values[:, :1].shape)
            by_channel = by_channel[:, own.reshape(-1)]
        total += by_channel.sum(1)
        squares += by_channel.square().sum(1)
        count += by_channel.shape[1]
    mean = total / max(count, 1)
    std = (squares / max(count, 1) - mean.square()).clamp_min(0).sqrt()
    return mean.tolist(), torch.where(std < _STILL, 1.0, std).tolist()


def _refuse(row: int, corpus: Corpus) -> None:
    raise ContractError(
        f"the media of item {corpus.table(['id'])['id'][row].as_py()!r} hold a number that is not finite",
        where=corpus.folder,
        do="mend the source, or have the ingest quarantine the item",
    )


def save_sides(corpus: Corpus, frontend: Frontend, node: EncoderPlan, folder: Path) -> None:
    """Writes the columns that `side:` names, of the node's splits, beside its training media. Raises UserError."""
    for name in node.side:
        np.save(folder / TRAIN / f"{_SIDE}{name}.npy", side(corpus, name, node.splits, frontend.contract.get("tokenizer")))


def side(corpus: Corpus, name: str, splits: list[str], tokenizer: str | None = None) -> np.ndarray:
    """A column beside the media, in the splits' rows. Raises UserError for a kind that is none of these:

    class indices (N,) int64, -1 for none; numbers (N,) float32, nan for none; series of a fixed shape (N, *shape); texts, where
    the front end has a tokenizer: symbols (N, T) int32, none cut, 0 ([PAD]) after each one's own.
    """
    column = corpus.card.column(name)
    array = corpus.table([name], splits)[name].combine_chunks()
    fixed = column.shape is not None and -1 not in column.shape
    if column.kind == "class":
        return np.asarray(array.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
    if column.kind == "number":
        return np.asarray(array.to_numpy(zero_copy_only=False), np.float32)
    if column.kind in ("series", "points", "pixels") and fixed:
        assert column.shape is not None
        return np.asarray(array.flatten().to_numpy(zero_copy_only=False)).reshape(-1, *column.shape)
    if column.kind == "text" and tokenizer:
        return _symbols(array, tokenizer)
    raise UserError(
        f"column {name!r} of kind {column.kind} cannot be handed to an objective",
        where="side",
        do="name a class, a number, a series of fixed shape, or a text where the front end has a tokenizer",
    )


def _symbols(texts: pa.Array, tokenizer: str) -> np.ndarray:
    """Texts (N,) as symbols (N, T), T of the longest one; block by block, since characters bound symbols but loosely."""
    blocks = []
    for start in range(0, len(texts), _TEXTS):
        block = texts.slice(start, _TEXTS)
        found = media.tokenised(block, tokenizer, 2 + (pc.max(pc.utf8_length(block)).as_py() or 0))
        assert found.lengths is not None
        blocks.append(found.data[:, : found.lengths.max()])
    out = np.zeros((len(texts), max((b.shape[1] for b in blocks), default=0)), np.int32)
    for start, rows in zip(range(0, len(texts), _TEXTS), blocks, strict=True):
        out[start : start + len(rows), : rows.shape[1]] = rows
    return out


def codes(corpus: Corpus, name: str, splits: list[str]) -> np.ndarray:
    """Whole numbers (N,) int64, equal where the column's values are; an item without a value is equal to itself alone."""
    column = corpus.card.column(name)
    if column.kind not in ("class", "string", "text", "number"):
        raise UserError(f"column {name!r} of kind {column.kind} makes no pairs", where="pairs", do="name a class or the group")
    array = corpus.table([name], splits)[name].combine_chunks()
    code = array.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    alone = code < 0
    code[alone] = code.max(initial=-1) + 1 + np.arange(alone.sum())
    return code


def _write(
    corpus: Corpus,
    column: Column,
    frontend: Frontend,
    splits: list[str],
    chosen: np.ndarray | None,
    monitor: MonitorPlan,
    folder: Path,
    device: str,
) -> None:
    """Decodes the chosen items of some splits (default: all) to .npy files. They last for one run, so nothing is fsynced."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = labels_of(corpus, monitor, splits)
    chosen = np.arange(len(labels)) if chosen is None else chosen
    lengths = _decode(corpus, column, frontend, splits, chosen, folder / "data.npy", device)
    rows = np.flatnonzero(np.isin(corpus.table(["split"])["split"].to_numpy(), splits))
    np.save(folder / "rows.npy", rows[chosen])
    np.save(folder / "labels.npy", labels[chosen])
    if len(lengths):
        np.save(folder / "lengths.npy", lengths)


def _decode(
    corpus: Corpus, column: Column, frontend: Frontend, splits: list[str], chosen: np.ndarray, path: Path, device: str
) -> np.ndarray:
    """Block by block, so that memory stays small. Returns the lengths (N,), or none."""
    lengths: list[np.ndarray] = []
    kind, at = None, 0
    with path.open("wb") as file:
        for batch in corpus.batches([column.name], splits, rows=BLOCK):
            here = chosen[(chosen >= at) & (chosen < at + batch.num_rows)] - at
            at += batch.num_rows
            if not len(here):
                continue
            items = media.decode(batch.column(0).take(here), column, frontend.contract)
            if kind is None:
                kind, shape = items.data.dtype, (len(chosen), *items.data.shape[1:])
                check_fits(items.data.nbytes // len(items) * len(chosen), device, corpus.folder)
                header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            if items.data.dtype != kind:
                raise ContractError(f"column {column.name!r} mixes {kind} and {items.data.dtype}", where=corpus.folder)
            file.write(np.ascontiguousarray(items.data).data)
            if items.lengths is not None:
                lengths.append(items.lengths)
    return np.concatenate(lengths) if lengths else np.empty(0, np.int64)
