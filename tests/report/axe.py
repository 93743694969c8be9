"""axe-core in a real browser: what it finds on a page, at every width, light and dark."""

from __future__ import annotations

from pathlib import Path

from axe_playwright_python.sync_playwright import Axe

from tests.chromium import opened

WIDTHS = (390, 1400)
SCHEMES = ("light", "dark")


def findings(browser: str, file: Path) -> list[dict]:
    """What axe says of a page in both schemes and at every width; ``file`` may end in a hash.

    Every part that can be opened is open. The pages allow no script but their own: axe gets by."""
    looks = []
    for scheme in SCHEMES:
        with opened(browser, file, color_scheme=scheme, bypass_csp=True) as (page, _):
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                page.evaluate("document.querySelectorAll('details').forEach((e) => e.open = true)")
                page.evaluate("wait(300)")
                found = Axe().run(page, options={"resultTypes": ["violations"]}).response
                worst = []
                for one in found["violations"]:
                    where = [f"{n['target']} {n['failureSummary']}" for n in one["nodes"][:6]]
                    worst.append((one["impact"], one["id"], where))
                passed = len(found["passes"])
                looks.append({"scheme": scheme, "width": width, "passed": passed, "worst": worst})
    return looks
