"""Films that the tests of this folder serve, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from nano4m_audio.config.sources import Web
from nano4m_audio.fetch import http
from tests.fetch.films import film, merged

QUICK = {"movflags": "+faststart"}


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two minutes of film as MP4, as WebM, and as picture and sound apart; what
    those two give together is merged.mp4."""
    folder = tmp_path_factory.mktemp("films")
    film(folder / "h264.mp4", options=QUICK)
    film(folder / "vp9.webm", codecs=("libvpx-vp9", "libopus"))
    film(folder / "video.mp4", codecs=("libx264", None), options=QUICK)
    film(folder / "audio.m4a", codecs=(None, "aac"), options=QUICK)
    merged(folder / "merged.mp4", folder / "video.mp4", folder / "audio.m4a")
    return folder


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 12 seconds."""
    return film(tmp_path_factory.mktemp("short") / "short.mp4", seconds=12, options=QUICK)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_PAUSE_S", 0.0)


@pytest.fixture
def web() -> Web:
    """Settings for servers of this machine, without pauses."""
    return Web(private_hosts=("127.0.0.1",), timeout_s=2, request_sleep_s=0)
