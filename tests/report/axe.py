"""axe-core in a real browser: what it finds on a page, at every width, light and dark."""

from __future__ import annotations

import html
import importlib.metadata
import json
import re
from pathlib import Path

from tests.report.test_browser import open_page

WIDTHS = (390, 1400)
SCHEMES = ("light", "dark")
_DARK = "@media screen and (prefers-color-scheme: dark)"
_POLICY = "default-src 'none';"
#: The page allows no script but its own: copies allow axe, and are dark or light for everyone.
_PROBE = """<!doctype html><title>probe</title><body style="margin:0"><pre id="out"></pre><script>
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
async function look(name, width) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `border:0;height:900px;width:${width}px`;
  frame.src = name;
  const loaded = new Promise((done) => { frame.onload = done; });
  document.body.append(frame);
  await loaded;
  await wait(300);
  const page = frame.contentDocument;
  for (const more of page.querySelectorAll("details")) more.open = true;
  const found = await frame.contentWindow.axe.run(page, { resultTypes: ["violations"] });
  frame.remove();
  return { passed: found.passes.length, worst: found.violations.map((one) => [one.impact, one.id,
    one.nodes.length, one.nodes.slice(0, 6).map((n) => `${n.target} ${n.failureSummary}`)]) };
}
(async () => {
  const seen = [];
  for (const [name, width] of LOOKS) seen.push({ name, width, ...await look(name, width) });
  document.getElementById("out").textContent = JSON.stringify(seen);
})();
</script>"""


def axe_script() -> str:
    """axe-core, as the package that brings it has it."""
    (found,) = (
        file
        for file in importlib.metadata.files("axe-playwright-python") or ()
        if file.name == "axe.min.js"
    )
    return Path(str(found.locate())).read_text("utf-8")


def copies(page: Path) -> list[str]:
    """Write a light and a dark copy of a page, with axe in it, beside it; return their names."""
    (page.parent / "axe.js").write_text(axe_script(), "utf-8")
    text = page.read_text("utf-8")
    text = re.sub(r"script-src [^;]*; ?", "", text, count=1)
    assert _POLICY in text and _DARK in text
    text = text.replace(_POLICY, f"{_POLICY} script-src 'unsafe-inline' 'self' file:;", 1)
    text = text.replace("</head>", '<script src="axe.js"></script></head>', 1)
    names = []
    for scheme in SCHEMES:
        name = f"axe-{scheme}-{page.name}"
        media = "@media screen" if scheme == "dark" else "@media not all"
        copy = text.replace(_DARK, media).replace('content="light dark"', f'content="{scheme}"')
        (page.parent / name).write_text(copy, "utf-8")
        names.append(name)
    return names


def findings(browser: str, page: Path, place: str = "") -> list[dict]:
    """What axe says of a page at every width and in both schemes; ``place``: a hash to open."""
    looks = [(name + place, width) for name in copies(page) for width in WIDTHS]
    probe = page.parent / "axe-probe.html"
    probe.write_text(_PROBE.replace("LOOKS", json.dumps(looks)))
    dom, log = open_page(
        browser, page.parent, probe.as_uri(), patience="--virtual-time-budget=60000"
    )
    written = html.unescape(dom.split('<pre id="out">')[1].split("</pre>")[0])
    assert written, log
    return json.loads(written)
