"""A small film maker: clips whose pictures tell their index and whose sound is given."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

#: The picture with index i is a grey of this level; steps survive lossy coding.
GREY_FIRST, GREY_STEP = 20, 5


def _film(
    path: Path,
    *,
    seconds: float = 4.0,
    fps: int = 10,
    size: tuple[int, int] = (160, 120),
    sound: np.ndarray | None = None,
    layout: str = "mono",
    rate_hz: int = 32000,
    sound_start_s: float = 0.0,
    picture: bool = True,
    times: list[float] | None = None,
) -> Path:
    """Write a clip; ``sound`` is float32 [channels, n] (None: no audio stream)."""
    import av

    with av.open(str(path), "w") as out:
        video = audio = None
        if picture:
            video = out.add_stream("libx264", rate=fps, options={"crf": "12", "threads": "1"})
            video.width, video.height = size
            video.pix_fmt = "yuv420p"
            video.time_base = Fraction(1, 1000)
        if sound is not None:
            audio = out.add_stream("aac", rate=rate_hz, layout=layout)
            audio.bit_rate = 256_000
        packets = []
        for i, time_s in enumerate(times or np.arange(round(seconds * fps)) / fps):
            if video is None:
                break
            grey = np.full((size[1], size[0], 3), GREY_FIRST + GREY_STEP * (i % 45), np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            packets += video.encode(frame)
        packets += video.encode(None) if video else []
        if audio is not None:
            planes = np.ascontiguousarray(sound, np.float32)
            heard = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
            heard.sample_rate, heard.pts = rate_hz, round(sound_start_s * rate_hz)
            heard.time_base = Fraction(1, rate_hz)
            packets += [*audio.encode(heard), *audio.encode(None)]
        for packet in packets:
            out.mux(packet)
    return path


@pytest.fixture(scope="session")
def film() -> Callable[..., Path]:
    return _film


@pytest.fixture(scope="session")
def clicks() -> Callable[..., np.ndarray]:
    """Returns a function: seconds, times of short noise bursts -> mono float32 [1, n] at 32 kHz."""

    def make(seconds: float, times_s: list[float]) -> np.ndarray:
        sound = np.zeros((1, round(seconds * 32000)), np.float32)
        burst = np.random.default_rng(0).normal(0, 0.2, 640).astype(np.float32)
        for time_s in times_s:
            start = round(time_s * 32000)
            sound[0, start : start + 640] = burst
        return sound

    return make
