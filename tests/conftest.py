"""Fixtures that all tests share, and the markers that follow from them."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# There are as many workers as cores: where each has several threads, they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is not a failure.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

# A shell that starts a job in the background lets it ignore Ctrl-C; tests send it to processes.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
#: A test that uses one of these fixtures needs what not every machine has, and bears its name as a
#: marker: pytest -m "not shared and not browser and not gpu".
NEEDS = ("shared", "browser", "gpu")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the checkout: golden values, real clips, models."""
    folder = ROOT.parent / "shared"
    missing = [
        name for name in ("golden", "media", "metadata", "models") if not (folder / name).is_dir()
    ]
    if missing:
        pytest.skip(f"the reference material (../shared: {', '.join(missing)}) is not here")
    return folder


@pytest.fixture(scope="session")
def browser() -> str:
    """The path of Chromium."""
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    if not any(found):
        pytest.skip("no Chromium on this machine")
    return next(path for path in found if path)


@pytest.fixture(scope="session")
def gpu() -> str:
    """The torch device of an NVIDIA GPU."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU on this machine")
    return "cuda"


@pytest.hookimpl(tryfirst=True)  # before -m chooses by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they need. The workflow, the longest of all, goes first, so that no worker
    waits for it at the end: what needs no finished run while another worker makes one."""
    waiting = {item.path for item in items if "finished" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: ("workflow" not in item.path.parts, item.path in waiting))
    for item in items:
        for name in NEEDS:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(name)
