"""A real browser opens the page: no error, no request, no sideways scrolling on a phone."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess

import pytest

from nano4m_audio.report.build import build_report
from nano4m_audio.taxonomy import class_names
from tests.report.fake import HOSTILE, Fate, default_fates, write_results, write_truth

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
# The page itself forbids scripts, so the probe frames it and measures from outside.
PROBE = """<!doctype html><body style="margin:0"><iframe id="f" src="report.html"
 style="border:0;width:WIDTHpx;height:900px"></iframe><pre id="out"></pre><script>
const frame = document.getElementById("f");
frame.onload = () => {
  const page = frame.contentDocument, width = frame.clientWidth;
  const clipped = (e) => e.closest(".scroll, pre, .skip, svg");
  const wide = [...page.body.querySelectorAll("*")].filter(
    (e) => !clipped(e) && e.getBoundingClientRect().right > width + 1);
  document.getElementById("out").textContent = JSON.stringify({
    scroll: page.documentElement.scrollWidth, width,
    wide: wide.map((e) => e.tagName + "." + e.className).slice(0, 5),
    scripts: page.scripts.length, sections: page.querySelectorAll("section").length,
    small: [...page.querySelectorAll("svg text")].filter(
      (e) => e.getBoundingClientRect().height < 9).length});
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
    build_report(inputs, folder / "report.html", with_examples=False)
    return folder


def open_page(folder, url: str) -> tuple[str, str]:
    """Dump of the loaded document, and what the browser logged, with the network cut off."""
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--allow-file-access-from-files",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={folder / 'profile'}",
        "--enable-logging=stderr",
        "--virtual-time-budget=4000",
        "--window-size=1500,1000",
        "--dump-dom",
    ]
    done = subprocess.run([BROWSER, *options, url], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_fits_its_window(page, width):
    if BROWSER is None:
        pytest.skip("no chromium on this machine")
    (page / "probe.html").write_text(PROBE.replace("WIDTH", str(width)))
    dom, log = open_page(page, (page / "probe.html").as_uri())
    found = json.loads(dom.split('<pre id="out">')[1].split("</pre>")[0].replace("&amp;", "&"))
    assert found["width"] == width
    assert found["scroll"] <= width and found["wide"] == [], found
    assert found["scripts"] == 0 and found["sections"] == 7 and found["small"] == 0
    assert "CONSOLE" not in log, log


@pytest.mark.slow
def test_the_browser_has_nothing_to_complain_about(page):
    if BROWSER is None:
        pytest.skip("no chromium on this machine")
    _, log = open_page(page, (page / "report.html").as_uri())
    assert "CONSOLE" not in log and "Refused" not in log and "ERR_" not in log, log
