"""axe-core finds nothing on any page, narrow or wide, light or dark."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from nano4m_audio.browser.stage import build_page, show_shard
from nano4m_audio.config.reading import parse
from nano4m_audio.config.schema import ClipMediaSettings, ClipsPageSettings, Config
from nano4m_audio.paths import Results
from nano4m_audio.report import experiments
from nano4m_audio.report.stage import build_report
from nano4m_audio.shards import set_shards
from tests.browser.test_maps import write_scores
from tests.report.axe import SCHEMES, WIDTHS, findings
from tests.report.fake import (
    HOSTILE,
    Fate,
    default_fates,
    write_generated,
    write_quality,
    write_results,
    write_truth,
)
from tests.report.test_experiments import CONFIG, write_run


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A folder with report.html, clips.html and experiments.html."""
    root = tmp_path_factory.mktemp("axe")
    fates = [*default_fates(("pig", "cow"), 3), Fate("pig", "speech", name=HOSTILE * 3)]
    inputs = write_results(root, fates, heavy=True)
    set_shards(inputs.results, 2)
    truth = write_truth(root / "truth.csv", [("media/clip0000.mp4", "x", "reject", "")])
    inputs = dataclasses.replace(inputs, truth_csv=truth)
    write_quality(inputs.results, "rgb", "mini", 25.5, examples=2)
    write_generated(inputs.results, [("clip0000", "pig"), ("clip0001", HOSTILE)])
    found = Results(inputs.results)
    for shard in found.shards:
        show_shard(found, shard, ClipMediaSettings(truth=str(truth)))
    write_scores(found, [clip.clip_id for clip in inputs.clips])
    build_page(found, ClipsPageSettings(truth=str(truth)))
    build_report(inputs, found.report, with_examples=False)
    several = Results(root / "several")
    config = parse(Config, CONFIG, "test")
    for name in config.experiments:
        write_run(several, config, name, 0.1 if "0p002" in name else 0.0)
    experiments.build_page(several, config)
    several.experiments.rename(found.experiments)
    return found.root


@pytest.mark.slow
@pytest.mark.parametrize("name", ["report.html", "clips.html", "experiments.html"])
def test_axe_finds_nothing(browser, results, name):
    looks = findings(browser, results / name)
    assert len(looks) == len(WIDTHS) * len(SCHEMES)
    for look in looks:
        assert look["passed"] > 20 and look["worst"] == [], look


@pytest.mark.slow
def test_axe_finds_what_is_wrong(browser, results):
    text = (results / "experiments.html").read_text()
    poor = '<p style="color:#ccc;background:#fff">pale</p><img src="data:,">'
    (results / "poor.html").write_text(text.replace("<main>", f"<main>{poor}", 1))
    for look in findings(browser, results / "poor.html"):
        assert {"color-contrast", "image-alt"} <= {rule for _, rule, *_ in look["worst"]}
