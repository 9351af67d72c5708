"""The layout of the project as assertions: who imports whom, what is free of torch, house style.

The checks read syntax trees and import nothing, so they also cover code that needs a GPU to run.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "spresso_cli"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py"))
NAMES = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SOURCES}

# Every room and the rooms it may import. `errors` is open to all but the pure rooms.
MAY_IMPORT = {
    "cli": {"library", "codec", "container", "audio", "training", "evaluation", "errors"},
    "library": {"codec", "container", "audio", "errors"},
    "codec": {"audio", "container", "models", "diffusion", "errors"},
    "training": {"codec", "models", "diffusion", "audio", "container", "errors"},
    "evaluation": {"codec", "models", "diffusion", "audio", "container", "errors"},
    "audio": {"container", "errors"},
    "container": {"errors"},
    "models": set(),
    "diffusion": set(),
    "errors": set(),
}

TORCH_FREE_ROOMS = {"cli", "library", "container", "audio", "errors"}
TORCH_FREE_MODULES = {
    "spresso_cli.codec.in_order",
    "spresso_cli.codec.packs",
    "spresso_cli.codec.protocol",
}

RUN_TIME_DEPENDENCIES = {
    "torch",
    "typer",
    "rich",
    "soundfile",
    "numpy",
    "bitarray",
    "safetensors",
    "soxr",
}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def room(module: str) -> str:
    """`spresso_cli.audio.files` -> `audio`; the package itself -> ``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(path: Path, *, lazy: bool) -> set[str]:
    """Absolute names of what `path` imports; `lazy` includes imports inside functions."""
    return set(_imports(tree(path), NAMES[path].split("."), lazy=lazy))


def _imports(node: ast.AST, module: list[str], *, lazy: bool) -> Iterator[str]:
    """The same for one node of `module`; blocks under `if TYPE_CHECKING:` never run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = ".".join(module[: -child.level]) if child.level else ""
            origin = ".".join(filter(None, [base, child.module]))
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _imports(other, module, lazy=lazy)
        elif lazy or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports(child, module, lazy=lazy)


def own_modules(path: Path, *, lazy: bool) -> set[str]:
    """The modules of this package that `path` imports, packages included."""
    known = set(NAMES.values())
    found = set()
    for name in imports(path, lazy=lazy):
        for candidate in (name, f"{name}.__init__"):
            if candidate in known and candidate != NAMES[path]:
                found.add(candidate)
    return found


def loaded_by(module: str, graph: dict[str, set[str]]) -> set[str]:
    """Everything that importing `module` imports in turn, itself included."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting.extend(graph[current])
    return seen


@pytest.fixture(scope="module")
def top_level_graph() -> dict[str, set[str]]:
    return {NAMES[path]: own_modules(path, lazy=False) for path in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=NAMES.get)
def test_imports_go_one_way_between_the_rooms(path: Path) -> None:
    home = room(NAMES[path])
    if home not in MAY_IMPORT:  # the package's own files tie the rooms together, lazily
        return
    foreign = {room(name) for name in own_modules(path, lazy=True)} - {home, "__init__"}
    assert foreign <= MAY_IMPORT[home]


def test_every_room_is_in_the_table() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in SOURCES}
    assert rooms - {"__init__", "__main__"} <= set(MAY_IMPORT)


def test_no_module_imports_itself_through_others(top_level_graph: dict[str, set[str]]) -> None:
    for module, imported in top_level_graph.items():
        for name in imported:
            assert module not in loaded_by(name, top_level_graph), f"{module} <-> {name}"


@pytest.mark.parametrize(
    "module",
    [
        name
        for name in NAMES.values()
        if room(name) in TORCH_FREE_ROOMS or name in TORCH_FREE_MODULES
    ],
)
def test_torch_free_modules_stay_free_of_torch(
    module: str, top_level_graph: dict[str, set[str]]
) -> None:
    by_name = {name: path for path, name in NAMES.items()}

    def with_packages(name: str) -> set[str]:
        parts = name.split(".")
        packages = (".".join([*parts[:depth], "__init__"]) for depth in range(1, len(parts)))
        return {name, *packages} & set(by_name)

    graph = {
        name: {loaded for target in {name, *targets} for loaded in with_packages(target)}
        for name, targets in top_level_graph.items()
    }
    for loaded in loaded_by(module, graph):
        outside = {name.split(".")[0] for name in imports(by_name[loaded], lazy=False)}
        assert "torch" not in outside, f"{module} loads torch through {loaded}"


@pytest.mark.parametrize("path", SOURCES, ids=NAMES.get)
def test_only_the_command_line_talks_to_the_terminal(path: Path) -> None:
    if room(NAMES[path]) == "cli":
        return
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if ast.unparse(call.func) == "print"]
    assert not {name.split(".")[0] for name in imports(path, lazy=True)} & {"typer", "rich"}


@pytest.mark.parametrize("path", SOURCES, ids=NAMES.get)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree(path)), "a module starts with one sentence of purpose"


@pytest.mark.parametrize("path", SOURCES, ids=NAMES.get)
def test_no_module_outgrows_one_concept(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=NAMES.get)
def test_nothing_unpickles_or_silences_warnings(path: Path) -> None:
    called = {ast.unparse(n.func) for n in ast.walk(tree(path)) if isinstance(n, ast.Call)}
    assert not called & {"torch.load", "pickle.load", "pickle.loads", "eval", "exec"}
    assert not called & {"warnings.filterwarnings", "warnings.simplefilter"}


def test_the_run_time_dependencies_are_the_decided_ones_without_upper_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = dict(requirement.split(">=") for requirement in project["dependencies"])
    assert set(bounds) == RUN_TIME_DEPENDENCIES
    assert not any(mark in bound for bound in bounds.values() for mark in "<=!~,")


def test_nothing_needs_posix_to_be_imported() -> None:
    """A test that needs it skips on Windows; one whose module cannot be imported there fails."""
    missing_on_windows = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"}
    folders = ("spresso_cli", "tests", "benchmarks", "examples")
    assert [
        f"{path.relative_to(ROOT)}: {ast.unparse(node)}"
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in tree(path).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and missing_on_windows & {getattr(node, "module", None), *(a.name for a in node.names)}
    ] == []
