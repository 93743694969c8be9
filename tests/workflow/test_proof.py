"""The proof within a workflow: what was tampered with is made again, or stops the run."""

from __future__ import annotations

import json
import subprocess

import pytest

from nano4m_audio.tables import read_rows, write_rows
from tests.report.fake import without_costs
from tests.workflow.conftest import TINY
from tests.workflow.warm import programs

pytestmark = pytest.mark.slow


def test_every_claim_was_checked_and_is_on_the_page(finished):
    claims = json.loads((finished.results / "proof.json").read_text())["claims"]
    checked = {claim["name"]: claim["checked"] for claim in claims}
    assert checked["counts"] == TINY["barnyard"]["clips"] and all(checked.values())
    page = (finished.results / "report.html").read_text("utf-8")
    assert all(claim["text"] in page for claim in claims)


def test_a_tampered_table_stops_the_proof_and_a_run_makes_it_again(copy_of_finished):
    project = copy_of_finished
    path = project.results / "verdicts/0000.parquet"
    before, page = path.read_bytes(), (project.results / "report.html").read_text("utf-8")
    rows = read_rows(path, "verdicts")
    victim = next(row for row in rows if row["reasons"] == ["speech"])
    victim |= {"accepted": True, "reasons": []}
    write_rows(path, "verdicts", rows)
    done = subprocess.run(
        [str(programs() / "nano4m-audio"), "proof"],
        cwd=project.folder, env=project.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and victim["clip_id"] in done.stderr.splitlines()[-1]
    project.run("results/proof.json")
    assert path.read_bytes() == before
    project.run()
    again = (project.results / "report.html").read_text("utf-8")
    assert without_costs(again) == without_costs(page)  # jobs took other times
