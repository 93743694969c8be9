"""Real Silero VAD: our path equals the package's own function, and hears real speech."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from nano4m_audio.acquire.decode import decode_clip
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.silero import SileroVad
from nano4m_audio.media import windows
from nano4m_audio.media.stored import read_audio


@pytest.fixture(scope="module")
def detector():
    return SileroVad.load()


def waveform(path, rate_hz):
    return windows.resample(read_audio(decode_clip(path).audio_flac), rate_hz)


def test_silence_and_noise_are_not_speech(detector):
    noise = np.random.default_rng(0).normal(0, 0.05, 48_000).astype(np.float32)
    assert detector.segments([np.zeros(48_000, np.float32), noise, noise[:100]]) == [[], [], []]


def test_threads_change_nothing(detector):
    rng = np.random.default_rng(1)
    waveforms = [rng.normal(0, 0.1, 9_000 * i).astype(np.float32) for i in range(1, 6)]
    voiced = np.sin(np.arange(48_000) * 0.06) * (1 + np.sin(np.arange(48_000) * 0.002))
    waveforms.append((0.3 * voiced).astype(np.float32))
    parallel = SileroVad.load(Compute(threads=3))
    assert parallel.segments(waveforms) == detector.segments(waveforms)


def test_it_hears_every_speech_clip_and_agrees_with_the_package(detector, shared):
    from silero_vad import get_speech_timestamps, load_silero_vad

    reference = load_silero_vad()
    with open(shared / "media/clips.csv", newline="") as handle:
        rows = [r for r in csv.DictReader(handle) if r["kind"] in ("speech", "silent")]
    assert sum(r["kind"] == "speech" for r in rows) == 6
    for row in rows:
        audio = waveform(shared / "media" / row["file"], detector.sample_rate_hz)
        (segments,) = detector.segments([audio])
        wanted = get_speech_timestamps(audio, reference)
        rate = detector.sample_rate_hz
        assert segments == [(s["start"] / rate, s["end"] / rate) for s in wanted]
        voiced = sum(end - start for start, end in segments) / (len(audio) / rate)
        assert voiced > 0.3 if row["kind"] == "speech" else voiced == 0
