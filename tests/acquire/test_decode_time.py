"""Stamps that jitter, jump, start again or promise too much: sound and picture stay in step."""

from __future__ import annotations

import random
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from nano4m_audio.acquire.decode import MediaError, decode_clip
from nano4m_audio.acquire.runs import Piece, join
from nano4m_audio.media.stored import read_audio
from nano4m_audio.reasons import Reason

from .reels import FPS, ffmpeg, lag_s, picture_lags_s, reel, remux, sound_lag_s

pytestmark = pytest.mark.slow
needs_ffmpeg = pytest.mark.skipif(
    not shutil.which("ffmpeg"), reason="ffmpeg, which makes these files, is not installed"
)


@pytest.fixture(scope="module")
def reels(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reels")
    reel(folder / "aac.mp4")
    reel(folder / "opus.mkv", codecs=("libx264", "libopus"))
    reel(folder / "pcm.mkv", codecs=("libx264", "pcm_s16le"))
    return folder


def _in_step(clip, start_s: float, end_s: float, least: float = 0.97, shift_s: float = 0.0) -> None:
    """Between two times the sound is as late as the pictures, to within a frame and a bit."""
    late_s, alike = sound_lag_s(clip, start_s, end_s)
    assert alike > least
    pictures = picture_lags_s(clip)[int(start_s * 3) + 1 : int(end_s * 3)]
    assert pictures.min() > late_s - shift_s - 0.012
    assert pictures.max() < late_s - shift_s + 1 / FPS + 0.012


def _delayed(delay_s, kind: str = "audio"):
    """A change of packets for ``remux``: stamps of one kind are moved by delay_s(time, number)."""

    def move(packet, i: int) -> None:
        if packet.stream.type == kind:
            ticks = round(delay_s(float(packet.pts * packet.time_base), i) / packet.time_base)
            packet.pts += ticks
            packet.dts += ticks

    return move


@pytest.mark.parametrize("source", ["aac.mp4", "opus.mkv", "pcm.mkv"])
@pytest.mark.parametrize(
    ("share", "late_s"), [(0.08, 0.011), (0.3, 0.015), (1.0, 0.01), (1, 0.003)]
)
def test_jitter_breaks_nothing(tmp_path, reels, source, share, late_s):
    rng = random.Random(1)
    move = _delayed(lambda t, i: rng.uniform(0, late_s) if rng.random() < share else 0.0)
    clip = decode_clip(remux(reels / source, tmp_path / "a.mkv", move))
    _in_step(clip, 0.2, 7.8)
    assert clip.duration_s == pytest.approx(8.0, abs=0.03)


@needs_ffmpeg
def test_jittering_sound_is_what_ffmpeg_hears(tmp_path, reels):
    rng = random.Random(2)
    move = _delayed(lambda t, i: 0.011 if i and rng.random() < 0.08 else 0.0)
    path = remux(reels / "aac.mp4", tmp_path / "a.mkv", move)
    place = ("-map", "0:a", "-af", "aresample=async=1:first_pts=0", "-ar", 32000, "-f", "f32le")
    ffmpeg("-i", path, *place, tmp_path / "a.raw")
    heard = read_audio(decode_clip(path).audio_flac)[:250_000]
    # Unlike ffmpeg, time 0 is where the encoder's priming (21 ms) begins.
    late_s, alike = lag_s(heard, np.fromfile(tmp_path / "a.raw", np.float32)[:250_000])
    assert 0 <= late_s < 0.025 and alike > 0.99


@pytest.mark.parametrize("source", ["opus.mkv", "pcm.mkv"])
@pytest.mark.parametrize("step_s", [0.015, 0.03, 1.0])
def test_a_step_that_lasts_is_kept(tmp_path, reels, source, step_s):
    rng = random.Random(0)
    move = _delayed(lambda t, i: step_s * (t >= 4) + rng.choice([0, 0, 0, 0, 0.004]))
    clip = decode_clip(remux(reels / source, tmp_path / "a.mkv", move))
    assert sound_lag_s(clip, 0.2, 3.8)[0] == pytest.approx(0.0, abs=0.006)
    late_s, alike = sound_lag_s(clip, 5.2, 7.9)
    assert late_s == pytest.approx(step_s, abs=0.006) and alike > 0.5


@pytest.mark.parametrize("drift", [0.005, -0.005])
def test_drifting_sound_keeps_its_drift(tmp_path, reels, drift):
    clip = decode_clip(
        remux(reels / "pcm.mkv", tmp_path / "a.mkv", _delayed(lambda t, i: drift * t))
    )
    for start_s in (0.5, 3.5, 6.5):
        assert sound_lag_s(clip, start_s, start_s + 1)[0] == pytest.approx(
            drift * (start_s + 0.5), abs=0.01
        )


def _pieces(begins: list[float], length_s: float = 0.02) -> list[Piece]:
    samples = np.zeros((1, round(length_s * 32000)), np.float32)
    return [Piece(i * length_s + begin, 32000, samples) for i, begin in enumerate(begins)]


def test_one_wild_stamp_breaks_nothing():
    for wild_s in (-40.0, -0.5, 0.05, 3.0, 1e6):
        begins = [0.0] * 400
        begins[100] = wild_s
        assert [run.start_s for run in join(_pieces(begins))] == [0.0]


def test_pairs_with_one_stamp_are_one_run():
    assert len(join(_pieces([0.0, -0.02] * 200))) == 1


def test_holes_that_follow_soon_are_all_kept():
    runs = join(_pieces([0.0] * 50 + [1.0] * 15 + [2.0] * 100))
    assert [run.start_s for run in runs] == pytest.approx([0.0, 2.0, 3.3])


def _joined(folder: Path, suffix: str, codecs: tuple[str, str], parts: list[tuple]) -> Path:
    """Recordings put together with cat; a part is (start and length in the reel, its clock)."""
    whole = b""
    for start_s, length_s, clock_s in parts:
        base = reel(folder / "b.mkv", seconds=length_s, start=round(start_s * FPS), codecs=codecs)
        part = folder / f"p{suffix}"
        ffmpeg("-i", base, "-c", "copy", "-output_ts_offset", clock_s, part)
        whole += part.read_bytes()
    path = folder / f"joined{suffix}"
    path.write_bytes(whole)
    return path


@needs_ffmpeg
@pytest.mark.parametrize(
    "parts",
    [
        [(0, 4, 0), (4, 4, 0)],
        [(0, 2, 0), (2, 6, 0)],
        [(0, 6, 0), (6, 2, 0)],
        [(0, 4, 0), (4, 4, 3.7)],
        [(0, 4, 0), (4, 4, 3.88)],
        [(0, 4, 0), (4, 4, 100)],
        [(0, 4, 72000), (4, 4, 10)],
        [(0, 2, 0), (2, 2, 50), (4, 2, 1), (6, 2, 1)],
    ],
)
def test_a_clock_that_starts_again_in_a_transport_stream(tmp_path, parts):
    clip = decode_clip(_joined(tmp_path, ".ts", ("libx264", "aac"), parts))
    assert clip.duration_s == pytest.approx(8.05, abs=0.06)
    for start_s, length_s, _ in parts:
        _in_step(clip, start_s + 0.3, start_s + length_s - 0.2, 0.93)


@needs_ffmpeg
@pytest.mark.parametrize("clock_s", [0, 500])
@pytest.mark.parametrize(
    ("suffix", "codecs"),
    [
        (".mkv", ("libx264", "aac")),
        (".webm", ("libvpx", "libopus")),
        (".mpg", ("mpeg2video", "mp2")),
    ],
)
def test_a_clock_that_starts_again_elsewhere(tmp_path, suffix, codecs, clock_s):
    clip = decode_clip(_joined(tmp_path, suffix, codecs, [(0, 4, 0), (4, 4, clock_s)]))
    assert clip.duration_s == pytest.approx(8.05, abs=0.06)
    _in_step(clip, 0.3, 3.8)
    _in_step(clip, 4.3, 7.8, 0.93)


@needs_ffmpeg
def test_small_overlaps_and_pauses_stay_in_step(tmp_path):
    clip = decode_clip(_joined(tmp_path, ".ts", ("libx264", "aac"), [(0, 4, 0), (4, 4, 3.95)]))
    _in_step(clip, 4.3, 7.6, 0.93)
    clip = decode_clip(_joined(tmp_path, ".ts", ("libx264", "aac"), [(0, 4, 0), (4, 4, 6)]))
    assert clip.duration_s == pytest.approx(10, abs=0.06)
    assert picture_lags_s(clip)[-1] == pytest.approx(2.0, abs=0.05)


@needs_ffmpeg
def test_a_clock_that_wraps(tmp_path, reels):
    ffmpeg("-i", reels / "aac.mp4", "-c", "copy", "-output_ts_offset", 95440, tmp_path / "a.ts")
    _in_step(decode_clip(tmp_path / "a.ts"), 0.3, 7.8)


def _cut(path: Path, share: float) -> Path:
    whole = path.read_bytes()
    part = path.with_name(f"cut{share}{path.suffix}")
    part.write_bytes(whole[: int(share * len(whole))])
    return part


def _check_whole_and_cut(path: Path) -> None:
    assert decode_clip(path).duration_s == pytest.approx(8.0, abs=0.03)
    assert decode_clip(_cut(path, 0.9)).duration_s == pytest.approx(7.2, abs=0.3)
    with pytest.raises(MediaError) as caught:
        decode_clip(_cut(path, 0.5))
    assert caught.value.reason == Reason.TRUNCATED


@needs_ffmpeg
@pytest.mark.parametrize(("begin", "end"), [("00:00:30", "00:01:00"), ("00:00:01", "00:09:00")])
def test_a_subtitle_is_no_promise_of_picture(tmp_path, reels, begin, end):
    (tmp_path / "a.srt").write_text(f"1\n{begin},000 --> {end},000\nmoo\n")
    path = tmp_path / "a.mkv"
    streams = ("-map", 0, "-map", 1, "-c", "copy", "-c:s", "srt")
    ffmpeg("-i", reels / "aac.mp4", "-i", tmp_path / "a.srt", *streams, path)
    _check_whole_and_cut(path)


@needs_ffmpeg
@pytest.mark.parametrize("clock_s", [20, 2000])
def test_a_late_first_frame_is_no_loss(tmp_path, reels, clock_s):
    path = tmp_path / "a.mkv"
    ffmpeg("-i", reels / "aac.mp4", "-c", "copy", "-output_ts_offset", clock_s, path)
    _check_whole_and_cut(path)
    _in_step(decode_clip(path), 0.3, 7.8)


@pytest.mark.parametrize("said_s", [1e9, 60.0, 0.0, -5.0, float("nan")])
def test_a_nonsensical_duration_is_no_promise(tmp_path, reels, said_s):
    whole = bytearray((reels / "opus.mkv").read_bytes())
    at = whole.index(b"\x44\x89\x88") + 3
    whole[at : at + 8] = struct.pack(">d", 1000 * said_s)
    path = tmp_path / "a.mkv"
    path.write_bytes(whole)
    _check_whole_and_cut(path)


def test_half_a_file_of_zeros_is_truncated(tmp_path, reels):
    whole = (reels / "opus.mkv").read_bytes()
    half = len(whole) // 2
    (tmp_path / "a.mkv").write_bytes(whole[:half] + bytes(len(whole) - half))
    with pytest.raises(MediaError) as caught:
        decode_clip(tmp_path / "a.mkv")
    assert caught.value.reason == Reason.TRUNCATED


@needs_ffmpeg
def test_a_recording_without_length_is_taken_as_it_is(tmp_path, reels):
    path = tmp_path / "a.mkv"
    ffmpeg("-i", reels / "aac.mp4", "-c", "copy", "-f", "matroska", "-seekable", 0, path)
    assert decode_clip(path).duration_s == pytest.approx(8.0, abs=0.03)


def test_how_long_the_source_is(tmp_path, reels):
    assert decode_clip(reels / "aac.mp4").source_duration_s == pytest.approx(8.0)
    for name in ("aac.mp4", "opus.mkv"):
        clip = decode_clip(reels / name, max_clip_s=5.0)
        assert clip.duration_s == 5.0
        assert clip.source_duration_s == pytest.approx(8.0, abs=0.05)
