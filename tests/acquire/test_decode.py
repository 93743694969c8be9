"""Decoding in one pass: which frame when, sound at its offset, and the reason for every failure."""

from __future__ import annotations

import os
import wave
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from nano4m_audio.acquire.decode import MediaError, decode_clip
from nano4m_audio.media.stored import read_audio, read_frame
from nano4m_audio.reasons import Reason
from nano4m_audio.tables import SCHEMAS


def _indices(clip) -> list[int]:
    """The index that each kept picture shows as its grey."""
    return [round((float(read_frame(frame).mean()) - 20) / 5) for frame in clip.frames]


def _burst_s(audio: np.ndarray) -> float:
    """Where the sound first rises above a tenth of its peak."""
    return float(np.argmax(np.abs(audio) > 0.1 * np.abs(audio).max())) / 32000


def test_frames_on_display_at_thirds(tmp_path, film, clicks):
    clip = decode_clip(film(tmp_path / "a.mp4", sound=clicks(4, [2.0])))
    assert clip.duration_s == pytest.approx(4.0)
    assert len(clip.frames) == 12
    # At 10 frames a second the picture shown at k/3 s is number floor(10 k / 3).
    wanted = [int(10 * k / 3 + 1e-6) for k in range(12)]
    assert _indices(clip) == wanted
    assert clip.frame_times_s == pytest.approx([i / 10 for i in wanted], abs=1e-6)
    assert read_frame(clip.frames[0]).shape == (256, 341, 3)
    assert (clip.width, clip.height, clip.fps) == (160, 120, pytest.approx(10))


def test_columns_are_those_of_the_table(tmp_path, film, clicks):
    clip = decode_clip(film(tmp_path / "a.mp4", sound=clicks(4, [2.0])))
    filled = {"clip_id", "key", "status", "reason", "n_frames"}
    assert set(asdict(clip)) == set(SCHEMAS["clips"].names) - filled


def test_same_file_same_bytes(tmp_path, film, clicks):
    path = film(tmp_path / "a.mp4", sound=clicks(4, [1.0, 2.0]))
    assert decode_clip(path) == decode_clip(path)


def test_variable_frame_rate_holds_the_last_picture(tmp_path, film, clicks):
    times = [0.0, 0.1, 1.5, 1.6, 3.0, 4.0]
    clip = decode_clip(film(tmp_path / "a.mp4", times=times, sound=clicks(4, [2.0])))
    at = np.arange(len(clip.frames)) / 3
    wanted = np.searchsorted(times, at + 1e-6, side="right") - 1
    assert _indices(clip) == wanted.tolist()
    assert clip.frame_times_s == pytest.approx([times[i] for i in wanted], abs=1e-6)


@pytest.mark.parametrize("start_s", [0.0, 0.5, 1.5])
def test_late_sound_keeps_its_offset(tmp_path, film, clicks, start_s):
    path = film(tmp_path / "a.mp4", sound=clicks(2, [1.0]), sound_start_s=start_s)
    clip = decode_clip(path)
    audio = read_audio(clip.audio_flac)
    assert len(audio) == round(clip.duration_s * 32000)
    assert _burst_s(audio) == pytest.approx(start_s + 1.0, abs=0.002)
    # The encoder's priming (1024 samples, 32 ms) may stay in front as silence.
    assert clip.audio_start_s == pytest.approx(start_s, abs=0.035)
    assert clip.audio_end_s == pytest.approx(start_s + 2.0, abs=0.05)
    assert not audio[round((clip.audio_end_s + 0.01) * 32000) :].any()


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
def test_sample_rates(tmp_path, film, rate_hz):
    time_s = np.arange(4 * rate_hz) / rate_hz
    sound = (0.5 * np.sin(2 * np.pi * 440 * time_s))[None]
    clip = decode_clip(film(tmp_path / "a.mp4", sound=sound, rate_hz=rate_hz))
    audio = read_audio(clip.audio_flac)
    spectrum = np.abs(np.fft.rfft(audio[32000:64000]))
    assert np.argmax(spectrum) == 440
    assert clip.level_dbfs == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.3)
    assert clip.peak_dbfs == pytest.approx(20 * np.log10(0.5), abs=1.2)


def test_centre_channel_of_5_1_is_kept(tmp_path, film):
    sound = np.zeros((6, 4 * 48000), np.float32)
    sound[2] = 0.5 * np.sin(2 * np.pi * 440 * np.arange(4 * 48000) / 48000)
    clip = decode_clip(film(tmp_path / "a.mp4", sound=sound, layout="5.1", rate_hz=48000))
    assert clip.level_dbfs == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)) - 3, abs=0.5)


