"""Snakemake itself: nothing twice, nothing lost, and only what changed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from nano4m_audio.modalities import LABELS
from nano4m_audio.tables import read_rows
from tests.workflow.conftest import LOOSER, TINY, Project

pytestmark = pytest.mark.slow

NO_TORCH = "raise ImportError('a job with nothing to compute must not load a model')\n"


def rows(project: Project, name: str) -> list[dict]:
    return [
        row
        for path in sorted((project.results / name).glob("*.parquet"))
        for row in read_rows(path, name)
    ]


def test_every_candidate_is_accounted_for(finished):
    candidates = {row["clip_id"] for row in rows(finished, "candidates")}
    verdicts = rows(finished, "verdicts")
    assert len(candidates) == TINY["barnyard"]["clips"]
    assert {row["clip_id"] for row in verdicts} == candidates
    assert len(verdicts) == len(candidates)
    assert all(row["accepted"] != bool(row["reasons"]) for row in verdicts)
    split = read_rows(finished.results / "split.parquet", "split")
    accepted = {row["clip_id"] for row in verdicts if row["accepted"]}
    assert {row["clip_id"] for row in split} == accepted
    selected = {row["clip_id"] for row in rows(finished, "selected")}
    assert selected == {row["clip_id"] for row in split if not row["duplicate_of"]}
    for modality in ("rgb", "audio", "depth", "normals", "caption"):
        tokens = rows(finished, f"tokens/{modality}")
        assert {row["clip_id"] for row in tokens} == selected
        assert Counter(row["status"] for row in tokens) == {"ok": len(selected)}


def test_no_group_is_in_two_splits(finished):
    split = read_rows(finished.results / "split.parquet", "split")
    pairs = {(row["group"], row["split"]) for row in split if row["split"]}
    assert len({group for group, _ in pairs}) == len(pairs)


def test_a_second_call_has_nothing_to_do(finished):
    assert "Nothing to be done" in finished.run()


def test_cores_change_no_training(finished):
    """Weights depend on the number of threads, so the commands must not depend on --cores."""
    targets = "results/runs/base/run.json", "results/tokenizers/rgb/run.json"
    threads = "--config", "experiments.base.numerics.threads=2"
    plans = [
        finished.run("-n", "-p", "--forceall", *targets, *threads, "--cores", n) for n in ("1", "3")
    ]
    commands = [
        [line for line in plan.splitlines() if "nano4m-audio train " in line or "er train " in line]
        for plan in plans
    ]
    assert commands[0] == commands[1] and len(commands[0]) == 2


def test_another_device_concerns_the_report_alone(finished):
    output = finished.run("-n", "--config", "compute={device: cpu, dtype: bfloat16}")
    jobs = output.split("Job stats:")[1].split("total")[0]
    assert jobs.split()[4:] == ["report", "1", "all", "1"]


def test_a_threshold_that_changes_no_verdict_loads_no_model(copy_of_finished, tmp_path):
    project = copy_of_finished
    before = project.artifacts()
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "torch.py").write_text(NO_TORCH)
    project.write_overlay({**TINY, "verdict": {"visual_min": 0.399}})
    output = project.run(PYTHONPATH=str(trap))
    assert "rule verdict" in output
    assert project.artifacts() == before
    for name in LABELS:
        assert project.computed("label", f"labels/{name}") == 0
    for name in ("rgb", "audio", "depth"):
        assert project.computed_of(name) == 0


def test_a_looser_threshold_computes_exactly_the_new_clips(finished, looser):
    before, after = (
        {row["clip_id"] for row in rows(project, "selected")} for project in (finished, looser)
    )
    assert before < after
    assert looser.computed("label", "labels/depth") == len(after - before)
    assert looser.computed("label", "labels/normals") == 0, "the pass for depth has made them, too"
    for name in ("rgb", "depth", "normals", "audio"):
        assert looser.computed_of(name) == len(after - before), name
    assert looser.computed("decode") <= TINY["barnyard"]["clips"]


def test_a_grid_trains_and_is_compared_in_the_report(copy_of_finished):
    project = copy_of_finished
    project.write_overlay(
        {**TINY, "grids": {"demo": {"vary": {"model.dim": [32, 64], "data.train_clips": [5, 10]}}}}
    )
    project.run()
    for dim in (32, 64):
        for clips in (5, 10):
            folder = project.results / "runs" / f"demo_train_clips_{clips}_dim_{dim}"
            facts = json.loads((folder / "run.json").read_text())
            assert facts["clips"]["train"] == clips
            assert facts["settings"]["model"]["dim"] == dim
            assert (folder / "run_start.json").is_file()
            assert list((folder / "tensorboard").glob("events.*"))
    page = (project.results / "report.html").read_text()
    assert "Study: demo" in page and "4 of 4 runs" in page
    assert "Validation loss over training clips, 4 runs" in page


def processes_of(session: int) -> list[int]:
    """What still runs of a session."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            state = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[0]
            if os.getsid(int(name)) == session and state != "Z":
                found.append(int(name))
    return found


def run_and_kill(project: Project, after_s: float, *targets: str) -> None:
    """Start a run of real processes and kill them all at once, as a dying node does."""
    process = subprocess.Popen(
        project.command(*targets),
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(after_s)
    while alive := processes_of(process.pid):  # one may have started another meanwhile
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait()


def test_killed_runs_continue_to_the_same_bytes(looser, tmp_path):
    """And a run from nothing gives what a changed threshold makes of a finished run."""
    project = Project.make(tmp_path / "project", LOOSER)
    wanted = looser.artifacts()
    for after_s in (5, 9, 14):
        run_and_kill(project, after_s, *(f"results/{name}" for name in wanted))
        project.run("--unlock")
    project.run(*(f"results/{name}" for name in wanted))
    assert project.artifacts() == wanted


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"verdict": {"audio_mn": 1}}, "verdict.audio_mn: unknown key, did you mean 'audio_min'?"),
        ({"n_shards": 0}, "n_shards = 0: Input should be greater than or equal to 1"),
    ],
)
def test_a_bad_config_is_one_line(tmp_path, overlay, message):
    project = Project.make(tmp_path / "project", overlay)
    output = project.run("-n", check=False)
    assert message in output
    assert "Traceback" not in output


def test_missing_weights_stop_a_run_before_its_first_job(tmp_path):
    project = Project.make(tmp_path / "project", {"score": {"audio": {"backend": "yamnet"}}})
    cache = str(tmp_path / "cache")
    output = project.run(check=False, NANO4M_AUDIO_CACHE=cache)
    assert "weights are missing: yamnet (score.audio)" in output
    assert "nano4m-audio weights fetch yamnet" in output
    assert f"{cache}/weights/yamnet/yamnet.tflite (4.0 MB)" in output
    assert "Traceback" not in output and not project.results.exists()
    assert "score_audio" in project.run("-n", NANO4M_AUDIO_CACHE=cache)  # a plan needs none
    needs_none = ("results/barnyard/clips.csv", "--config", "barnyard={clips: 11}")
    project.run(*needs_none, NANO4M_AUDIO_CACHE=cache)


def test_a_missing_folder_is_one_line(tmp_path):
    project = Project.make(
        tmp_path / "project", {"source": "folder", "folder": {"root": "nowhere"}}
    )
    output = project.run("-n", check=False)
    assert "'nowhere' is not a folder" in output
    assert "Traceback" not in output
