"""What docs/ARCHITECTURE.md promises: floors, no circles, functions that fit a screen."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import nano4m_audio

ROOT = Path(nano4m_audio.__file__).parent
#: From the ground up: wings and modules import those of lower floors and of their own.
FLOORS = (
    {"errors", "files", "code_digest", "processor", "progress", "running", "reasons", "filters",
     "section", "modalities", "probes", "yaml_text"},
    {"checked", "tables", "locks", "seals", "parts", "store", "lineage", "shards", "paths",
     "settings_files", "shared_store", "journal", "versions", "intervals", "upstream"},
    {"nano4m", "backends"},
    {"config", "taxonomy"},
    {"media", "barnyard", "experiments", "prerequisites"},
    {"acquire", "curate", "fetch", "label"},
    {"tokenize", "minitrain", "tokenizers", "training"},
    {"audit", "evaluate", "generation", "interchange"},
    {"browser", "release", "report", "terminal", "upkeep"},
    {"dataset"},
    {"publish"},
    {"cli"},
)  # fmt: skip
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
#: Parts that can be taken out and used elsewhere, and the little that they import from here.
FREE = {
    "nano4m": {"processor", "files", "section"},
    "backends": {"errors", "files", "locks", "code_digest", "processor", "yaml_text"},
}
MAX_FUNCTION_LINES, MAX_MODULE_LINES = 60, 400


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text("utf-8"))


def imported(nodes: Iterator[ast.AST] | list[ast.stmt]) -> set[str]:
    """The modules of the package that some import statements name."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nano4m_audio"):
            source = node.module.partition(".")[2]
            inner = {f"{source}.{alias.name}".lstrip(".") for alias in node.names}
            found |= {name if name in FILES else source for name in inner}
        elif isinstance(node, ast.Import):
            names = (alias.name.partition(".") for alias in node.names)
            found |= {rest for package, _, rest in names if package == "nano4m_audio"}
    return found


def wing(module: str) -> str:
    return module.partition(".")[0]


def test_every_wing_has_a_floor():
    assert {wing(module) for module in FILES if module} == set(FLOOR_OF)


@pytest.mark.parametrize("module", [module for module in FILES if module])
def test_imports_go_down(module):
    """Also those inside functions."""
    up = [
        name for name in imported(ast.walk(tree(module)))
        if FLOOR_OF[wing(name)] > FLOOR_OF[wing(module)]
    ]  # fmt: skip
    assert not up


def test_no_modules_import_each_other_in_a_circle():
    """At module level, where it matters in which order they are imported."""
    left = {module: imported(tree(module).body) - {module} for module in FILES}
    while free := {module for module, needs in left.items() if not needs & left.keys()}:
        left = {module: needs for module, needs in left.items() if module not in free}
    assert not left


@pytest.mark.parametrize("part", FREE)
def test_engine_and_backends_stand_alone(part):
    used = set()
    for module in FILES:
        if wing(module) == part:
            used |= {wing(name) for name in imported(ast.walk(tree(module)))}
    assert used <= {part, *FREE[part]}


@pytest.mark.parametrize("module", FILES)
def test_functions_and_modules_are_short(module):
    assert len(FILES[module].read_text("utf-8").splitlines()) <= MAX_MODULE_LINES
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{module}.{node.name} has {lines} lines"


def test_packages_have_no_code_of_their_own():
    """But for the names of the whole package, which are imported when they are asked for."""
    for module, path in FILES.items():
        if path.name == "__init__.py" and module:
            (docstring,) = tree(module).body
            assert isinstance(docstring, ast.Expr), module


def test_the_package_imports_nothing_until_it_is_asked():
    """Who names one of its modules does not pay for torch or pyarrow."""
    code = "import sys, nano4m_audio as n; print(sorted(n.__all__)); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, _, modules = done.stdout.partition("\n")
    assert "open_dataset" in names
    loaded = {name.partition(".")[0] for name in modules.split()}
    assert not loaded & {"torch", "pyarrow", "numpy", "pydantic"}
    assert all(callable(getattr(nano4m_audio, name)) for name in nano4m_audio.__all__)
    assert not hasattr(nano4m_audio, "opendataset")
