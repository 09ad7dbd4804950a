"""What an item costs each objective of system data2vec2 to train on, by processor time and by operations, at its sizes.

One thread; medians of processor milliseconds over alternating blocks of steps, so that the other load of the machine falls out.
A step: draw masks, forward, loss, backward, AdamW, the teacher's average. Views are left out: all objectives take the same.
Operations: of matrix products, convolutions and attention, forward and backward, two for each multiplication.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from flows import compose
from stages.common import process, registry
from stages.common.media import SPECIAL
from stages.common.plan import EncoderPlan
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Input, Padded
from stages.pretrain.core import optimisers
from stages.pretrain.core.objective import Batch
from stages.views.core.base import Key

STEPS, BLOCKS = 4, 7
ITEMS = {"images": 1000, "speech": 1000, "text": 1367}  # of the train splits
BASELINES = {"images": "mae", "speech": "wav2vec2", "text": "mlm"}
VOCABULARY = 2000
_aten = torch.ops.aten
_ATTENTION = _aten._scaled_dot_product_flash_attention_for_cpu
_ATTENTION_BACK = _aten._scaled_dot_product_flash_attention_for_cpu_backward


def inputs(modality: str, node: EncoderPlan) -> tuple[Any, Input]:
    """A stand-in for the front end, and a batch of x as it would give."""
    n, torch_seed = node.batch_size, torch.Generator().manual_seed(0)
    if modality == "images":
        return SimpleNamespace(shape=(3, 32, 32), channels=3), torch.rand(n, 3, 32, 32, generator=torch_seed)
    if modality == "speech":
        samples = int(node.frontend.args["samples"])
        lengths = torch.randint(2000, 5000, (n,), generator=torch_seed)  # 0.43 s in the mean
        return SimpleNamespace(shape=(1, samples), channels=1), Padded(
            torch.randn(n, 1, samples, generator=torch_seed), lengths
        )
    length = int(node.frontend.args["length"])
    front = SimpleNamespace(shape=(length,), channels=0, vocabulary=VOCABULARY, contract={"tokenizer": True})
    symbols = torch.randint(len(SPECIAL), VOCABULARY, (n, length), generator=torch_seed)
    return front, Padded(symbols, torch.full((n,), length))


def stepper(modality: str, node: EncoderPlan) -> Callable[[], None]:
    """A training step of the node."""
    front, x = inputs(modality, node)
    torch.manual_seed(0)
    net = Encoder(front, registry.make("backbone", node.backbone, front)).train()
    objective = registry.make("objective", node.objective, net).train()
    optimiser = optimisers.KINDS[node.optim.name](node.optim, objective.optimised(net))
    index, done = torch.arange(node.batch_size), 0

    def step() -> None:
        nonlocal done
        objective(net, Batch([x], Key(0, done, index), index))["total"].backward()
        optimiser.step(node.optim.lr)
        optimiser.clear()
        done += 1
        objective.after_step(net, done, 1000)

    return step


def operations(step: Callable[[], None]) -> int:
    """Of one step. The counter's rules overstate grouped convolutions backward and have none for attention on CPUs."""

    def convolution(out: Any, x: Any, weight: Any, *args: Any, out_shape: Any = None, **_: Any) -> int:
        mask = args[-1]
        forward = 2 * prod(out) * prod(weight[1:])
        return int(forward * (bool(mask[0]) + bool(mask[1])))

    def attention(q: Any, k: Any, *_: Any, **__: Any) -> int:
        return int(4 * prod(q) * k[2])

    def attention_back(_: Any, q: Any, k: Any, *__: Any, **___: Any) -> int:
        return int(10 * prod(q) * k[2])

    own = {_aten.convolution_backward: convolution, _ATTENTION: attention, _ATTENTION_BACK: attention_back}
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        step()
    return int(counter.get_total_flops())


def main() -> None:
    """Prints a table: processor ms an item, items of its training, seconds and operations, against its baseline's."""
    process.set_threads(1)
    plan = compose.make(Path(__file__).resolve().parents[1], ["data2vec2"])[1]
    for modality, baseline in BASELINES.items():
        first = f"d2v2_{modality}_{baseline}"
        others = [k for k in plan.encoders if k.startswith(f"d2v2_{modality}_") and plan.encoders[k].epochs]
        keys = [first] + [key for key in others if key != first]
        steps = {key: stepper(modality, plan.encoders[key]) for key in keys}
        counted = {key: operations(step) for key, step in steps.items()}
        times: dict[str, list[float]] = {key: [] for key in keys}
        for _ in range(BLOCKS):
            for key, step in steps.items():
                begun = time.process_time()
                for _ in range(STEPS):
                    step()
                times[key].append((time.process_time() - begun) / STEPS)
        base: tuple[float, float] | None = None
        for key in keys:
            node = plan.encoders[key]
            updates = ITEMS[modality] // node.batch_size * node.epochs
            seconds, work = statistics.median(times[key]) * updates, counted[key] * updates / 1e9
            base = base or (seconds, work)
            print(
                f"{key:26} {1e3 * statistics.median(times[key]) / node.batch_size:7.2f} ms/item {node.epochs:3} epochs "
                f"{updates:5} updates {seconds:6.1f} s {seconds / base[0]:5.2f} of the time "
                f"{work:7.0f} GFLOP {work / base[1]:5.2f} of the operations"
            )


if __name__ == "__main__":
    main()
