"""Draw docs/report.png, the first screen of a report: ``make picture``, with Chromium installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1200, 1400
MAX_BYTES = 300_000
BROWSERS = "chromium", "chromium-browser", "google-chrome"


def draw(page: Path, picture: Path) -> None:
    """Write a PNG of the top of ``page``, in 128 colours, which keeps it small."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"error: none of {', '.join(BROWSERS)} is on the PATH")
    if not page.is_file():
        sys.exit(f"error: {page} does not exist: make report first")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder, "shot.png")
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={folder}/browser", f"--window-size={WIDTH},{HEIGHT}",
             f"--screenshot={shot}", page.resolve().as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        with Image.open(shot) as drawn:
            drawn.convert("RGB").quantize(128).save(picture, optimize=True)
    if picture.stat().st_size > MAX_BYTES:
        sys.exit(f"error: {picture} has {picture.stat().st_size:,} bytes, over {MAX_BYTES:,}")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