def test_digital_silence_has_a_finite_level(tmp_path, film):
    clip = decode_clip(film(tmp_path / "a.mp4", sound=np.zeros((1, 128000))))
    assert (clip.level_dbfs, clip.peak_dbfs) == (-120.0, -120.0)


def test_only_the_first_seconds_of_a_long_clip(tmp_path, film, clicks):
    clip = decode_clip(film(tmp_path / "a.mkv", seconds=12, sound=clicks(12, [2.0])), max_clip_s=5)
    assert clip.duration_s == 5.0
    assert len(clip.frames) == 15
    assert len(read_audio(clip.audio_flac)) == 5 * 32000


def _reason(path: Path, **settings) -> Reason:
    with pytest.raises(MediaError) as caught:
        decode_clip(path, **settings)
    assert str(caught.value).isprintable()
    assert 0 < len(str(caught.value)) <= 300
    assert str(path.parent) not in str(caught.value)
    return caught.value.reason


def test_reasons(tmp_path, film, clicks):
    sound = clicks(4, [2.0])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "page.mp4").write_text("<html>not found</html>")
    assert _reason(tmp_path / "absent.mp4") == Reason.MISSING_FILE
    assert _reason(tmp_path / "empty.mp4") == Reason.EMPTY_FILE
    assert _reason(tmp_path / "page.mp4") == Reason.NOT_MEDIA
    assert _reason(tmp_path) == Reason.NOT_MEDIA
    assert _reason(film(tmp_path / "mute.mp4")) == Reason.NO_AUDIO
    assert _reason(film(tmp_path / "blind.mp4", picture=False, sound=sound)) == Reason.NO_VIDEO
    with wave.open(str(tmp_path / "sound.wav"), "wb") as out:
        out.setparams((1, 2, 32_000, 0, "NONE", ""))
        out.writeframes(bytes(640_000))
    assert _reason(tmp_path / "sound.wav") == Reason.NOT_MEDIA
    short = film(tmp_path / "short.mp4", seconds=3.4, sound=sound)
    assert _reason(short) == Reason.TOO_SHORT
    assert decode_clip(short, min_clip_s=3.0).duration_s == pytest.approx(3.4)


def test_cut_files_are_truncated(tmp_path, film, clicks):
    noise = np.random.default_rng(0).normal(0, 0.2, (1, 256000))
    whole = film(tmp_path / "a.mkv", seconds=8, sound=noise).read_bytes()
    (tmp_path / "b.mkv").write_bytes(whole[: len(whole) // 2])
    assert _reason(tmp_path / "b.mkv") == Reason.TRUNCATED
    (tmp_path / "c.mkv").write_bytes(whole[: int(len(whole) * 0.9)])
    assert 6.4 < decode_clip(tmp_path / "c.mkv").duration_s < 8.0
    whole = film(tmp_path / "a.mp4", seconds=8, sound=noise).read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole[: len(whole) // 2])
    assert _reason(tmp_path / "b.mp4") == Reason.TRUNCATED


def test_playlists_reach_no_other_file(tmp_path, film, clicks):
    film(tmp_path / "a.ts", sound=clicks(4, [2.0]))
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "b.mp4").write_text(playlist)
    (tmp_path / "c.mp4").write_text(f"ffconcat version 1.0\nfile {tmp_path / 'a.ts'}\n")
    assert _reason(tmp_path / "b.mp4") == Reason.NOT_MEDIA
    assert _reason(tmp_path / "c.mp4") == Reason.NOT_MEDIA


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert _reason(tmp_path / "pipe.mp4") == Reason.NOT_MEDIA


def test_hostile_names_are_only_names(tmp_path, film, clicks):
    whole = film(tmp_path / "a.mp4", sound=clicks(4, [2.0])).read_bytes()
    for name in ("-i.mp4", "http:x.mp4", "concat:a|b.mp4", "%03d.mp4", "a\nb.mp4", "é 🐄.mp4"):
        (tmp_path / name).write_bytes(whole)
        assert len(decode_clip(tmp_path / name).frames) == 12


def test_damaged_bytes_never_crash(tmp_path, film):
    noise = np.random.default_rng(0).normal(0, 0.2, (1, 128000))
    whole = film(tmp_path / "a.mp4", sound=noise).read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 200)):
            damaged[at] = rng.integers(256)
        (tmp_path / "b.mp4").write_bytes(damaged)
        try:
            clip = decode_clip(tmp_path / "b.mp4")
        except MediaError as error:
            assert isinstance(error.reason, Reason)
        else:
            assert len(read_audio(clip.audio_flac)) == round(clip.duration_s * 32000)
            assert len(clip.frames) == len(clip.frame_times_s)
