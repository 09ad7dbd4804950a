"""Ranks that each hold a part of the network (FSDP2) do what one process does, and take up its state, as it does theirs."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.common.compute import Sharding
from stages.common.errors import UserError
from stages.encoders.core import encoder as encoders
from stages.pretrain.core import distributed, shard, snapshot
from stages.pretrain.core.distributed import World
from stages.pretrain.core.objective import Objective
from stages.pretrain.core.trainer import Trainer
from tests.pretrain.together import losses, together, trainer

VIT = {"backbone": {"name": "vit", "patch": 2, "dim": 16, "depth": 2, "heads": 2}}
LARS = {"name": "lars", "lr": 0.5, "decay_norm_and_bias": True}
CASES: dict[str, dict[str, Any]] = {
    "simclr": {"optim": {"lr": 0.002, "clip_norm": 0.5}, "accumulate": 2, "channels_last": True},
    "moco": {"objective": {"name": "moco", "hidden": 8, "out": 4, "queue": 30}, "optim": LARS},
    "dino": VIT
    | {"objective": {"name": "dino", "out": 8, "hidden": 8, "bottleneck": 4, "frozen": 0.3}, "optim": {"lr": 0.002}},
    "mae": VIT
    | {"objective": {"name": "mae", "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}, "views": {"name": "none"}},
}
STEPS = 4


def close(found: list[float], wanted: list[float]) -> bool:
    return len(found) == len(wanted) > 0 and found == pytest.approx(wanted, rel=1e-5)


def outcome(trained: Trainer) -> dict[str, Tensor]:
    """The exported encoder's and the projector's state; all ranks must ask for it."""
    with trained.network.exported() as (net, projector):
        if not trained.world.leads:
            return {}
        heads = {} if projector is None else {f"projector.{n}": x.clone() for n, x in projector.state_dict().items()}
        return {n: x.clone() for n, x in net.state_dict().items()} | heads


def work(world: World, folder: str) -> dict[str, Any]:
    """Each case: shards from the start; then from the state of one process, and their own state left behind."""
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        trained = trainer(world, "fsdp", **case)
        first = losses(trained, STEPS // 2)
        state = trained.state()
        if world.leads:
            snapshot.save(Path(folder) / name / "shards", trained.done, state)
        found[name] = {"losses": first + losses(trained, STEPS // 2), "outcome": outcome(trained)}
        other = trainer(world, "fsdp", **case)
        kept = snapshot.latest(Path(folder) / name / "one")
        assert kept is not None
        other.restore(kept)
        found[name]["resumed"] = losses(other, STEPS // 2)
    return found | {"draws": draws(trainer(world), folder), "scalar": scalar(world, "fsdp")}


def draws(trained: Trainer, folder: str) -> tuple[list[float], list[float]]:
    """What a rank draws next, its generator unlike the others'; and what it draws once its state was taken up again."""
    torch.manual_seed(10 + trained.world.rank)
    state = trained.state()
    if trained.world.leads:
        snapshot.save(Path(folder) / "draws", 0, state)
    first = torch.rand(2).tolist()
    distributed.barrier()
    kept = snapshot.latest(Path(folder) / "draws")
    assert kept is not None
    trained.restore(kept)
    return first, torch.rand(2).tolist()


@pytest.fixture(scope="module")
def ranks(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, list[float]], list[dict[str, Any]], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("shards")
    curves, outcomes = {}, {}
    for name, case in CASES.items():
        alone = trainer(World(), **case)
        curves[name] = losses(alone, STEPS // 2)
        snapshot.save(folder / name / "one", alone.done, alone.state())
        curves[name] += losses(alone, STEPS // 2)
        outcomes[name] = outcome(alone)
    return folder, curves, together(2, folder, work, str(folder)), outcomes


@pytest.mark.parametrize("name", CASES)
def test_losses_are_those_of_one_process(ranks: Any, name: str) -> None:
    _, alone, found, _ = ranks
    for rank in found:
        assert close(rank[name]["losses"], alone[name])
    assert len(set(alone[name])) == STEPS


@pytest.mark.parametrize("name", CASES)
def test_what_is_exported_is_whole(ranks: Any, name: str) -> None:
    *_, found, alone = ranks
    mine = found[0][name]["outcome"]
    assert mine.keys() == alone[name].keys()
    for key, wanted in alone[name].items():
        assert torch.allclose(mine[key], wanted, rtol=1e-3, atol=1e-4), key


@pytest.mark.parametrize("name", CASES)
def test_shards_go_on_from_the_state_of_one_process_and_it_from_theirs(ranks: Any, name: str) -> None:
    folder, alone, found, _ = ranks
    assert close(found[0][name]["resumed"], alone[name][STEPS // 2 :])
    single = trainer(World(), **CASES[name])
    kept = snapshot.latest(folder / name / "shards")
    assert kept is not None
    single.restore(kept)
    assert close(losses(single, STEPS // 2), alone[name][STEPS // 2 :])


def test_each_rank_goes_on_with_its_own_random_numbers(ranks: Any) -> None:
    _, _, found, _ = ranks
    (a, again), (b, once_more) = (rank["draws"] for rank in found)
    assert a == again and b == once_more and a != b


def held(world: World) -> list[tuple[int, int]]:
    """(bytes of all tensors that live after two steps, bytes of a network's weights and optimiser): of shards, of replicas."""
    wide = {"backbone": {"name": "vit", "patch": 4, "dim": 256, "depth": 3, "heads": 4}}
    found = []
    kinds: list[Sharding] = ["fsdp", "none"]
    for sharding in kinds:
        trained = trainer(world, sharding, **wide, objective={"name": "simclr", "out": 8})
        losses(trained, 2)
        gc.collect()
        tensors = [shard.local(x) for x in gc.get_objects() if isinstance(x, Tensor)]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        found.append((sum(storages.values()), 12 * sum(p.numel() for p in trained.network.parameters.values())))
        del trained, tensors
    return found


def test_a_rank_holds_its_part_of_the_weights_and_of_the_optimisers_state(tmp_path: Path) -> None:
    for (part, everything), (whole, _) in together(4, tmp_path, held):
        assert everything / 4 <= part < everything / 4 * 1.15
        assert whole >= everything


class Tempered(Objective):
    """A learnt scalar, which FSDP cannot cut."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, encoder: Any, batch: Any) -> dict[str, Tensor]:
        return {"total": (self.scale * encoder(batch.views[0])).square().mean()}


def scalar(world: World, sharding: Sharding) -> list[float]:
    """Losses of three steps, and the scalar after them."""
    plain = encoders.registry.make
    encoders.registry.make = lambda kind, *args, **words: Tempered() if kind == "objective" else plain(kind, *args, **words)  # type: ignore[assignment]
    try:
        trained = trainer(world, sharding, optim={"lr": 0.01, "clip_norm": 0.1})
        return [*losses(trained, 3), float(trained.objective.scale.detach())]  # type: ignore[operator, union-attr]
    finally:
        encoders.registry.make = plain  # type: ignore[assignment]


def test_a_scalar_is_whole_on_every_rank_and_learns(ranks: Any) -> None:
    _, _, found, _ = ranks
    alone = scalar(World(), "none")
    assert alone[-1] != 2.0
    for rank in found:
        assert close(rank["scalar"], alone)


def test_a_compiled_encoder_is_not_sharded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="a sharded encoder is not compiled"):
        trainer(World(0, 2), "fsdp", compile=True)
