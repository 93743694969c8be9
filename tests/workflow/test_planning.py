"""Rules name the last of the files that their jobs read; the others are made before them."""

from __future__ import annotations

import csv
import json
import os
import subprocess

import pytest

from tests.workflow.conftest import Project

pytestmark = pytest.mark.slow


def files_of_rules(project: Project) -> dict[str, tuple[str, set[str]]]:
    """Every output -> its job (by log) and the files that its rule names."""
    printed = subprocess.run(
        project.command("--detailed-summary", "--quiet", "all"),
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    rows = list(csv.DictReader(printed.splitlines(), delimiter="\t"))
    return {
        row["output_file"]: (row["log-file(s)"], set(row["input-file(s)"].split(",")) - {""})
        for row in rows
    }


def test_whatever_a_job_read_is_made_before_it(finished):
    known = files_of_rules(finished)
    named: dict[str, set[str]] = {}
    for job, inputs in known.values():
        named.setdefault(job, set()).update(inputs)

    def before(job: str) -> set[str]:
        direct = {known[path][0] for path in named[job] if path in known}
        return direct.union(*map(before, direct))

    checked = 0
    for record in finished.results.rglob(".made_from/*.json"):
        noted = json.loads(record.read_text())
        folder = record.parent.parent
        outputs = [os.path.relpath(folder / name, finished.folder) for name in noted["outputs"]]
        (job,) = {known[path][0] for path in outputs if path in known}
        for name in noted["inputs"]:
            path = os.path.relpath(folder / name, finished.folder)
            if path in known:
                assert known[path][0] in before(job), f"{job} reads {path}"
                checked += 1
    assert checked > 100


@pytest.mark.parametrize(
    "gone", ["clips/0001.parquet", "labels/depth/0000.parquet", "candidates/0000.parquet"]
)
def test_a_deleted_table_is_made_again_though_rules_name_later_ones(copy_of_finished, gone):
    project = copy_of_finished
    path = project.results / gone
    was = path.read_bytes()
    path.unlink()
    project.run()
    assert path.read_bytes() == was
    assert "Nothing to be done" in project.run()


def test_a_table_that_was_changed_by_hand_is_made_again(copy_of_finished):
    project = copy_of_finished
    was = project.artifacts()
    path = project.results / "media" / "0000.parquet"
    path.write_bytes((project.results / "media" / "0001.parquet").read_bytes())
    project.run()
    assert project.artifacts() == was
    assert "Nothing to be done" in project.run()
