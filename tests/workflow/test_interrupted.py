"""A job that fails over a finished tree: nothing that follows from its output is trusted after."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.workflow.conftest import LOOSER, TINY, Project
from tests.workflow.warm import programs

pytestmark = pytest.mark.slow

#: Stands before the command on the PATH, and dies as at the hands of the out-of-memory killer.
SHIM = """#!/bin/sh
case "$*" in "$KILLED "*) touch "{mark}"; kill -9 $$;; esac
exec "{command}" "$@"
"""
SPLIT, TOKENS = "results/split.parquet", "results/tokens/rgb/0000.parquet"
PROBE, REPORT = "results/evaluation/base/classes.json", "results/report.html"
#: Command -> its rule, and what is asked for after it was killed.
STAGES = {
    "barnyard": ("barnyard", (SPLIT, REPORT)),
    "candidates": ("candidates", (SPLIT, REPORT)),
    "media": ("media", (SPLIT, REPORT)),
    "decode": ("decode", (SPLIT, REPORT)),
    "score fingerprints": ("score_fingerprints", (TOKENS, REPORT)),
    "score audio": ("score_audio", (TOKENS, REPORT)),
    "verdict": ("verdict", (SPLIT, TOKENS, PROBE, REPORT)),
    "split": ("split", (SPLIT, TOKENS, PROBE, REPORT)),
    "label": ("label", (PROBE, REPORT)),
    "tokenizer quality": ("tokenizer_quality", (REPORT,)),
    "tokenize rgb": ("tokenize_clips", (TOKENS, PROBE, REPORT)),
    "tokenize depth": ("tokenize_labels", (PROBE, REPORT)),
    "train": ("train", (PROBE, REPORT)),
    "evaluate": ("evaluate", (PROBE, REPORT)),
    "generations": ("generations", (REPORT,)),
    "browse media": ("clip_media", (REPORT,)),
    "browse page": ("clips_page", (REPORT,)),
    "report": ("report", (REPORT,)),
}


def run_and_kill(project: Project, stage: str, folder: Path, *arguments: str) -> None:
    """Run with every worker of ``stage`` killed at its start; what needs none of them goes on."""
    folder.mkdir(exist_ok=True)
    shim, mark = folder / "nano4m-audio", folder / f"killed {stage}"
    command = programs() / "nano4m-audio"
    shim.write_text(SHIM.format(mark=mark, command=command))
    shim.chmod(0o755)
    project.run(*arguments, check=False, tools=[folder], KILLED=stage)
    assert mark.exists()


def planned(project: Project, target: str) -> set[str]:
    """The rules that a run for ``target`` would run."""
    stats = project.run("-n", target).partition("Job stats:")[2]
    return set(re.findall(r"^(\w+) +\d+$", stats, re.MULTILINE)) - {"total"}


def results_of(project: Project) -> dict[str, bytes]:
    """All published tables, weights and measurements."""
    names = ("*.parquet", "*.safetensors", "classes.json", "run.json")
    folders = ("media", "clips", "scores", "labels", "runs", "evaluation")
    paths = [p for f in folders for n in names for p in (project.results / f).rglob(n)]
    found = {str(path.relative_to(project.results)): path.read_bytes() for path in paths}
    return {**project.artifacts(), **found}


def test_whatever_was_killed_nothing_outdated_is_trusted(looser, copy_of_finished, tmp_path):
    project, wanted = copy_of_finished, results_of(looser)
    before = results_of(project)
    made = [name.removeprefix("results/") for name in (SPLIT, TOKENS, PROBE)]
    other = {name for name in wanted if wanted[name] != before.get(name)}
    assert {"split.parquet", "runs/base/run.json", "evaluation/base/classes.json"} <= other
    project.write_overlay(LOOSER)
    for stage, (rule, targets) in STAGES.items():
        run_and_kill(project, stage, tmp_path / "shim", REPORT, "--forcerun", rule)
        for target in targets:
            assert rule in planned(project, target), (stage, target)
    project.run(SPLIT, TOKENS)
    project.run(PROBE)
    got = results_of(project)
    assert [name for name in made if got[name] != wanted[name]] == []
    project.run()
    assert results_of(project) == wanted
    assert not planned(project, REPORT)


def test_an_exchanged_table_is_made_again(copy_of_finished):
    """Even when it is older than all that was made from it, and a later file is asked for alone."""
    project = copy_of_finished
    before = results_of(project)
    table = project.results / "verdicts/0000.parquet"
    table.write_bytes((project.results / "verdicts/0001.parquet").read_bytes())
    os.utime(table, (1, 1))
    assert planned(project, SPLIT) == {"verdict", "split"}
    project.run(SPLIT)
    assert results_of(project) == before


def test_another_number_of_shards_computes_no_row(copy_of_finished):
    project = copy_of_finished
    split = (project.results / "split.parquet").read_bytes()
    for shards in (3, 1):
        project.write_overlay({**TINY, "n_shards": shards})
        project.run(SPLIT, *(f"results/tokens/rgb/{s:04d}.parquet" for s in range(shards)))
        assert (project.results / "split.parquet").read_bytes() == split
        for stage in (
            "decode",
            "score_audio",
            "score_visual",
            "score_fingerprints",
        ):
            assert project.computed(stage) == 0, stage
        assert project.computed_of("rgb") == 0
    assert [p.name for p in (project.results / "clips").glob("*.parquet")] == ["0000.parquet"]
