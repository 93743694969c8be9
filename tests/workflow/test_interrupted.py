"""A job that fails over a finished tree: nothing that follows from its output is trusted after."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import TINY, Project

pytestmark = pytest.mark.slow

STRICTER = {**TINY, "verdict": {"visual_min": 0.99}}
#: Stands before the command on the PATH, and dies as at the hands of the out-of-memory killer.
SHIM = """#!/bin/sh
[ "$1 $2" = "$KILLED" ] || [ "$1" = "$KILLED" ] && kill -9 $$
exec {command} "$@"
"""
#: Command -> what asks for it, besides the stricter threshold.
STAGES = {
    "barnyard": "barnyard", "candidates": "candidates", "media": "media", "decode": "decode",
    "score audio": "score_audio", "score prints": "score_prints", "verdict": None, "split": None,
    "label depth": None, "tokenize rgb": None, "train": None, "evaluate classes": None,
    "tokenizer": None, "report": None,
}  # fmt: skip


def run_and_kill(project: Project, stage: str, folder: Path, *arguments: str) -> None:
    """Run with a worker of ``stage`` that is killed at its start."""
    folder.mkdir(exist_ok=True)
    shim = folder / "nano4m-audio"
    shim.write_text(SHIM.format(command=Path(sys.executable).with_name("nano4m-audio")))
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    tools = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    output = project.run(*arguments, check=False, PATH=tools, KILLED=stage)
    assert "Error in rule" in output, output[-3000:]


@pytest.fixture(scope="module")
def stricter(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """What a run from nothing makes of the stricter threshold."""
    project = Project.make(tmp_path_factory.mktemp("stricter") / "project", STRICTER)
    project.run()
    assert project.artifacts() != finished.artifacts()
    return project


def results_of(project: Project) -> dict[str, bytes]:
    """All published tables, weights and measurements."""
    names = ("*.parquet", "*.safetensors", "classes.json", "run.json")
    folders = ("media", "clips", "scores", "labels", "runs", "evaluation")
    paths = [p for f in folders for n in names for p in (project.results / f).rglob(n)]
    found = {str(p.relative_to(project.results)): p.read_bytes() for p in paths}
    return {**project.artifacts(), **found}


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_worker_leaves_nothing_outdated(copy_of_finished, stricter, tmp_path, stage):
    project = copy_of_finished
    project.write_overlay(STRICTER)
    forced = ["--forcerun", STAGES[stage]] if STAGES[stage] else []
    run_and_kill(project, stage, tmp_path / "shim", "results/report.html", *forced)
    asked = ["split.parquet", "tokens/rgb/0000.parquet", "evaluation/base/classes.json"]
    project.run(*(f"results/{name}" for name in asked))
    wanted, got = results_of(stricter), results_of(project)
    assert {name: got[name] for name in asked} == {name: wanted[name] for name in asked}
    project.run()
    assert results_of(project) == wanted


def test_an_exchanged_table_is_made_again(copy_of_finished):
    """Even when it is older than all that was made from it, and the report is asked for alone."""
    project = copy_of_finished
    before = results_of(project)
    table = project.results / "verdicts/0000.parquet"
    other = (project.results / "verdicts/0001.parquet").read_bytes()
    table.write_bytes(other)
    os.utime(table, (1, 1))
    output = project.run("-n", "results/split.parquet")
    assert "rule verdict" in output
    project.run()
    assert results_of(project) == before
    assert "Nothing to be done" in project.run()
