"""The published audio codecs, thin and with seeded weights, from decoded clips to the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks import random_weights
from nano4m_audio.backends.registry import get_spec
from nano4m_audio.tables import read_rows
from tests.workflow.conftest import TINY

pytestmark = pytest.mark.slow


def cache_of(folder: Path, weights: str, writer: str) -> dict[str, Any]:
    """The environment of a run that has these weights and no network."""
    place = folder / "weights" / weights
    place.mkdir(parents=True)
    getattr(random_weights, writer)(place, small=True)
    entry = {"files": [{"name": path.name} for path in sorted(place.iterdir())]}
    (folder / "weights.yaml").write_text(yaml.safe_dump({weights: entry}))
    return {"NANO4M_AUDIO_CACHE": str(folder), "NANO4M_AUDIO_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}


@pytest.mark.parametrize("name", ["xcodec1", "mimi"])
def test_a_published_codec_up_to_the_report(name, copy_of_finished, tmp_path):
    spec = get_spec("audio_tokenizer", name)
    writer = spec.target.partition(":")[0].rpartition(".")[2]
    environment = cache_of(tmp_path / "cache", spec.weights, writer)
    project = copy_of_finished
    project.write_overlay({**TINY, "tokenize": {"audio": name}})
    project.run(**environment)

    tables = sorted((project.results / "tokens/audio").glob("*.parquet"))
    rows = [row for path in tables for row in read_rows(path, "tokens/audio")]
    assert rows and {row["status"] for row in rows} == {"ok"}
    ids = np.array([row["tokens"] for row in rows])
    assert ids.shape[1:] == (1, spec.n_tokens)
    size = spec.vocab_size // spec.n_codebooks
    books = ids.reshape(len(ids), -1, spec.n_codebooks) // size
    assert (books == np.arange(spec.n_codebooks)).all()
    assert len(np.unique(ids)) > 20
    run = json.loads((project.results / "runs/base/run.json").read_text())
    assert "audio" in run["final_losses"]["train"] or "audio" in run["final_losses"]["val"]
    for probe in ("classes", "cross_entropy"):
        found = json.loads((project.results / f"evaluation/base/{probe}.json").read_text())
        values = {row["name"]: row["value"] for row in found["metrics"]}
        assert any("audio" in metric for metric in values), values
    assert "audio/mp" in (project.results / "report.html").read_text()
    assert "Nothing to be done" in project.run(**environment)
