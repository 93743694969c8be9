"""Labelled windows of sound for training and testing small nets."""

from __future__ import annotations

import numpy as np

from nano4m_audio.barnyard import noises
from nano4m_audio.barnyard.noises import SAMPLE_RATE_HZ
from nano4m_audio.barnyard.streams import CLASSES, stream
from nano4m_audio.barnyard.voices import phrase

OTHER = -1
PHRASE_S = 6.0
MIN_CALL_S = 0.4  # of calling inside every window that carries an animal's label
CHANGED_FRACTION = 0.2  # of windows are lowpassed or louder or softer, as coded audio is
_STEP_S = 0.01


def _no_animal(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """One window without an animal: each kind is as likely as the others."""
    makers = (
        noises.speech,
        noises.machine,
        noises.siren,
        noises.rain,
        noises.silence,
        lambda rng, seconds: noises.ambient(rng, seconds, rng.uniform(-65, -35)),
    )
    return makers[rng.integers(len(makers))](rng, seconds)


def _window_starts(calls: list[tuple[float, float]], total_s: float, seconds: float) -> np.ndarray:
    """Starts (s) of windows with enough calling inside, or with the most there is."""
    starts = np.arange(0.0, max(total_s - seconds, 0.0) + 1e-9, _STEP_S)
    inside = np.zeros(len(starts))
    for start_s, end_s in calls:
        shared_s = np.minimum(starts + seconds, end_s) - np.maximum(starts, start_s)
        inside += np.clip(shared_s, 0, None)
    return starts[inside >= min(MIN_CALL_S, inside.max())]


def _animal(class_name: str, rng: np.random.Generator, seconds: float) -> np.ndarray:
    total_s = max(PHRASE_S, seconds)
    waveform, calls = phrase(class_name, rng, total_s)
    first = round(rng.choice(_window_starts(calls, total_s, seconds)) * SAMPLE_RATE_HZ)
    n = noises.samples_in(seconds)
    first = min(first, len(waveform) - n)
    return waveform[first : first + n]


def _lowpassed(waveform: np.ndarray, cutoff_hz: float) -> np.ndarray:
    """Without what lies above the cutoff, over an edge of 500 Hz."""
    hz = np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE_HZ)
    gain = np.clip((cutoff_hz + 500 - hz) / 500, 0, 1)
    return np.fft.irfft(np.fft.rfft(waveform) * gain, len(waveform)).astype(np.float32)


def _changed(rng: np.random.Generator, waveform: np.ndarray) -> np.ndarray:
    if rng.random() < 0.5:
        return _lowpassed(waveform, rng.uniform(8000, 14_000))
    return noises.limit(waveform * np.float32(10 ** (rng.uniform(-6, 6) / 20)))


def sample_sounds(
    purpose: str, seed: int, n: int, *, seconds: float = 3.4133, other_fraction: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Random windows of n different sound tracks with their classes.

    Returns waveforms float32 [n, round(seconds * 32000)] at 32 kHz within [-1, 1], and labels int64
    [n]: the index in CLASSES, balanced, or -1 for the ``other_fraction`` of windows without an
    animal. Raises ValueError for an unknown purpose.
    """
    others = round(n * other_fraction)
    labels = np.concatenate([np.full(others, OTHER), np.arange(n - others) % len(CLASSES)])
    labels = stream(purpose, seed, "sounds", "labels", n).permutation(labels).astype(np.int64)
    waveforms = np.empty((n, noises.samples_in(seconds)), dtype=np.float32)
    for index, label in enumerate(labels):
        rng = stream(purpose, seed, "sounds", index)
        name = "" if label == OTHER else CLASSES[label]
        waveform = _animal(name, rng, seconds) if name else _no_animal(rng, seconds)
        waveforms[index] = _changed(rng, waveform) if rng.random() < CHANGED_FRACTION else waveform
    return waveforms, labels
