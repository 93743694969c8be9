"""A tokenizer trained on the run's own frames and selected by the config, through Snakemake."""

from __future__ import annotations

import json

import pytest

from nano4m_audio.tables import read_rows
from tests.workflow.conftest import TINY, Project

pytestmark = pytest.mark.slow

TABLES = [f"results/tokens/depth/{shard}.parquet" for shard in ("0000", "0001")]
WEIGHTS = "results/tokenizers/farm/tokenizer.safetensors"
QUALITY = "results/quality/depth/trained-farm.json"


def config(steps: int, selected: str = "trained:farm") -> dict:
    farm = {
        "modality": "depth", "steps": steps, "width": 5, "levels": [4, 4], "batch_size": 2,
        "threads": 1,
    }  # fmt: skip
    return {**TINY, "tokenizers": {"farm": farm}, "tokenize": {"depth": selected}}


def tokens(project: Project) -> dict[str, list]:
    rows = [row for path in TABLES for row in read_rows(project.folder / path, "tokens/depth")]
    return {row["clip_id"]: row["tokens"] for row in rows}


def test_an_own_tokenizer_is_trained_selected_and_measured(copy_of_finished):
    project = copy_of_finished
    selected = len(tokens(project))
    project.write_overlay(config(steps=2))
    project.run(*TABLES, QUALITY)
    assert project.computed_of("depth") == selected
    first, weights = tokens(project), (project.folder / WEIGHTS).read_bytes()
    assert {i for clip in first.values() for frame in clip for i in frame} <= set(range(16))
    facts = json.loads((project.folder / QUALITY).read_text())
    assert facts["split"] in ("test", "val") and facts["n"] > 0 and facts["vocab_size"] == 16
    run = json.loads((project.results / "tokenizers/farm/run.json").read_text())
    assert run["clips"] == sum(
        row["split"] == "train"
        for path in sorted((project.results / "selected").glob("*.parquet"))
        for row in read_rows(path, "selected")
    )
    assert "Nothing to be done" in project.run(*TABLES, QUALITY)

    # Other weights mean other rows; weights that were trained before are found, and so are rows.
    project.write_overlay(config(steps=3))
    project.run(*TABLES)
    assert project.computed_of("depth") == selected
    assert (project.folder / WEIGHTS).read_bytes() != weights
    project.write_overlay(config(steps=2))
    project.run(*TABLES)
    assert project.computed_of("depth") == 0
    assert tokens(project) == first
    log = (project.results / "logs/tokenizer_train/farm.log").read_text()
    assert "is known, nothing to compute" in log
