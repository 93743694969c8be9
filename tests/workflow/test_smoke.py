"""``make smoke``: every stage on a handful of clips, away from the results of the checkout."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.workflow.conftest import Project
from tests.workflow.test_documented import make_checkout


@pytest.mark.slow
def test_make_smoke_writes_a_report_in_a_folder_of_its_own(tmp_path: Path) -> None:
    project = Project.make(tmp_path / "project", {})
    make_checkout(project)
    (project.results).mkdir()
    done = subprocess.run(
        ["make", "smoke", "CORES=2"],
        cwd=project.folder, env=project.environment(), timeout=900,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert (project.folder / "smoke/results/report.html").stat().st_size > 100_000
    assert not os.listdir(project.results)
