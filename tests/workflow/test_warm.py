"""Programs that are started by a fork: what their caller sees is what a real start shows."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.workflow.warm import TOOLS, programs


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["nano4m-audio", "--version"],
        ["nano4m-audio", "verdcit"],
        ["nano4m-audio", "verdict", "--shard=0000", "--settings={"],
        ["snakemake", "--version"],
        ["snakemake", "-n"],
    ],
)
def test_a_program_says_the_same_and_ends_with_the_same_status(command, tmp_path):
    said = []
    for tools in (TOOLS, programs()):
        done = subprocess.run(
            [str(tools / command[0]), *command[1:]],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        said.append((done.returncode, done.stdout, done.stderr))
    assert said[0] == said[1] and said[0][1] + said[0][2]


def works_in(folder: Path) -> list[int]:
    """The processes that work in a folder."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if Path(os.readlink(f"/proc/{name}/cwd")) == folder:
                found.append(int(name))
        except OSError:  # it has ended
            continue
    return found


@pytest.mark.slow
def test_a_program_goes_with_its_caller_and_others_are_served_after(tmp_path):
    os.mkfifo(tmp_path / "config.yaml")  # whoever reads it waits for a writer
    caller = subprocess.Popen(
        [str(programs() / "nano4m-audio"), "config", "config.yaml"], cwd=tmp_path
    )
    while len(works_in(tmp_path)) < 2:
        assert caller.poll() is None
        time.sleep(0.05)
    caller.kill()
    caller.wait()
    until = time.monotonic() + 60
    while works_in(tmp_path):
        assert time.monotonic() < until
        time.sleep(0.05)
    done = subprocess.run([str(programs() / "nano4m-audio"), "--version"], capture_output=True)
    assert done.returncode == 0
