"""Pictures of AVI, which keeps decoding times alone, come at the times of the film they are of."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.acquire.decode import decode_clip
from nano4m_audio.acquire.slots import Slots

from .reels import ffmpeg, reel

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")

_X264 = ("-c:v", "libx264", "-preset", "veryfast", "-bf", 3, "-b_strategy", 0, "-threads", 1)
KINDS: dict[str, tuple[object, ...]] = {
    "reordered": (*_X264, "-g", 40),
    "pyramid": (*_X264, "-g", 48, "-x264-params", "b-pyramid=strict:ref=4"),
    "open": (*_X264, "-g", 25, "-x264-params", "open-gop=1"),
    "in order": (*_X264, "-g", 40, "-bf", 0),
    "interlaced": (*_X264, "-g", 50, "-flags", "+ildct+ilme"),
    "mpeg4": ("-c:v", "mpeg4", "-bf", 2, "-g", 30, "-q:v", 3),
    "mpeg4 in order": ("-c:v", "mpeg4", "-g", 30, "-q:v", 3),
}


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return reel(tmp_path_factory.mktemp("film") / "a.mkv", seconds=7, codecs=("libx264", "flac"))


@pytest.mark.parametrize("window", [None, (1.0, 4.6), (2.2, 5.9)])
@pytest.mark.parametrize("kind", KINDS)
def test_an_avi_is_the_film_it_was_copied_from(film, tmp_path, kind, window):
    ffmpeg("-i", film, *KINDS[kind], "-c:a", "pcm_s16le", tmp_path / "a.mov")
    ffmpeg("-i", tmp_path / "a.mov", "-c", "copy", tmp_path / "a.avi")
    known, found = (
        decode_clip(tmp_path / name, window=window, frames_per_s=25) for name in ("a.mov", "a.avi")
    )
    assert found.frames == known.frames and len(found.frames) > 80
    assert found.frame_times_s == pytest.approx(known.frame_times_s, abs=1e-6)
    assert found.duration_s == pytest.approx(known.duration_s, abs=1e-6)


@dataclass
class Coded:
    """A packet, or the picture that comes out of it."""

    dts: int | None
    shown: int
    pts: int | None = None
    duration: int = 1
    is_keyframe: bool = False


@given(st.data(), st.integers(0, 4), st.integers(1, 3), st.booleans())
def test_every_picture_gets_its_time(data, lag, step, known):
    """Whatever the order in the file, and the pauses; some of the first ones may be lost, then the
    lag has to be known."""
    order = data.draw(st.lists(st.integers(0, lag), min_size=lag + 2, max_size=40))
    gaps = data.draw(st.lists(st.sampled_from([1, 1, 1, 4]), min_size=len(order)))
    ticks = [step * sum(gaps[:n]) for n in range(len(order))]
    # In a file each picture lies at most ``lag`` places behind where it is shown.
    in_file = sorted(range(len(order)), key=lambda n: (n + order[n], n))
    lost = data.draw(st.integers(0, min(2, len(order) - lag - 1))) if known else 0
    slots = Slots(lag if known else None)
    held: list[Any] = []
    shown: list[Any] = []
    for place, number in enumerate(in_file):
        packet = Coded(ticks[place], number, is_keyframe=place == 0)
        slots.stamp(packet)
        slots.feed(packet)
        held.append(packet)
        if place >= lag:
            first = min(held, key=lambda p: p.shown)
            held.remove(first)
            if len(shown) == 0 and lost:
                lost -= 1
                continue
            slots.place(first)
            shown.append(first)
    for first in sorted(held, key=lambda p: p.shown):
        slots.place(first)
        shown.append(first)
    assert [picture.pts for picture in shown] == [ticks[picture.shown] for picture in shown]
    assert slots.step in (0, *(step * gap for gap in gaps))
