"""The shape that docs/design.md fixes: imports run one way, one part a file, nothing unsafe, every input watched by DVC."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import compose
from stages.common import registry

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("ingest", "pretrain", "extract", "fit", "evaluate", "report")
LAYERS = [("stages.common",), ("stages.encoders",), ("stages.views", "stages.measures", "stages.metrics")]
LAYERS += [tuple(f"stages.{stage}" for stage in STAGES), ("flows",)]
SOURCES = sorted(p for top in ("stages", "flows") for p in (ROOT / top).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PARTS = [(kind, name) for kind in registry.PACKAGES for name in registry.names(kind)]


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def module_path(name: str) -> Path | None:
    """The file of a module of ours, None for any other."""
    base = ROOT.joinpath(*name.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def imported(node: ast.AST, package: str) -> Iterator[str]:
    """The full names an import statement may bring in: `from a import b` gives a and a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def package_of(path: Path) -> str:
    return module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]


@functools.cache
def project_imports(path: Path) -> frozenset[str]:
    """Modules of ours that a file imports, anywhere in it."""
    found = {name for node in ast.walk(tree(path)) for name in imported(node, package_of(path))}
    return frozenset(name for name in found if name.split(".")[0] in ("stages", "flows") and module_path(name))


def at_module_level(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run on import: not those in functions, nor those for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from at_module_level(child)


def layer(module: str) -> int | None:
    found = [i for i, names in enumerate(LAYERS) for n in names if module == n or module.startswith(f"{n}.")]
    return found[0] if found else None


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_imports_run_one_way(path: Path) -> None:
    mine = layer(module_name(path))
    upward = [m for m in project_imports(path) if (layer(m) or 0) > (mine or 0) and layer(m) is not None]
    assert upward == [], f"{shown(path)} imports what lies above it"


@pytest.mark.parametrize("path", [p for p in SOURCES if layer(module_name(p)) == 3], ids=shown)
def test_no_stage_imports_another(path: Path) -> None:
    stage = module_name(path).split(".")[1]
    others = [m for m in project_imports(path) if layer(m) == 3 and m.split(".")[1] != stage]
    assert others == []


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_every_part_file_marks_one_part_of_its_name(kind: str, name: str) -> None:
    part = registry.find(kind, name)
    assert part.__module__ == f"{registry.PACKAGES[kind]}.{name}"
    assert part.__doc__


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_every_argument_of_a_part_has_a_type_that_a_plan_can_say(kind: str, name: str) -> None:
    part = registry.find(kind, name)
    for key, parameter in registry._settings(part).items():
        assert parameter.annotation is not parameter.empty, f"{key} has no type"


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_no_argument_has_a_name_that_dvc_leaves_out_of_its_run_cache(kind: str, name: str) -> None:
    """DVC drops keys of these names from what it hashes, at any depth: a run with another value would be taken for this one."""
    assert not {"size", "nfiles", "isexec"} & set(inspect.signature(registry.find(kind, name)).parameters)


LIGHT = {"torch", "numpy", "pyarrow", "safetensors", "stages", "__future__"} | set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    "path",
    [
        p
        for p in SOURCES
        if module_name(p).startswith(("stages.pretrain", "stages.extract", "stages.encoders", "stages.common"))
    ],
    ids=shown,
)
def test_pretraining_and_extraction_start_on_torch_and_arrow_alone(path: Path) -> None:
    nodes = at_module_level(tree(path))
    found = {name.split(".")[0] for node in nodes for name in imported(node, package_of(path)) if name}
    assert found <= LIGHT


def fresh(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a new interpreter."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)


@pytest.mark.parametrize("stage", [s for s in STAGES if (ROOT / "stages" / s / "__main__.py").exists()])
def test_a_stage_shows_its_help_without_loading_what_it_does_not_need(stage: str) -> None:
    heavy = ["torch", "mlflow", "prefect", "dvc", "hydra", "polars", "sklearn", "scipy", "rich", "transformers"]
    code = f"import sys, stages.{stage}.__main__; print([m for m in {heavy!r} if m in sys.modules])"
    assert fresh(code).stdout.strip() == "[]"


def test_the_command_lines_help_is_quick_and_loads_nothing_heavy() -> None:
    code = """
import sys
from flows import cli
try:
    cli.main(["--help"])
except SystemExit as end:
    heavy = ("torch", "hydra", "mlflow", "prefect", "dvc", "pyarrow", "numpy")
    print("LOADED", end.code, [m for m in heavy if m in sys.modules])
"""
    fresh(code)  # writes the byte code
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = fresh(code)
        seconds.append(time.perf_counter() - start)
    assert done.stdout.splitlines()[-1] == "LOADED 0 []"
    assert min(seconds) < 0.5


FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "torch.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen", "np.fromregex"}


