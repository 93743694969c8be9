"""More modalities and an audio tokenizer of another shape, through Snakemake to the report.

The semantic one is asked for by the config. The others are added as a contributor would: to the
source of a copy of the package.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nano4m_audio.tables import read_any
from tests.conftest import ROOT
from tests.workflow.conftest import TINY, Project
from tests.workflow.warm import programs

pytestmark = pytest.mark.slow

ROW = """    ModalitySpec(
        "shallow",
        "image",
        "Shallow",
        "shallow maps",
        "depth_tokenizer",
        "tok_shallow@196",
        estimator="depth_estimator",
        form="depth",
        columns=(("lowest", "least"), ("highest", "greatest")),
    ),
"""
TOKENIZER = """  nine:
    target: nano4m_audio.backends.nine:NineBooks
    vocab_size: 9216
    n_tokens: 2646
    n_codebooks: 9
"""


OVERLAY = {
    "tokenize": {"audio": "nine", "semantic": "trained:heard"},
    "semantic": {"heard": {"vocab_size": 32}},
}


def insert(path: Path, text: str, before: str = "", after: str = "") -> None:
    old, place = path.read_text(), before or after
    assert old.count(place) == 1
    path.write_text(old.replace(place, text + before if before else after + text))


def tokens(project: Project, modality: str) -> dict[str, list]:
    tables = sorted((project.results / "tokens" / modality).glob("*.parquet"))
    rows = [row for path in tables for row in read_any(path, ["clip_id", "tokens"]).to_pylist()]
    return {row["clip_id"]: row["tokens"] for row in rows}


def test_one_row_makes_a_modality_and_two_files_a_tokenizer(copy_of_finished, tmp_path):
    package = tmp_path / "src/nano4m_audio"
    shutil.copytree(ROOT / "src", package.parent, ignore=shutil.ignore_patterns("__pycache__"))
    insert(package / "modalities.py", ROW, before='    ModalitySpec(\n        "caption"')
    shutil.copy(ROOT / "tests/tokenize/codecs.py", package / "backends/nine.py")
    insert(package / "backends/registry.yaml", TOKENIZER, after="audio_tokenizer:\n")

    project, source = copy_of_finished, str(package.parent)
    project.write_overlay({**TINY, **OVERLAY})
    project.run(tools=[programs(source)], PYTHONPATH=source)

    shallow = tokens(project, "shallow")
    assert shallow and shallow == tokens(project, "depth")
    assert all(
        len(ids) == 1 and len(ids[0]) == 9 * 294 for ids in tokens(project, "audio").values()
    )
    heard = tokens(project, "semantic")
    assert heard.keys() == shallow.keys()
    assert all(len(ids) == 1 and len(ids[0]) == 22 for ids in heard.values())
    assert 2 < len({i for ids in heard.values() for i in ids[0]}) <= 32
    run = json.loads((project.results / "runs/base/run.json").read_text())
    assert "shallow" in run["final_losses"]["train"] or "shallow" in run["final_losses"]["val"]
    assert (project.results / "quality/shallow/mini.json").is_file()
    for probe, metric in (("cross_entropy", "shallow"), ("structure", "rgb_to_shallow")):
        found = json.loads((project.results / f"evaluation/base/{probe}.json").read_text())
        assert metric in {row["name"] for row in found["metrics"]}
    found = json.loads((project.results / "evaluation/base/classes.json").read_text())
    assert {"semantic", "all"} <= found["predictions"].keys()
    tasks = json.loads((project.results / "generated/base/index.json").read_text())["tasks"]
    assert "rgb_to_semantic" in {task["name"] for task in tasks}
    assert "<figcaption>Shallow</figcaption>" in (project.results / "report.html").read_text()
