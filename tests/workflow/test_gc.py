"""A clean-up after changed thresholds: what is there stays, and a run after it computes nothing."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from nano4m_audio.modalities import LABELS
from tests.workflow.conftest import LOOSER, TINY, Project
from tests.workflow.warm import programs

pytestmark = pytest.mark.slow

SHARDS = ("0000", "0001")
NO_TORCH = "raise ImportError('a job with nothing to compute must not load a model')\n"


def gc(project: Project, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        ["nano4m-audio", "gc", *arguments],
        cwd=project.folder, env=project.environment(programs()), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_after_a_clean_up_there_is_nothing_to_do_and_nothing_to_compute(copy_of_finished, tmp_path):
    project = copy_of_finished
    before = project.artifacts()
    assert "nothing to remove" in gc(project, "--delete")[1]

    project.write_overlay(LOOSER)
    modalities = ("rgb", "audio", "depth", "normals", "caption")
    tokens = [f"results/tokens/{name}/{shard}.parquet" for name in modalities for shard in SHARDS]
    run = subprocess.Popen(
        project.command(*tokens), cwd=project.folder, env=project.environment(programs()),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    refused = set()
    while run.poll() is None:
        status, output = gc(project, "--delete")
        if status:
            refused.add(output)
        time.sleep(2)
    assert run.returncode == 0
    assert refused and all("error: " in text and text.count("\n") == 1 for text in refused)
    assert any("a run is at work" in text or "in use by a run" in text for text in refused)

    project.write_overlay(TINY)
    project.run()
    assert project.artifacts() == before
    _, planned = gc(project)
    kinds = {line.partition(": ")[0] for line in planned.splitlines() if ", about " in line}
    assert {"labels/depth", "labels/normals", "tokens/rgb", "tokens/audio"} <= kinds
    assert not {"clips", "scores/audio", "train", "evaluate", "generated", "examples"} & kinds
    assert gc(project, "--delete")[0] == 0
    assert "Nothing to be done" in project.run()
    assert project.artifacts() == before

    # Not only Snakemake is content: every table can be written again without a model.
    for name in ("clips", "scores", "verdicts", "labels", "tokens"):
        shutil.rmtree(project.results / name)
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "torch.py").write_text(NO_TORCH)
    project.run(PYTHONPATH=str(trap))
    assert project.artifacts() == before
    assert project.computed("decode") == project.computed("score_audio") == 0
    assert [project.computed("label", f"labels/{name}") for name in LABELS] == [0, 0]
    assert [project.computed_of(name) for name in ("rgb", "audio", "depth")] == [0, 0, 0]
