"""Snakemake's own report of the workflow: ours are in it, with captions, categories and labels."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def test_snakemakes_report_holds_ours_without_a_network(finished, tmp_path):
    """The proxy leads nowhere: what it would load from elsewhere stops it."""
    out = tmp_path / "workflow.html"
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    finished.run("results/report.html", "--report", str(out), **nowhere)
    page = out.read_text("utf-8")
    assert "report of dataset and training" in page and "proof of the tables" in page
    assert "Dataset" in page and "All pictures and sounds are synthetic." in page
    assert "many rows each claim was checked" in page
    assert len(page) > (finished.results / "report.html").stat().st_size  # it holds the page itself
