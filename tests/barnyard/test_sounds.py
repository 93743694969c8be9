"""The sounds of the world: levels, timing, repeatability, and what a real speech detector says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.barnyard import noises, sounds, voices
from nano4m_audio.barnyard.streams import CLASSES, stream

RATE_HZ = noises.SAMPLE_RATE_HZ
SEEDS = st.integers(0, 10_000)


def _dbfs(waveform: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(waveform, dtype=np.float64)))


def _calling(n: int, calls: list[tuple[float, float]]) -> np.ndarray:
    inside = np.zeros(n, dtype=bool)
    for start_s, end_s in calls:
        inside[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)] = True
    return inside


# ---- phrases -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CLASSES), SEEDS, st.sampled_from([1.0, 3.4133, 6.0, 10.0]))
def test_phrase_calls_early_often_and_at_its_level(
    class_name: str, seed: int, seconds: float
) -> None:
    waveform, calls = voices.phrase(class_name, stream("test", seed, "phrase"), seconds)
    inside = _calling(len(waveform), calls)
    assert waveform.shape == (round(seconds * RATE_HZ),) and waveform.dtype == np.float32
    assert np.abs(waveform).max() < 1
    assert 0 <= calls[0][0] < 1
    assert all(end_s > start_s for start_s, end_s in calls) and calls[-1][1] <= seconds + 1e-4
    assert all(a[1] < b[0] for a, b in zip(calls, calls[1:], strict=False))
    assert inside.mean() >= 0.35
    assert -24 <= _dbfs(waveform[inside]) <= -16
    assert -60 <= _dbfs(waveform[~inside]) <= -50


@pytest.mark.parametrize("class_name", CLASSES)
def test_six_seconds_hold_several_calls(class_name: str) -> None:
    for seed in range(8):
        assert len(voices.phrase(class_name, stream("test", seed, "count"), 6.0)[1]) >= 2


def test_call_is_one_utterance_at_the_nominal_level() -> None:
    for class_name in CLASSES:
        waveform = voices.call(class_name, stream("test", 1, "call", class_name))
        assert waveform.dtype == np.float32 and 0.2 < len(waveform) / RATE_HZ < 4
        assert _dbfs(waveform) == pytest.approx(-20, abs=1)


def test_unknown_class_is_refused() -> None:
    with pytest.raises(KeyError):
        voices.phrase("fox", stream("test", 0), 2.0)


def _bands(waveform: np.ndarray) -> np.ndarray:
    """Mean and spread over time of the level in 24 bands, and how fast the loudness changes."""
    frames = waveform[: len(waveform) // 1024 * 1024].reshape(-1, 1024) * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.unique(np.geomspace(2, 400, 25).astype(int))
    level = 10 * np.log10(np.add.reduceat(power, edges, axis=1) + 1e-6)
    return np.concatenate([level.mean(0), level.std(0), np.abs(np.diff(level, axis=0)).mean(0)])


def test_classes_are_told_apart_by_their_nearest_average() -> None:
    features = np.array(
        [
            [_bands(voices.phrase(c, stream("test", k, "tell", c), 4.0)[0]) for k in range(12)]
            for c in CLASSES
        ]
    )
    features /= features.std(axis=(0, 1))
    averages = features[:, :6].mean(axis=1)
    distance = np.linalg.norm(features[:, 6:, None] - averages[None, None], axis=-1)
    right = distance.argmin(-1) == np.arange(len(CLASSES))[:, None]
    assert right.mean() >= 0.95


# ---- building blocks ---------------------------------------------------------------------------


def test_the_first_harmonic_follows_the_pitch() -> None:
    pitch_hz = noises.glide((70, 75), 64 * 200)
    expected = np.sin(2 * np.pi * np.cumsum(pitch_hz.astype(np.float64) / RATE_HZ))
    heard = noises.harmonics(pitch_hz, noises.Tract((), (), 0.0, 100.0))
    assert np.corrcoef(heard, expected)[0, 1] > 0.9999


@pytest.mark.parametrize("tilt_db", [0.0, -6.0206])
def test_every_harmonic_has_its_amplitude(tilt_db: float) -> None:
    pitch_hz = np.full(RATE_HZ, 100, dtype=np.float32)
    heard = noises.harmonics(pitch_hz, noises.Tract((), (), tilt_db, 8000.0))
    number = np.arange(1, 60)
    amplitude = np.abs(np.fft.rfft(heard))[100 * number] * 2 / RATE_HZ
    assert np.allclose(amplitude, number ** (tilt_db / 6.0206), rtol=2e-3)


def test_formants_lift_the_harmonics_near_them() -> None:
    pitch_hz = np.full(RATE_HZ, 100, dtype=np.float32)
    heard = noises.harmonics(pitch_hz, noises.Tract(((1000.0,),), (60.0,), 0.0, 5000.0))
    spectrum = np.abs(np.fft.rfft(heard))
    assert spectrum.argmax() == 1000
    assert spectrum[1050] < 1e-3 * spectrum[1000] and spectrum[5100] < 1e-3 * spectrum[1000]


def test_shaped_noise_follows_its_points() -> None:
    rng = stream("test", 0, "noise")
    heard = noises.shaped_noise(rng, RATE_HZ, [0, 2000, 2001, 16_000], [0, 0, -40, -40])
    spectrum = np.abs(np.fft.rfft(heard)) ** 2
    step_db = 10 * np.log10(spectrum[100:1900].mean() / spectrum[2100:].mean())
    assert step_db == pytest.approx(40, abs=1) and _dbfs(heard) == pytest.approx(0, abs=0.01)


@given(SEEDS, st.floats(0.1, 8.0))
@settings(max_examples=20, deadline=None)
def test_limit_keeps_small_values_and_bounds_the_rest(seed: int, scale: float) -> None:
    waveform = (stream("test", seed).standard_normal(500) * scale).astype(np.float32)
    bent = noises.limit(waveform)
    small = np.abs(waveform) <= 0.7
    assert np.array_equal(bent[small], waveform[small]) and np.abs(bent).max() < 1
    assert np.array_equal(np.argsort(waveform[small]), np.argsort(bent[small]))


@pytest.mark.parametrize("name", ["speech", "machine", "siren", "rain", "ambient", "silence"])
@pytest.mark.parametrize("seconds", [0.3, 3.4133])
def test_noises_have_the_length_and_stay_in_range(name: str, seconds: float) -> None:
    for seed in range(4):
        waveform = getattr(noises, name)(stream("test", seed, name), seconds)
        assert waveform.shape == (round(seconds * RATE_HZ),) and waveform.dtype == np.float32
        assert np.isfinite(waveform).all() and np.abs(waveform).max() < 1


def test_ambient_and_silence_are_quiet() -> None:
    assert _dbfs(noises.ambient(stream("test", 0), 2.0)) == pytest.approx(-55, abs=0.1)
    kinds = set()
    for seed in range(12):
        waveform = noises.silence(stream("test", seed), 1.0)
        kinds.add(bool(waveform.any()))
        assert not waveform.any() or _dbfs(waveform) == pytest.approx(-78, abs=0.1)
    assert kinds == {False, True}


# ---- labelled windows --------------------------------------------------------------------------


def test_windows_are_balanced_and_repeatable() -> None:
    waveforms, labels = sounds.sample_sounds("test", 3, 44, seconds=1.5, other_fraction=0.25)
    again, same = sounds.sample_sounds("test", 3, 44, seconds=1.5, other_fraction=0.25)
    assert waveforms.shape == (44, 48_000) and waveforms.dtype == np.float32
    assert labels.dtype == np.int64
    assert dict(zip(*np.unique(labels, return_counts=True), strict=True)) == {
        -1: 11,
        **dict.fromkeys(range(11), 3),
    }
    assert waveforms.tobytes() == again.tobytes() and labels.tobytes() == same.tobytes()
    assert np.abs(waveforms).max() < 1


def test_purposes_and_seeds_share_no_window() -> None:
    sets = [
        sounds.sample_sounds(purpose, seed, 11, seconds=1.0)[0]
        for purpose, seed in (("demo", 1), ("mini", 1), ("test", 1), ("test", 2))
    ]
    unit = np.concatenate(sets).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    alike = np.abs(unit @ unit.T) - np.eye(len(unit))
    assert alike.max() < 0.8


def test_unknown_purpose_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown purpose"):
        sounds.sample_sounds("training", 0, 1)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(CLASSES), SEEDS, st.sampled_from([1.0, 3.4133]))
def test_every_window_start_leaves_calling_inside(
    class_name: str, seed: int, seconds: float
) -> None:
    _, calls = voices.phrase(class_name, stream("test", seed, "window"), 6.0)
    for start_s in sounds._window_starts(calls, 6.0, seconds)[::7]:
        inside_s = sum(
            max(0.0, min(end, start_s + seconds) - max(begin, start_s)) for begin, end in calls
        )
        assert inside_s >= sounds.MIN_CALL_S - 1e-9


def test_lowpassed_windows_lose_only_what_lies_above() -> None:
    noise = noises.shaped_noise(stream("test", 0), RATE_HZ, [0, 16_000], [0, 0])
    before, after = (np.abs(np.fft.rfft(x)) for x in (noise, sounds._lowpassed(noise, 9000.0)))
    assert np.allclose(before[:8999], after[:8999], rtol=1e-3, atol=0.05)
    assert after[9501:].max() < 1e-3 * before.max()


# ---- a real speech detector --------------------------------------------------------------------


@pytest.fixture(scope="module")
def voiced_share():
    """The share of a 32 kHz waveform that Silero calls speech."""
    silero = pytest.importorskip("silero_vad", reason="the speech detector is not installed")
    import torch
    from silero_vad.sequence_vad import get_speech_timestamps_sequence
    from torchaudio.functional import resample

    model = silero.load_silero_vad(sequence=True)

    def share(waveform: np.ndarray) -> float:
        at_16k = resample(torch.from_numpy(waveform), RATE_HZ, 16_000).numpy()
        spans = get_speech_timestamps_sequence(at_16k, model)
        return sum(span["end"] - span["start"] for span in spans) / len(at_16k)

    return share


def test_animals_are_not_taken_for_speech(voiced_share) -> None:
    shares = [
        voiced_share(voices.phrase(c, stream("test", k, "silero", c), 6.0)[0])
        for c in CLASSES
        for k in range(3)
    ]
    assert max(shares) < 0.10
    assert np.mean(np.array(shares) < 0.05) >= 0.97


def test_talking_is_heard_as_speech_even_over_an_animal(voiced_share) -> None:
    for seed, class_name in enumerate(CLASSES):
        talk = noises.speech(stream("test", seed, "talk"), 6.0)
        animal = voices.phrase(class_name, stream("test", seed, "under"), 6.0)[0]
        mix = noises.limit(noises.level(talk, -20.0) + noises.level(animal, -23.0))
        assert voiced_share(talk) >= 0.3
        assert voiced_share(mix) >= 0.3


def test_machines_and_weather_are_not_taken_for_speech(voiced_share) -> None:
    for name in ("machine", "siren", "rain", "ambient", "silence"):
        for seed in range(3):
            assert voiced_share(getattr(noises, name)(stream("test", seed, name), 6.0)) < 0.05
