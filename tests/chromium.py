"""A real browser opens a page, waits for what it writes, and keeps what it logs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, TimeoutError, sync_playwright

#: No page may reach the network; a page in a frame may be measured by the page around it.
OPTIONS = [
    "--no-sandbox",
    "--allow-file-access-from-files",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
PATIENCE_MS = 120_000
#: For probes: after so many milliseconds, and after the page has been drawn again.
WAIT = """if (window === top) window.wait = (ms) => new Promise((done) =>
  setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), ms));"""


@contextlib.contextmanager
def opened(browser: str, file: Path, **settings) -> Iterator[tuple[Page, list[str]]]:
    """A page of a file that has loaded, and the growing list of what it logs and fails to fetch.

    ``browser``: the program. ``file``: may end in a hash. ``settings``: of a Playwright context."""
    log: list[str] = []
    path, *place = str(file).split("#", 1)
    address = "#".join([Path(path).resolve().as_uri(), *place])
    settings.setdefault("viewport", {"width": 1700, "height": 1000})
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=OPTIONS)
        context = chromium.new_context(**settings)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("console", lambda said: log.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: log.append(f"uncaught: {error}"))
        page.on("requestfailed", lambda failed: log.append(f"failed: {failed.url[:200]}"))
        page.add_init_script(WAIT)
        page.goto(address)
        yield page, log
        chromium.close()


def read_out(browser: str, file: Path) -> tuple:
    """The JSON that a probe writes into its ``#out`` once it has finished, and the page's log.

    Time is the true one, so a probe may take as long as a busy machine needs."""
    with opened(browser, file) as (page, log):
        try:
            page.wait_for_function("document.getElementById('out').textContent")
        except TimeoutError as error:
            raise AssertionError(f"the probe did not finish: {log}") from error
        return json.loads(page.locator("#out").text_content()), log
