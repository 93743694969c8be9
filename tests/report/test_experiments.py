"""Runs compared clip by clip: seeds make one arm, planted gains are found, nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nano4m_audio.config.parsing import parse
from nano4m_audio.config.schema import Config
from nano4m_audio.files import write_json
from nano4m_audio.paths import Results
from nano4m_audio.report.experiments import build_page, compare

CLIPS = 40
CONFIG = {
    "source": "barnyard",
    "grids": {"study": {"vary": {"optim.lr": [0.001, 0.002], "optim.seed": [0, 1, 2]}}},
    "report": {"title": "<b>", "experiment": "study_lr_0p001_seed_0"},
    "evaluate": {"bootstrap": 200},
}


def write_run(results: Results, config: Config, name: str, gain: float, clips: int = CLIPS) -> None:
    """One probe with a share and a loss; ``gain`` makes both better on every clip."""
    settings = config.experiments[name].model_dump(mode="json")
    write_json(results.run(name) / "run.json", {"settings": settings})
    rng = np.random.default_rng(settings["optim"]["seed"])
    noise = rng.normal(0, 0.01, clips)
    base = np.random.default_rng(9).random(clips)

    def metric(key: str, values: np.ndarray, unit: str) -> dict[str, Any]:
        shown = dict.fromkeys(("low", "high", "chance")) | {"n": clips, "groups": clips, "note": ""}
        value, by_clip = float(values.mean()), values.tolist()
        return {**shown, "name": key, "value": value, "unit": unit, "by_clip": by_clip}

    content = {
        "probe": "classes", "split": "test", "clips": clips,
        "clip_ids": [f"clip{i:02d}" for i in range(clips)],
        "groups": [i // 2 for i in range(clips)],
        "metrics": [
            metric("share", base / 2 + gain + noise, "accuracy"),
            metric("loss", base - gain + noise, "nats/token"),
            {**metric("pooled", base, "nats/token"), "by_clip": None},
        ],
    }  # fmt: skip
    write_json(results.probe(name, "classes"), content)


@pytest.fixture
def planted(tmp_path):
    results, config = Results(tmp_path), parse(Config, CONFIG, "test")
    for name in config.experiments:
        if name != "base":
            write_run(results, config, name, 0.1 if "0p002" in name else 0.0)
    return results, config.model_copy(
        update={"experiments": {k: v for k, v in config.experiments.items() if k != "base"}}
    )


def test_seeds_are_one_arm_and_a_planted_gain_is_found(planted):
    page = compare(*planted)
    assert [arm.name for arm in page.arms] == ["study_lr_0p001", "study_lr_0p002"]
    assert [arm.seeds for arm in page.arms] == [[0, 1, 2]] * 2
    (_, rows), = page.probes  # fmt: skip
    for row in rows[:2]:
        first, second = row.cells
        assert first and second and first.gain is None and len(second.seeds) == 3
        assert second.gain == pytest.approx(0.1, abs=1e-6)
        assert second.low is not None and second.high is not None and second.p is not None
        assert second.low <= 0.1 + 1e-6 and second.high >= 0.1 - 1e-6 and second.p < 0.01
    assert [cell and cell.gain for cell in rows[2].cells] == [None, None]
    assert (page.tests, page.clips, page.groups) == (2, CLIPS, 20)


def test_no_gain_is_none(planted):
    results, config = planted
    for name in config.experiments:
        write_run(results, config, name, 0.0)
    (_, rows), = compare(results, config).probes  # fmt: skip
    assert all(row.cells[1].p is None or row.cells[1].p > 0.5 for row in rows)


def test_only_clips_that_all_have_are_paired(planted):
    results, config = planted
    write_run(results, config, "study_lr_0p002_seed_1", 0.1, clips=4)
    (_, rows), = compare(results, config).probes  # fmt: skip
    cell = rows[0].cells[1]
    assert cell.gain == pytest.approx(0.1, abs=0.01) and cell.p is None


def test_the_page_escapes_and_names_all(planted):
    results, config = planted
    build_page(results, config)
    html = Path(results.experiments).read_text()
    assert "&lt;b&gt;" in html and "<b>: experiments" not in html
    assert "study_lr_0p002" in html and "+10.0" in html and "http:" not in html.split("<script>")[0]
