"""``status`` during a run, after a kill and after a failure; a job on a node with another store."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nano4m_audio.paths import Results
from nano4m_audio.upkeep.status import look
from nano4m_audio.upkeep.status_lines import as_json
from tests.acquire.conftest import _film as film
from tests.workflow.conftest import Project

pytestmark = pytest.mark.slow

TARGETS = ("results/media/0000.parquet", "results/media/0001.parquet")
#: In place of ``nano4m-audio``: the job of one shard waits, or is on a node where the results are
#: copied and the store is a folder of its own.
INSTEAD = """#!/bin/sh
case "$FAULT $*" in
  "waits media --shard=0001"*) exec {python} -c '
import sys; from nano4m_audio.shared_store import begin_job; begin_job(["media"])
sys.stdin = open("go"); sys.stdin.read()' ;;
  "elsewhere media --shard=0001"*)
    mkdir -p ../node && cp -r . ../node/project && rm -r ../node/project/results/store
    cd ../node/project ;;
esac
exec {python} -m nano4m_audio.cli "$@"
"""


def status(project: Project) -> dict[str, Any]:
    now = look(Results(project.results))
    return as_json(now, now.stages)


def jobs(project: Project) -> dict[str, dict[str, Any]]:
    return {f"{job['stage']} {job['part']}".strip(): job for job in status(project)["jobs"]}


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not what():
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    clips = tmp_path / "clips"
    clips.mkdir()
    sound = np.random.default_rng(0).normal(0, 0.1, (1, 64_000)).astype(np.float32)
    for name in "abcd":
        film(clips / f"{name}.mp4", sound=sound)
    (clips / "clips.csv").write_text("file,class\n" + "".join(f"{n}.mp4,dog\n" for n in "abcd"))
    overlay = {"source": "folder", "folder": {"root": str(clips)}, "n_shards": 2}
    project = Project.make(tmp_path / "project", overlay)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nano4m-audio").write_text(INSTEAD.format(python=sys.executable))
    (tmp_path / "bin/nano4m-audio").chmod(0o755)
    return project


def test_status_of_a_run_that_is_killed_fails_elsewhere_and_is_done(project: Project) -> None:
    path = f"{project.folder.parent / 'bin'}:{project.environment()['PATH']}"
    os.mkfifo(project.folder / "go")
    run = subprocess.Popen(
        project.command(*TARGETS), cwd=project.folder, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env=project.environment(PATH=path, FAULT="waits"),
    )  # fmt: skip
    log = project.results / "logs/media/0001.log"
    wait_for(lambda: log.exists() and log.read_text().startswith("started on "))
    wait_for(lambda: jobs(project)["media 0000"]["state"] == "done")
    now = jobs(project)
    waiting = now["media 0001"]
    assert status(project)["run"]["state"] == "at work"
    assert (waiting["state"], waiting["host"]) == ("running", socket.gethostname())
    assert waiting["left_s"] is not None and now["media 0000"]["took_s"] > 0

    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert status(project)["run"]["state"] == "killed"
    assert jobs(project)["media 0001"]["state"] == "running"  # it has outlived the run
    (project.folder / "go").write_text("")
    wait_for(lambda: jobs(project)["media 0001"]["state"] != "running")
    assert jobs(project)["media 0001"]["state"] == "unfinished"

    project.run("--unlock")
    said = project.run(*TARGETS, check=False, PATH=path, FAULT="elsewhere")
    assert f"error: {socket.gethostname()} sees another" in said and "all nodes share" in said
    assert "Traceback" not in said
    now = jobs(project)
    assert (now["media 0001"]["state"], now["media 0001"]["failures"]) == ("failed", 1)
    assert "sees another" in now["media 0001"]["error"]
    assert now["media 0000"]["state"] == "done" and status(project)["run"]["state"] == "ended"

    said = project.run(*TARGETS)
    assert "(1 of 1 jobs)" in said  # another run has another name, and nothing else to do again
    assert {job["state"] for job in jobs(project).values()} == {"done"}
    assert len((project.results / "store/.runs").read_text().split()) == 3

    # What an executor starts on a node: it takes the name of the run from its environment.
    before = (project.results / "logs/run.jsonl").read_bytes()
    node = ["--mode", "remote", "--no-hooks", "--nolock", "--force", "--allowed-rules", "media"]
    node += ["--target-jobs", "media:shard=0001", "--target-files-omit-workdir-adjustment"]
    project.run(*node, check=False, NANO4M_AUDIO_RUN="of another store")
    assert "sees another" in log.read_text()
    assert (project.results / "logs/run.jsonl").read_bytes() == before