def unsafe(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        for name in imported(node, package_of(path)):
            if name.split(".")[0] in FORBIDDEN_MODULES:
                yield f"line {node.lineno}: imports {name}"  # type: ignore[attr-defined]
        if isinstance(node, ast.Call):
            name, words = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            if name in FORBIDDEN_CALLS:
                yield f"line {node.lineno}: calls {name}"
            if name == "yaml.load" and "Safe" not in words.get("Loader", ""):
                yield f"line {node.lineno}: yaml.load without a safe loader"
            if words.get("shell") == "True" or words.get("allow_pickle") == "True":
                yield f"line {node.lineno}: {name} with shell or pickle"


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_nothing_is_unpickled_or_evaluated_or_given_to_a_shell(path: Path) -> None:
    assert list(unsafe(path)) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(p)",
        "eval('1')",
        "yaml.load(t)",
        "yaml.load(t, Loader=yaml.Loader)",
        "subprocess.run('ls', shell=True)",
        "np.load(p, allow_pickle=True)",
    ],
)
def test_the_search_for_unsafe_code_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "a.py").write_text(line)
    assert list(unsafe(tmp_path / "a.py"))


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=shown)
def test_files_are_short_enough_to_read(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= (400 if path in TESTS else 300)


def undocumented(path: Path) -> Iterator[str]:
    """The module and its public classes and functions without a docstring; a stage's __main__ has the same three everywhere."""
    known = ("main", "inputs", "target") if path.name == "__main__.py" else ()
    if not ast.get_docstring(tree(path)):
        yield "the module"
    for node in tree(path).body:
        public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_") and node.name not in known
        if public and not ast.get_docstring(node):
            yield node.name


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_everything_public_is_documented(path: Path) -> None:
    assert list(undocumented(path)) == []


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs a Git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


MACHINE_PATH = re.compile(
    r"(?<![\w.:/~$}-])/(?:" + "|".join(["work", "home", "root", "tmp", "Users", "mnt", "var/folders"]) + r")/[\w.-]+"
)


def test_no_tracked_file_names_a_path_of_this_machine() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{shown(path)}: {hit}" for hit in MACHINE_PATH.findall(text)]
    assert found == []


@functools.cache
def dag() -> dict[str, Any]:
    data: dict[str, Any] = yaml.load((ROOT / "dvc.yaml").read_text(), Loader=yaml.SafeLoader)
    return data["stages"]


@functools.cache
def quickstart() -> dict[str, Any]:
    return compose.compose(ROOT, "quickstart")


def resolved(dep: str, key: str, item: dict[str, Any]) -> str:
    """A dep with ${key} and ${item.a.b} filled in."""

    def fill(match: re.Match[str]) -> str:
        first, *rest = match[1].split(".")
        value: Any = key if first == "key" else item
        for name in rest:
            value = value[name]
        return str(value)

    return re.sub(r"\$\{([^}]+)\}", fill, dep)


def nodes() -> Iterator[tuple[str, str, dict[str, Any], list[str]]]:
    """(stage, key, item, deps) of every node of the quickstart whose stage is there to run."""
    for stage, entry in dag().items():
        if not (ROOT / "stages" / stage / "__main__.py").exists():
            continue
        if "foreach" not in entry:
            yield stage, "", {}, entry["deps"]
            continue
        for key, item in quickstart()[entry["foreach"].removeprefix("${").removesuffix("}")].items():
            yield stage, key, item, [resolved(dep, key, item) for dep in entry["do"]["deps"]]


def reached(*start: Path) -> set[Path]:
    """The files given and all of ours that they import. Parts that the registry imports by name are not among them."""
    ahead, seen = list(start), set()
    while ahead:
        path = ahead.pop()
        if path not in seen:
            seen.add(path)
            ahead += [found for name in project_imports(path) if (found := module_path(name))]
    return {path for path in seen if not empty(path)}


def part_file(kind: str, name: str) -> Path:
    return ROOT.joinpath(*registry.PACKAGES[kind].split("."), f"{name}.py")


def chosen_parts(item: dict[str, Any]) -> list[Path]:
    """The files of the parts that a node names."""
    found = [part_file(kind, part["name"]) for kind, part in item.items() if kind in registry.PACKAGES]
    return found + [part_file("metric", name) for name in item.get("metrics", [])]


def empty(path: Path) -> bool:
    """Whether a module is a docstring and no more, such as a package's __init__."""
    return all(isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) for n in tree(path).body)


def uncovered(files: set[Path], deps: list[str]) -> list[str]:
    """Files that are neither a dep nor below one."""
    names = {shown(p) for p in files}
    return sorted(n for n in names if not any(n == d or n.startswith(f"{d}/") for d in deps))


def test_every_source_file_that_dvc_watches_is_there() -> None:
    missing = {d for *_, deps in nodes() for d in deps if d.startswith("stages/") and not (ROOT / d).exists()}
    assert missing == set()


def test_dvc_watches_every_source_file_that_a_node_runs() -> None:
    missing: dict[str, list[str]] = {}
    for stage, key, item, deps in nodes():
        main = ROOT / "stages" / stage / "__main__.py"
        for file in uncovered(reached(main, *chosen_parts(item)), deps):
            missing.setdefault(f"{stage}: {file}", []).append(key)
    assert missing == {}


USES = {"ingest": ("source", "reader"), "pretrain": ("frontend", "backbone", "views", "objective")}
USES |= {"extract": ("views",), "fit": ("head", "metric", "measure")}
CHOICES = [(stage, kind, name) for stage, kinds in USES.items() for kind in kinds for name in registry.names(kind)]


@pytest.mark.parametrize(("stage", "kind", "name"), CHOICES)
def test_dvc_watches_every_source_file_that_a_part_runs(stage: str, kind: str, name: str) -> None:
    deps = [dep.replace(f"${{item.{kind}.name}}", name) for dep in dag()[stage]["do"]["deps"]]
    assert uncovered(reached(part_file(kind, name)), deps) == []


def test_the_committed_plan_is_the_composition_of_the_quickstart() -> None:
    assert (ROOT / "params.yaml").read_text(encoding="utf-8") == compose.text(compose.make(ROOT, ["quickstart"])[0])
