"""What may happen to a run as a whole: its main process alone dies, another one starts beside it,
it is asked to end, the clock is set back, its config is changed meanwhile, its folder moves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz.damage import FULL
from tests.workflow.conftest import TINY, Project

pytestmark = pytest.mark.slow

full = pytest.mark.skipif(not FULL, reason="a part of `make chaos`")
SPLIT = "results/split.parquet"
LOOSER = {**TINY, "verdict": {"visual_min": None, "audio_min": None}}
#: Stands before the command on the PATH: verdicts begin, say so, and go on when they are let go.
SHIM = """#!/bin/sh
case "$*" in "verdict "*)
  touch "{folder}/begun"
  n=0; while [ ! -e "{folder}/go" ] && [ $n -lt 600 ]; do sleep 0.2; n=$((n+1)); done;;
esac
exec "{command}" "$@"
"""


class Halted:
    """A run that waits in the middle: its verdicts have begun, and end when it is let go."""

    def __init__(self, project: Project, folder: Path, *arguments: str) -> None:
        self.folder = folder
        folder.mkdir()
        shim, command = folder / "nano4m-audio", Path(sys.executable).with_name("nano4m-audio")
        shim.write_text(SHIM.format(folder=folder, command=command))
        shim.chmod(0o755)
        tools = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.log = folder / "log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                project.command(*arguments), cwd=project.folder, stdout=log, stderr=log,
                env=project.environment(PATH=tools), start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + 200
        while not (folder / "begun").exists():
            assert self.process.poll() is None and time.monotonic() < until, self.log.read_text()
            time.sleep(0.1)

    def go(self) -> None:
        (self.folder / "go").touch()

    def end(self) -> str:
        """Let it go, and wait for its end."""
        self.go()
        self.process.wait(300)
        return self.log.read_text()


def _split(project: Project) -> bytes:
    return (project.folder / SPLIT).read_bytes()


@pytest.fixture(scope="module")
def looser(finished, tmp_path_factory) -> bytes:
    """The split of the looser thresholds, from a run that nothing happened to."""
    target = tmp_path_factory.mktemp("looser") / "project"
    subprocess.run(["cp", "-a", str(finished.folder), str(target)], check=True)
    project = Project(target)
    project.write_overlay(LOOSER)
    project.run(SPLIT)
    assert _split(project) != _split(finished)
    return _split(project)


def test_a_second_run_stops_and_one_goes_on_after_the_first_lost_its_main_process(
    copy_of_finished, looser, tmp_path
):
    """The jobs of the first one are still at work when the next one begins."""
    project = copy_of_finished
    project.write_overlay(LOOSER)
    first = Halted(project, tmp_path / "shim", SPLIT)
    second = project.run(SPLIT, check=False)
    assert "cannot be locked" in second and "Traceback" not in second
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(60)
    project.run("--unlock")
    first.go()
    project.run(SPLIT)
    assert _split(project) == looser


@full
def test_a_run_that_is_told_to_end_leaves_no_lock(copy_of_finished, looser, tmp_path):
    project = copy_of_finished
    project.write_overlay(LOOSER)
    run = Halted(project, tmp_path / "shim", SPLIT)
    run.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    said = run.end()
    assert "Traceback" not in said
    project.run(SPLIT)
    assert _split(project) == looser


@full
@pytest.mark.parametrize("shift_s", [-400 * 86_400, 400 * 86_400])
def test_a_clock_that_was_set_changes_no_result(copy_of_finished, looser, shift_s):
    """All files are from the future, or from long ago, of the clock that goes on."""
    project = copy_of_finished
    for path in (project.folder, *project.folder.rglob("*")):
        if not path.is_symlink():
            at = path.stat().st_mtime + shift_s
            os.utime(path, (at, at))
    project.write_overlay(LOOSER)
    project.run(SPLIT)
    assert _split(project) == looser
    project.run(SPLIT)
    assert _split(project) == looser


@full
def test_a_config_that_is_changed_meanwhile_is_for_the_next_run(copy_of_finished, looser, tmp_path):
    project = copy_of_finished
    before = _split(project)
    halted = Halted(project, tmp_path / "shim", SPLIT, "--forcerun", "verdict")
    project.write_overlay(LOOSER)
    said = halted.end()
    assert "Traceback" not in said
    assert not (project.folder / SPLIT).exists() or _split(project) in (before, looser)
    if halted.process.returncode == 0:
        assert _split(project) == before
    project.run(SPLIT)
    assert _split(project) == looser


@full
def test_a_folder_that_moved_has_nothing_to_do(copy_of_finished, tmp_path):
    moved = tmp_path / "else where" / "moved"
    moved.parent.mkdir()
    shutil.move(copy_of_finished.folder, moved)
    assert "Nothing to be done" in Project(moved).run()


@full
@pytest.mark.parametrize("damage", ["deleted", "cut", "flipped"])
def test_a_store_and_tables_that_are_damaged_end_in_the_same_bytes(copy_of_finished, damage):
    """Half of all parts of the store, and a table that was made from them."""
    project = copy_of_finished
    before = project.artifacts()
    parts = sorted((project.results / "store").rglob("*.parquet"))[::2]
    tables = [project.results / "tokens/rgb/0000.parquet", project.results / "clips/0001.parquet"]
    for path in (*parts, *tables):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 16
        if damage == "deleted":
            path.unlink()
        else:
            path.write_bytes(data[: len(data) // 2] if damage == "cut" else data)
    for _ in range(4):  # a job that meets damage names it, and the next run computes it again
        said = project.run(check=False)
        assert "Traceback" not in said
        if re.search("of \\d+ jobs\\)|Nothing to be done", said) and "rror" not in said:
            break
    assert project.artifacts() == before
