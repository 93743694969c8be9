"""A real browser opens the page: no error, no request, no sideways scrolling on a phone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from nano4m_audio.report.stage import build_report
from nano4m_audio.taxonomy import class_names
from tests.chromium import opened, read_out
from tests.report.fake import (
    HOSTILE,
    Fate,
    default_fates,
    write_generated,
    write_quality,
    write_results,
    write_truth,
)

# The page allows no script but its own, so the probe frames it and measures from outside.
WIDTHS = [*range(320, 1601, 32), 390, 1040, 1100, 1101]
#: A4 and Letter between their margins.
PAPER_WIDTHS = [703, 725]
PROBE = """<!doctype html><body style="margin:0"><iframe id="f" src="report.html"
 style="border:0;height:900px"></iframe><pre id="out"></pre><script>
const frame = document.getElementById("f");
const lettersOf = (e) => parseFloat(getComputedStyle(e).fontSize);
const ownText = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
function look(page, width) {
  frame.style.width = width + "px";
  const clipped = (e) => e.closest(".scroll, pre, .skip, svg");
  const all = [...page.body.querySelectorAll("*")];
  const wide = all.filter((e) => !clipped(e) && e.getBoundingClientRect().right > width + 1);
  const drawn = [...page.querySelectorAll("svg text")].map((e) => {
    const svg = e.ownerSVGElement;
    return lettersOf(e) * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  });
  const written = all.filter((e) => !e.closest("svg") && ownText(e)).map(lettersOf);
  const rows = [...page.querySelectorAll(".tiles div")].map(
    (row) => new Set([...row.children].map((e) => Math.round(e.getBoundingClientRect().top))).size);
  return {
    width, scroll: page.documentElement.scrollWidth,
    cut: [...page.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth + 1).map(
      (e) => e.getAttribute("aria-label")),
    wide: wide.map((e) => e.tagName + "." + e.className).slice(0, 5),
    least: Math.min(...drawn, ...written), most: Math.max(...drawn), rows: Math.max(...rows)};
}
frame.onload = () => {
  const page = frame.contentDocument;
  const regions = [...page.querySelectorAll(".scroll")];
  const result = {
    looks: WIDTHS.map((width) => look(page, width)),
    scripts: [...page.scripts].filter((e) => e.type !== "application/json").length,
    sections: page.querySelectorAll("section").length,
    regions: regions.length, tables: page.querySelectorAll(".scroll table").length,
    reachable: regions.filter((e) => e.tabIndex === 0 && e.role === "region").length,
    names: regions.map((e) => e.getAttribute("aria-label"))};
  document.getElementById("out").textContent = JSON.stringify(result);
};
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    fates = [*default_fates(class_names(), 9), Fate("pig", "speech", name=HOSTILE * 3)]
    inputs = write_results(folder, fates)
    rows = [
        ("media/clip0000.mp4", "good", "keep", ""),
        ("media/clip0001.mp4", "x" * 80, "reject", ""),
    ]
    inputs = dataclasses.replace(inputs, truth_csv=write_truth(folder / "truth.csv", rows))
    write_quality(inputs.results, "rgb", "mini", 25.5, examples=4)
    write_generated(inputs.results, [(HOSTILE * 3, "pig"), ("clip0008", "x" * 80)])
    build_report(inputs, folder / "report.html", with_examples=False)
    return folder


def measure(browser: str, folder: Path, name: str, widths: list[int]) -> dict:
    """What a page measures at every width, and what the browser logged."""
    probe = PROBE.replace("WIDTHS", json.dumps(widths)).replace("report.html", name)
    (folder / "probe.html").write_text(probe)
    seen, log = read_out(browser, folder / "probe.html")
    return {**seen, "log": log}


@pytest.fixture(scope="module")
def measured(browser, page):
    return measure(browser, page, "report.html", WIDTHS)


@pytest.mark.slow
def test_the_page_fits_every_window(measured):
    assert [look["width"] for look in measured["looks"]] == WIDTHS
    for look in measured["looks"]:
        assert look["scroll"] <= look["width"] and look["wide"] == [], look
        assert look["rows"] == 1, look  # a strip of pictures never wraps under its label
    assert measured["scripts"] == 1 and measured["sections"] == 10
    assert measured["log"] == []


@pytest.mark.slow
def test_letters_are_legible_and_no_poster_at_every_width(measured):
    for look in measured["looks"]:
        assert look["least"] >= 11, look
        assert look["most"] <= 15, look


@pytest.mark.slow
def test_tables_can_be_scrolled_without_a_mouse_and_have_names(measured):
    assert measured["regions"] == measured["tables"] == measured["reachable"] > 8
    assert all(measured["names"]) and len(set(measured["names"])) == measured["regions"]


@pytest.mark.slow
def test_on_paper_no_table_is_cut_off_and_bars_are_kept(browser, page):
    text = (page / "report.html").read_text()
    assert "print-color-adjust: exact" in text.split("@media print")[1]
    (page / "paper.html").write_text(text.replace("@media print", "@media all"))
    for look in measure(browser, page, "paper.html", PAPER_WIDTHS)["looks"]:
        assert look["cut"] == [] and look["wide"] == [], look


@pytest.mark.slow
def test_the_browser_has_nothing_to_complain_about(browser, page):
    with opened(browser, page / "report.html") as (_, log):
        assert log == []
