"""What each objective of system data2vec2 costs to train, beside its modality's baseline: seconds of the processor, operations.

A step: draw masks, forward, loss, backward, AdamW, the teacher's average, at the system's sizes, one thread; times the updates
of its training. Views are left out: all objectives take the same. Operations: of matrix products, convolutions and attention,
forward and backward, two for each multiplication.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.core.case import Case, Line, Options, Run, Way

ROOT = Path(__file__).resolve().parents[1]
ITEMS = {"images": 1000, "speech": 1000, "text": 1367}  # of the train splits
BASELINES = {"images": "mae", "speech": "wav2vec2", "text": "mlm"}
VOCABULARY = 2000


def cases(options: Options) -> list[Case]:
    steps = 1 if options.quick else 4
    made = []
    for modality, baseline in BASELINES.items():
        nodes = encoders(modality)
        first = f"d2v2_{modality}_{baseline}"
        ways = {}
        for key, node in nodes.items():
            updates = ITEMS[modality] // node.batch_size * node.epochs
            ways[key] = Way(key, stepped, {"modality": modality, "node": node, "steps": steps}, items=steps / updates)
        kept = [key for key in ways if key != first]
        what = {key: f"training of {key}, {nodes[key].epochs} epochs" for key in kept}
        lines = [Line(f"{what[key]}: processor", key, (first,), "cost", None, "cpu_s") for key in kept]
        lines += [Line(f"{what[key]}: operations", key, (first,), "cost", None, "operations") for key in kept]
        if options.quick:  # one objective beside the baseline shows that it runs
            lines = [line for line in lines if line.ours == kept[0]]
        made.append(Case(modality, ways, tuple(lines), slow=modality != "images"))
    return made


def encoders(modality: str) -> dict[str, Any]:
    """The system's trained nodes of a modality."""
    return {k: node for k, node in _plan().encoders.items() if k.startswith(f"d2v2_{modality}_") and node.epochs}


@functools.cache
def _plan() -> Any:
    from flows import compose

    return compose.make(ROOT, ["data2vec2"])[1]


def inputs(modality: str, node: Any) -> tuple[Any, Any]:
    """A stand-in for the front end, and a batch of x as it would give."""
    import torch

    from stages.common.media import SPECIAL
    from stages.encoders.core.inputs import Padded

    n, draw = node.batch_size, torch.Generator().manual_seed(0)
    if modality == "images":
        return SimpleNamespace(shape=(3, 32, 32), channels=3), torch.rand(n, 3, 32, 32, generator=draw)
    if modality == "speech":
        samples = int(node.frontend.args["samples"])
        lengths = torch.randint(2000, 5000, (n,), generator=draw)  # 0.43 s in the mean
        return SimpleNamespace(shape=(1, samples), channels=1), Padded(torch.randn(n, 1, samples, generator=draw), lengths)
    length = int(node.frontend.args["length"])
    front = SimpleNamespace(shape=(length,), channels=0, vocabulary=VOCABULARY, contract={"tokenizer": True})
    symbols = torch.randint(len(SPECIAL), VOCABULARY, (n, length), generator=draw)
    return front, Padded(symbols, torch.full((n,), length))


def stepped(folder: Path, modality: str, node: Any, steps: int) -> Run:
    """Training steps of the node; operations: of so many steps."""
    import torch

    from stages.common import process, registry
    from stages.encoders.core.encoder import Encoder
    from stages.pretrain.core import optimisers
    from stages.pretrain.core.objective import Batch
    from stages.views.core.base import Key

    process.set_threads(1)
    front, x = inputs(modality, node)
    torch.manual_seed(0)
    net = Encoder(front, registry.make("backbone", node.backbone, front)).train()
    objective: Any = registry.make("objective", node.objective, net).train()
    optimiser = optimisers.KINDS[node.optim.name](node.optim, objective.optimised(net))
    index, done = torch.arange(node.batch_size), 0

    def step() -> None:
        nonlocal done
        objective(net, Batch([x], Key(0, done, index), index))["total"].backward()
        optimiser.step(node.optim.lr)
        optimiser.clear()
        done += 1
        objective.after_step(net, done, 1000)

    counted = operations(step)

    def run() -> dict[str, int]:
        for _ in range(steps):
            step()
        return {"operations": counted * steps}

    return run


def operations(step: Callable[[], None]) -> int:
    """Of one step. The counter's rules overstate grouped convolutions backward and have none for attention on CPUs."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def convolution(out: Any, x: Any, weight: Any, *args: Any, out_shape: Any = None, **_: Any) -> int:
        mask = args[-1]
        forward = 2 * prod(out) * prod(weight[1:])
        return int(forward * (bool(mask[0]) + bool(mask[1])))

    def attention(q: Any, k: Any, *_: Any, **__: Any) -> int:
        return int(4 * prod(q) * k[2])

    def attention_back(_: Any, q: Any, k: Any, *__: Any, **___: Any) -> int:
        return int(10 * prod(q) * k[2])

    aten = torch.ops.aten
    own = {
        aten.convolution_backward: convolution,
        aten._scaled_dot_product_flash_attention_for_cpu: attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_back,
    }
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        step()
    return int(counter.get_total_flops())
