"""A digest of the code that a function runs: part of every content key.

Starting at a function, every function, class and constant of this package that it names is
followed, also through imports inside functions, and the syntax tree of each goes into the digest.
Comments, docstrings, formatting, and the annotations of arguments and results change nothing; any
other edit of code that is reached does. Too much is followed rather than too little: a name that is
mentioned counts as used, and a module that is passed around counts as a whole.

Not followed are modules of ``PLUMBING``, other packages, and what is loaded by a name that is made
at run time: backends (their digest is part of their identity, see registry.py) and probes (see
versions.py).
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from nano4m_audio.files import write_json

_ROOT = Path(__file__).parent
_PACKAGE = _ROOT.name
_DATA = (".yaml", ".csv", ".txt", ".j2", ".css", ".js")
_REMEMBERED = _ROOT / "__pycache__" / "code_digests.json"

#: Modules, and names in modules, that make no values, and why a change there computes nothing anew.
PLUMBING = {
    **dict.fromkeys(
        ("errors", "progress", "reasons", "nano4m.progress", "acquire.list_words"),
        "words for the user",
    ),
    **dict.fromkeys(
        ("files", "locks", "seals", "store", "parts", "checked", "lineage", "shards", "paths"),
        "carry finished values, which are checked by digests of their own",
    ),
    "tables": "carries rows; the schema of a stage is part of its version by itself",
    **dict.fromkeys(
        ("backends.registry", "backends.weights", "backends.compute", "backends.network"),
        "say which model runs where; its identity and dtype are in the key",
    ),
    **dict.fromkeys(
        ("training.watching", "training.run_record"), "look at a training, and change nothing"
    ),
    **dict.fromkeys(("code_digest", "versions"), "make the digests"),
    "taxonomy": "what is taken of one class is in the key as a value",
    **dict.fromkeys(
        ("tokenize.stage:_MAKERS", "label.maps:FORMS"),
        "tables of functions, of which each stage has one as a root",
    ),
    **dict.fromkeys(
        (f"modalities:{n}" for n in ("_TABLE", "MODALITIES", "ModalitySpec", "IMAGES", "LABELS")),
        "what a stage takes of a row is in its key: backend, inputs and form",
    ),
}

#: Where a name leads: a module and what is named in it ("" for the whole module).
Place = tuple[str, str]


@cache
def code_digest(*roots: str) -> str:
    """The digest, 16 hex digits, of what ``roots`` run: ``module:name``, below this package, or
    the path of a folder of data files. Raises LookupError for a root that does not exist."""
    remembered = _remembered()
    name = " ".join(roots)
    if name not in remembered:
        code = reached(root for root in roots if ":" in root)
        data = [_read(p) for root in roots if ":" not in root for p in _files(_ROOT / root, _DATA)]
        remembered[name] = hashlib.sha256(repr((code, data)).encode()).hexdigest()[:16]
        with suppress(OSError):
            write_json(_REMEMBERED, {_sources_digest(): remembered})
    return remembered[name]


def reached(roots: Iterable[str]) -> list[tuple[Place, Any]]:
    """Every definition that ``roots`` lead to, in order, with its code and what it leads to."""
    found: dict[Place, Any] = {}
    todo: list[Place] = []
    for root in roots:
        module, _, name = f"{_PACKAGE}.{root}".partition(":")
        if not _path(module) or name not in _module(module).statements:
            raise LookupError(f"{root}: there is no such function")
        todo.append((module, name))
    while todo:
        place = todo.pop()
        if place not in found and _is_followed(*place):
            code, uses = _look(*place)
            targets = sorted({target for use in uses for target in _targets(place[0], use)})
            found[place] = code, targets
            todo += targets
    return sorted(found.items())


def _look(module: str, name: str) -> tuple[Any, set[str]]:
    """The code or the data file of this name, and the names that it mentions."""
    if name.endswith(_DATA):
        folder = _ROOT.joinpath(*module.split(".")[1:-1])
        return [_read(path) for path in _files(folder, (name,))], set()
    return _module(module).look(name)


def _is_followed(module: str, name: str) -> bool:
    below = module.partition(".")[2]
    return bool(_path(module)) and below not in PLUMBING and f"{below}:{name}" not in PLUMBING


def _targets(module: str, use: str) -> list[Place]:
    """Where a name that code of ``module`` mentions leads; nothing for what is no global name."""
    if use.endswith(_DATA):
        return [(module, use)]
    known = _module(module)
    name, _, attribute = use.partition(".")
    if name in known.statements:
        return [(module, name)]
    places = []
    for source, wanted in known.imports.get(name, ()):
        inner = f"{source}.{wanted}" if wanted else source
        if _path(inner):
            there = _module(inner)
            places.append((inner, attribute if attribute in there.all_names else ""))
        else:
            places.append((source, wanted))
    return places


class _Module:
    """The definitions of a module by name, and where the names that it imports come from."""

    def __init__(self, path: Path) -> None:
        tree = _Bare().visit(ast.parse(path.read_bytes()))
        self.statements: dict[str, list[ast.stmt]] = {"": []}
        self.imports: dict[str, set[Place]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    place = str(node.module), alias.name
                    self.imports.setdefault(alias.asname or alias.name, set()).add(place)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    bound = alias.asname or alias.name.partition(".")[0]
                    self.imports.setdefault(bound, set()).add((alias.name, ""))
        for statement in tree.body:
            for name in _bound_names(statement):
                self.statements.setdefault(name, []).append(statement)
        self.all_names = {*self.statements, *self.imports}
        self._looked: dict[str, tuple[Any, set[str]]] = {}

    def look(self, name: str) -> tuple[Any, set[str]]:
        """The code that binds a name ("": of the whole module), and the names that it mentions.

        Statements that bind no name, such as calls, are run by whoever imports the module.
        """
        if name not in self._looked:
            uses: set[str] = set()
            if name in self.imports and name not in self.statements:
                uses.add(name)
            chosen = self.statements.get(name, []) if name else []
            if not name:
                chosen = [s for group in self.statements.values() for s in group]
            code = _plain([*self.statements[""], *chosen], uses)
            self._looked[name] = code, uses
        return self._looked[name]


class _Bare(ast.NodeTransformer):
    """Removes what changes no value."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        silent = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if silent else self._inside(node)

    def visit_If(self, node: ast.If) -> ast.If | None:
        typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if typing else self._inside(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        return self._inside(node)

    def _inside(self, node: Any) -> Any:
        return self.generic_visit(node)


def _bound_names(statement: ast.stmt) -> list[str]:
    """The names that a statement of a module binds; imports are kept elsewhere."""
    match statement:
        case ast.Import() | ast.ImportFrom():
            return []
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [statement.name]
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
            return names or [""]
    return [""]


def _plain(node: Any, uses: set[str]) -> Any:
    """A syntax tree as nested lists that are the same for every version of Python; adds the names
    (``name`` and ``name.attribute``) and data files that it mentions to ``uses``."""
    if isinstance(node, list):
        return [_plain(item, uses) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr=attribute):
            uses.add(f"{name}.{attribute}")
            return ["Attribute", name, attribute]
        case ast.Name(id=name):
            uses.add(name)
        case ast.Constant(value=str(text)) if text.endswith(_DATA):
            uses.add(text)
    fields = ((name, value) for name, value in ast.iter_fields(node) if name != "ctx")
    kept = [[n, _plain(value, uses)] for n, value in fields if value is not None and value != []]
    return [type(node).__name__, *kept]


@cache
def _module(name: str) -> Any:
    path = _path(name)
    return _Module(path) if path else None


@cache
def _path(module: str) -> Path | None:
    """The file of a module of this package; None for anything else."""
    package, *parts = module.split(".")
    if package != _PACKAGE:
        return None
    place = _ROOT.joinpath(*parts)
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)


def _files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    every = ((at, name) for at, _, names in os.walk(folder) for name in names)
    return sorted(Path(at, name) for at, name in every if name.endswith(endings))


def _read(path: Path) -> tuple[str, bytes]:
    return path.relative_to(_ROOT).as_posix(), path.read_bytes()


@cache
def _sources_digest() -> str:
    """A digest of all sources, byte for byte: digests that were remembered for it are true."""
    digest, start = hashlib.sha256(repr(sys.version_info[:2]).encode()), len(str(_ROOT))
    for path in _files(_ROOT, (".py", *_DATA)):
        content = path.read_bytes()
        digest.update(f"{str(path)[start:]}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


@cache
def _remembered() -> dict[str, str]:
    """Digests by roots, as they were computed from the same sources; parsing takes a second."""
    try:
        return dict(json.loads(_REMEMBERED.read_text("utf-8"))[_sources_digest()])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
