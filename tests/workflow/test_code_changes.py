"""A change of code computes exactly the rows that it makes."""

from __future__ import annotations

import shutil

import pytest

import nano4m_audio
from tests.workflow.conftest import TINY
from tests.workflow.test_workflow import rows

pytestmark = pytest.mark.slow

TOKENS = [
    f"results/tokens/{modality}/{shard:04d}.parquet"
    for modality in ("rgb", "audio", "depth", "normals", "caption")
    for shard in range(TINY["n_shards"])
]


def test_another_crop_computes_what_is_cropped_and_nothing_else(copy_of_finished, tmp_path):
    project, package = copy_of_finished, tmp_path / "src" / "nano4m_audio"
    shutil.copytree(nano4m_audio.__path__[0], package)
    source = str(package.parent)
    assert "Nothing to be done" in project.run("-n", PYTHONPATH=source)
    crop = package / "media" / "crop.py"
    text = crop.read_text()
    crop.write_text("# Other pixels.\n" + text)
    assert "Nothing to be done" in project.run("-n", PYTHONPATH=source)
    assert text.count("BICUBIC") == 1
    crop.write_text(text.replace("BICUBIC", "NEAREST"))
    clips = {row["key"] for row in rows(project, "clips") if row["status"] == "ok"}
    output = project.run(*TOKENS, PYTHONPATH=source)
    for rule in ("barnyard", "candidates", "media", "decode", "score_audio", "score_speech"):
        assert f"rule {rule}:" not in output, rule
    selected = len({row["clip_key"] for row in rows(project, "selected")})
    assert project.computed("score_visual") == len(clips)
    assert project.computed("label", "labels/depth") == selected
    assert project.computed_of("rgb") == project.computed_of("depth") == selected
    assert project.computed("label", "labels/normals") == 0, "the pass for depth has made them, too"
    before = {row["clip_id"] for row in rows(copy_of_finished, "tokens/audio")}
    assert project.computed_of("audio") <= len(before)
