"""Decoding real recordings: every file of the test material, and ffmpeg as the reference."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nano4m_audio.acquire.decode import MediaError, decode_clip
from nano4m_audio.media.stored import read_audio, read_frame
from nano4m_audio.reasons import Reason

REASONS = {
    "truncated_no_moov": Reason.TRUNCATED,
    "truncated_mdat": Reason.TRUNCATED,
    "no_audio": Reason.NO_AUDIO,
    "no_video": Reason.NO_VIDEO,
    "zero_bytes": Reason.EMPTY_FILE,
    "text_file": Reason.NOT_MEDIA,
    "too_short": Reason.TOO_SHORT,
}
SIZES = {"rotated": (240, 320), "odd_size": (257, 143), "vp9_webm": (272, 480)}
COMPARED = {"vfr", "fps5", "rotated", "audio_8k_mono", "audio_5_1", "odd_size", "vp9_webm"}
COMPARED |= {"hevc", "audio_short", "audio_late"}


@pytest.fixture(scope="module")
def media(shared: Path) -> Path:
    return shared / "media"


def _rows(media: Path, folder: str = "") -> list[dict[str, str]]:
    with open(media / "clips.csv", encoding="utf-8", newline="") as handle:
        return [row for row in csv.DictReader(handle) if row["file"].startswith(folder)]


def _check(media: Path, row: dict[str, str]) -> None:
    wanted = REASONS.get(row["kind"])
    if wanted:
        with pytest.raises(MediaError) as caught:
            decode_clip(media / row["file"])
        assert caught.value.reason == wanted, row["file"]
        return
    clip = decode_clip(media / row["file"])
    length_s = 30.0 if row["kind"] == "long_60s" else 10.0
    assert clip.duration_s == pytest.approx(length_s, abs=0.01), row["file"]
    assert len(clip.frames) == pytest.approx(3 * length_s, abs=1)
    assert min(read_frame(clip.frames[0]).shape[:2]) == 256
    assert (clip.width, clip.height) == SIZES.get(row["kind"], (clip.width, clip.height))
    wanted_end_s = 8.0 if row["kind"] == "audio_short" else length_s
    assert clip.audio_end_s == pytest.approx(wanted_end_s, abs=0.03)
    assert (clip.level_dbfs < -65) == (row["kind"] == "silent"), row["file"]


def test_broken_files(media):
    rows = _rows(media, "broken/")
    assert len(rows) == 19
    for row in rows:
        _check(media, row)


@pytest.mark.slow
def test_good_and_bad_files(media):
    rows = _rows(media, "clips/") + _rows(media, "bad/")
    assert len(rows) == 87
    for row in rows:
        _check(media, row)


def _run(*command: object) -> bytes:
    return subprocess.run([str(part) for part in command], capture_output=True, check=True).stdout


def _reference_times(path: Path) -> np.ndarray:
    entries = "format=start_time:frame=best_effort_timestamp_time"
    command = ("ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", entries)
    found = json.loads(_run(*command, "-of", "json", path))
    times = [float(frame["best_effort_timestamp_time"]) for frame in found["frames"]]
    return np.array(times) - float(found["format"]["start_time"])


def _reference_frames(path: Path, height: int, width: int) -> np.ndarray:
    scale = f"scale={width}:{height}:flags=bicubic"
    command = ("ffmpeg", "-v", "error", "-threads", "1", "-i", path, "-map", "0:v:0")
    raw = _run(*command, "-vsync", "0", "-vf", scale, "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def _reference_sound(path: Path) -> np.ndarray:
    command = ("ffmpeg", "-v", "error", "-threads", "1", "-i", path, "-map", "0:a:0", "-af")
    place = "aresample=async=1:first_pts=0"
    raw = _run(*command, place, "-ac", "1", "-ar", "32000", "-f", "s16le", "-")
    return np.frombuffer(raw, np.int16).astype(np.float64) / 32768


@pytest.mark.parametrize("kind", sorted(COMPARED))
def test_against_ffmpeg(media, kind):
    if not shutil.which("ffmpeg") or not shutil.which("ffprobe"):
        pytest.skip("ffmpeg, the reference of this test, is not installed")
    path = media / next(row["file"] for row in _rows(media, "broken/") if row["kind"] == kind)
    clip = decode_clip(path)
    times = _reference_times(path)
    wanted = np.arange(len(clip.frames)) / 3 + 0.001
    shown = np.maximum(np.searchsorted(times, wanted, side="right") - 1, 0)
    # A container may count the decoder's pre-roll (7 ms in Opus) into its start.
    assert np.abs(times[shown] - clip.frame_times_s).max() < 0.01
    pictures = np.stack([read_frame(frame) for frame in clip.frames]).astype(np.float64)
    errors = (pictures - _reference_frames(path, *pictures.shape[1:3])[shown]) ** 2
    assert 10 * np.log10(255**2 / errors.mean(axis=(1, 2, 3)).max()) > 34
    sound, reference = read_audio(clip.audio_flac), _reference_sound(path)
    n = 1 << 20
    product = np.fft.irfft(np.fft.rfft(reference, n) * np.fft.rfft(sound, n).conj())
    lag = int(np.argmax(product))
    assert abs(lag - n if lag > n // 2 else lag) < 320  # 10 ms
