"""Versions of stages follow their code: every edit that can change a value, and no other."""

from __future__ import annotations

import ast
import importlib.util
import shutil
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nano4m_audio
from nano4m_audio import code_digest
from nano4m_audio.backends.registry import REGISTRY, get_spec
from nano4m_audio.probes import PROBES
from nano4m_audio.tables import SCHEMAS
from nano4m_audio.versions import STAGES, stage_version

PACKAGE = Path(nano4m_audio.__file__).parent
BACKENDS = {f"{kind}/{name}": (get_spec(kind, name).target.removeprefix("nano4m_audio."),)
            for kind, names in REGISTRY.items() for name in names}  # fmt: skip
ROOTS = STAGES | BACKENDS


def load(folder: Path) -> ModuleType:
    """The module as part of another package; files that did not change are parsed once."""
    spec = importlib.util.spec_from_file_location("other_digest", folder / "code_digest.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)["_Module"] = lambda path: parsed(path, path.read_bytes())
    return module


@cache
def parsed(path: Path, content: bytes) -> object:
    return code_digest._Module(path)


def digests(folder: Path) -> dict[str, str]:
    found = load(folder)
    return {name: found.code_digest(*roots) for name, roots in ROOTS.items()}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package, to be edited."""
    folder = tmp_path_factory.mktemp("copy") / "nano4m_audio"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    return folder


@pytest.fixture(scope="module")
def before(package):
    return digests(package)


@pytest.fixture
def edit(package):
    """Replaces text in a file of the copy for the time of a test."""
    originals: dict[Path, str] = {}

    def replace(name: str, old: str, new: str) -> None:
        path = package / name
        text = originals.setdefault(path, path.read_text())
        assert old in text
        path.write_text(path.read_text().replace(old, new))

    yield replace
    for path, text in originals.items():
        path.write_text(text)


def test_a_copy_of_the_code_has_the_same_digests(before):
    assert before == {name: code_digest.code_digest(*roots) for name, roots in ROOTS.items()}


def test_formatting_comments_and_docstrings_change_nothing(package, before):
    originals = {path: path.read_text() for path in package.rglob("*.py")}
    try:
        for path, text in originals.items():
            tree = ast.parse(text)
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
                    node.body[0] = ast.Expr(ast.Constant("Something else."))
                elif isinstance(node, ast.FunctionDef):
                    node.body.insert(0, ast.Expr(ast.Constant("Something.")))
            path.write_text(f"# A comment.\n{ast.unparse(ast.fix_missing_locations(tree))}\n")
        assert digests(package) == before
    finally:
        for path, text in originals.items():
            path.write_text(text)


CROPS = {
    "scores/visual", "labels/depth", "labels/normals", "tokens/rgb", "tokens/depth",
    "tokens/normals", "tokenizers", "quality", "generated", "examples", "report",
    "clip_files", "clip_media",
}  # fmt: skip
EVALUATED = {f"evaluate/{probe}" for probe in PROBES}


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("media/crop.py", "BICUBIC", "NEAREST", CROPS),
        ("acquire/sound.py", "import numpy as np", "import scipy as np", {"clips"}),
        ("curate/fingerprints.py", "import numpy as np", "import scipy as np",
         {"scores/fingerprints", "split"}),
        ("nano4m/model.py", "import torch", "print()\nimport torch",
         {"train", "generated", *EVALUATED}),
        ("evaluate/classes.py", "def compute(", "@print\ndef compute(", {"evaluate/classes"}),
        ("report/templates/split.html.j2", "section", "div",
         {"report", "experiments", "clips_page"}),
        ("backends/mini/dense.py", "import torch", "print()\nimport torch",
         {"depth_estimator/mini", "normal_estimator/mini"}),
        ("backends/dsine/geometry.py", "import torch", "print()\nimport torch",
         {"normal_estimator/dsine"}),
        ("backends/audioset_labels.csv", "Frog", "Toad",
         {"audio_tagger/panns_cnn14", "audio_tagger/yamnet", "candidates"}),
        ("backends/audioset_ontology.txt", "/m/01280g", "/m/0000", {"candidates"}),
        ("taxonomy.yaml", "cow", "ox", set()),
        ("media/crop.py", "def square_crop", "UNUSED = 1\n\n\ndef square_crop", set()),
        ("store.py", "64", "65", set()),
        ("progress.py", "def ", "X = 1\n\n\ndef ", set()),
        ("cli/data.py", "def ", "X = 1\n\n\ndef ", set()),
    ],
)  # fmt: skip
def test_an_edit_changes_the_stages_and_backends_that_use_it(
    edit, package, before, name, old, new, changed
):
    edit(name, old, new)
    now = digests(package)
    assert {stage for stage in ROOTS if now[stage] != before[stage]} == changed


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_number_of_any_code_that_is_reached_counts(package, before, data):
    stage = data.draw(st.sampled_from(["scores/audio", "labels/depth", "tokens/audio", "split"]))
    places = [place for place, _ in load(package).reached(ROOTS[stage])]
    module, name = data.draw(st.sampled_from([p for p in places if not p[1].endswith(".yaml")]))
    path = package.joinpath(*module.split(".")[1:]).with_suffix(".py")
    text = path.read_text()
    tree = ast.parse(text)
    body = [s for s in tree.body if name in code_digest._bound_names(s)]
    numbers = [
        node for s in body for node in ast.walk(s)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float)
    ]  # fmt: skip
    if not numbers:
        return
    data.draw(st.sampled_from(numbers)).value += 1
    path.write_text(ast.unparse(tree))
    try:
        assert load(package).code_digest(*ROOTS[stage]) != before[stage]
    finally:
        path.write_text(text)


TINY = {
    "stage": """
        from typing import TYPE_CHECKING
        from torch import relu as act
        from tiny import whole, words
        from tiny.again import helper
        if TYPE_CHECKING:
            from tiny.types import Kind
        def run(x: int) -> int:
            from tiny.inside import inner
            return act(inner(helper(x))) + words.LENGTH + max(map(str, dir(whole)))
        def other():
            return 1
    """,
    "again": "from tiny.inside import helper\n",
    "inside": "FACTOR = 2\ndef inner(x): return FACTOR * x\ndef helper(x): return x\n",
    "words": "LENGTH = 3\nUNUSED = 4\n",
    "whole": "A = 1\nB = 2\n",
    "types": "Kind = int\n",
}


@pytest.mark.parametrize(
    ("module", "old", "new", "counts"),
    [
        ("stage", "x: int) -> int", "x: float) -> str", False),
        ("stage", "return 1", "return 2", False),
        ("stage", "relu as act", "sigmoid as act", True),
        ("stage", "LENGTH", "UNUSED", True),
        ("again", "inside import helper", "inside import inner as helper", True),
        ("inside", "FACTOR = 2", "FACTOR = 3", True),
        ("inside", "return x", "return -x", True),
        ("words", "UNUSED = 4", "UNUSED = 5", False),
        ("words", "UNUSED = 4", "LENGTH += 4", True),
        ("words", "UNUSED = 4", "print(LENGTH)", True),
        ("whole", "B = 2", "B = 3", True),
        ("types", "int", "float", False),
    ],
)
def test_names_are_followed_to_what_they_mean(tmp_path, module, old, new, counts):
    folder = tmp_path / "tiny"
    folder.mkdir()
    shutil.copy(PACKAGE / "code_digest.py", folder)
    for name, text in TINY.items():
        lines = [line.removeprefix("        ") for line in text.strip("\n").splitlines()]
        (folder / f"{name}.py").write_text("\n".join(lines) + "\n")
    first = load(folder).code_digest("stage:run")
    path = folder / f"{module}.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert (load(folder).code_digest("stage:run") != first) == counts


def test_digests_are_remembered_for_equal_sources_alone(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    shutil.copy(PACKAGE / "code_digest.py", folder)
    (folder / "stage.py").write_text("def run(): return 1\n")
    first = load(folder).code_digest("stage:run")
    (kept,) = folder.glob("__pycache__/*.json")
    kept.write_text(kept.read_text().replace(first, "remembered"))
    assert load(folder).code_digest("stage:run") == "remembered"
    (folder / "stage.py").write_text("def run(): return 1  # one\n")
    assert load(folder).code_digest("stage:run") == first
    kept.write_text("{")
    assert load(folder).code_digest("stage:run") == first


def test_a_root_that_is_not_there_is_an_error():
    with pytest.raises(LookupError, match="media.crop:round_crop"):
        code_digest.code_digest("media.crop:round_crop")


def test_every_artifact_with_keys_has_a_version():
    assert {f"evaluate/{probe}" for probe in PROBES} <= set(STAGES)
    assert {name for name, schema in SCHEMAS.items() if "key" in schema.names} <= set(STAGES)
    assert len({stage_version(stage) for stage in STAGES}) > len(STAGES) // 2


def test_what_is_not_followed_exists():
    for name in code_digest.PLUMBING:
        module, _, inner = name.partition(":")
        path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
        assert path.is_file(), name
        assert not inner or inner in path.read_text()
