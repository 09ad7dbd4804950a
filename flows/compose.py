"""Composes plans with Hydra, unites those of several systems, and writes params.yaml.

Hydra refuses two systems that name the same node in one composition, so each system is composed on its own. A node that
two systems define differently is an error that shows the difference.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.alone import alone
from flows.differences import differences
from flows.grids import spread_grids
from flows.scale import SMALL, scaled
from stages.common import atomic, plan, secret
from stages.common.errors import UserError, unknown
from stages.common.plan import SECTIONS, Plan
from stages.common.process import terminated_as_interrupted
from stages.common.schema import build
from stages.common.workspace import Workspace


def systems(root: Path) -> list[str]:
    """The systems there are: params/system/<id>.yaml."""
    return sorted(p.stem for p in (root / "params" / "system").glob("*.yaml"))


def compose(root: Path, system: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """One system's plan as plain data, exactly as `dvc exp run -S system=<id>` composes it. Raises UserError."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if system not in systems(root):
        raise unknown("system", system, systems(root), where=root / "params" / "system")
    where = f"params/system/{system}.yaml"
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str((root / "params").absolute()), version_base=None):
            config = hydra_compose("config", overrides=[f"system={system}", *overrides])
            missing = sorted(_missing(OmegaConf.to_container(config, resolve=False)))
            if missing:
                raise UserError(f"{missing[0]} has no value", where=where, do="set it there")
            data = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"the plan does not compose: {error}", where=where) from None
    assert isinstance(data, dict)
    return {str(k): v for k, v in data.items()}


def _missing(value: Any, path: str = "") -> Iterator[str]:
    """Paths of values that are still ???, found before references to them are resolved."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _missing(item, f"{path}.{key}" if path else str(key))
    elif value == "???":
        yield path


def unite(plans: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The union of several systems' plans ({system: plan}). Raises UserError where two define one node differently."""
    whole: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for system, one in plans.items():
        for section, nodes in one.items():
            is_section = section in SECTIONS.values()
            united = whole.setdefault(section, {}) if is_section else whole
            for name, node in (nodes if is_section else {section: nodes}).items():
                key = f"{section}.{name}" if is_section else section
                if name in united and united[name] != node:
                    shown = "; ".join(differences(united[name], node, " / "))
                    raise UserError(
                        f"systems {origin[key]!r} and {system!r} define {key} differently: {shown}",
                        where=f"params/system/{system}.yaml",
                        do="give one of them another name" if is_section else "compose them one at a time",
                    )
                united[name] = node
                origin.setdefault(key, system)
    return whole


def make(root: Path, chosen: Sequence[str], overrides: Sequence[str] = (), size: str = SMALL) -> tuple[dict[str, Any], Plan]:
    """Composes, scales, spreads grids, unites, types and validates. Returns the plan as plain data and typed."""
    plans = {name: scaled(compose(root, name, overrides), name, size) for name in dict.fromkeys(chosen)}
    data = unite({name: spread_grids(one, name) for name, one in plans.items()})
    secret.refuse(data)
    typed = build(Plan, data, "params.yaml")
    plan.validate(typed)
    return data, typed


def text(data: dict[str, Any]) -> str:
    """params.yaml's content."""
    import yaml

    return plan.COMPOSED + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120) + plan.END


def write(root: Path, chosen: Sequence[str], overrides: Sequence[str] = (), size: str = SMALL, *, wait: bool = False) -> Plan:
    """Composes and puts the plan in place. Returns it typed. Raises UserError, also as `put`."""
    data, typed = make(root, chosen, overrides, size)
    put(root, typed, text(data), f"planning {' '.join(chosen)}", wait=wait)
    return typed


def put(root: Path, typed: Plan, content: str, title: str, *, wait: bool = False) -> None:
    """Writes params.yaml and moves the folders of nodes that left the plan out of data/, when no run is at work there.

    wait: for the end of one that is; without it Busy is raised, and nothing has changed.
    """
    workspace = Workspace(root)
    with alone(workspace, title, wait=wait):
        atomic.write_text(root / "params.yaml", content)
        set_aside(workspace, typed)


@contextmanager
def looked_at(root: Path, chosen: Sequence[str], size: str = SMALL) -> Iterator[None]:
    """Has the plan of the systems in params.yaml for as long as it lasts, then what was there; no folder moves.

    Raises UserError, also as `put`.
    """
    data, _ = make(root, chosen, size=size)
    path = root / "params.yaml"
    with alone(Workspace(root), f"looking at a plan of {' '.join(chosen)}"), terminated_as_interrupted():
        before = path.read_text() if path.exists() else None
        atomic.write_text(path, text(data))
        try:
            yield
        finally:
            path.unlink() if before is None else atomic.write_text(path, before)


def set_aside(workspace: Workspace, typed: Plan) -> list[Path]:
    """Moves outputs and records of nodes that are not in the plan to .prelude/aside (DVC's cache keeps them too)."""
    wanted = {workspace.record(stage, key) for stage, section in SECTIONS.items() for key in getattr(typed, section)}
    wanted |= {workspace.corpus(k) for k in typed.corpora} | {workspace.encoder(k) for k in typed.encoders}
    wanted |= {workspace.features(k) for k in typed.features} | {workspace.report(k) for k in typed.systems}
    wanted |= {workspace.task(t.system, k) for k, t in typed.tasks.items()}
    patterns = ("corpora/*", "encoders/*", "features/*", "tasks/*/*", "reports/*", "records/*/*")
    moved = []
    for found in sorted(path for pattern in patterns for path in workspace.data.glob(pattern)):
        if found in wanted or not found.is_dir() or found.name.startswith("."):
            continue
        place = workspace.state / "aside" / found.relative_to(workspace.data)
        if place.exists():
            shutil.rmtree(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(str(found), str(place))
        moved.append(found)
    return moved
