"""Sounds that are no animal: talking, machines, sirens, rain, room noise, silence.

Also the two building blocks of every sound of the world: ``harmonics`` (a pitched source heard
through formants) and ``shaped_noise``. All waveforms are mono float32 at 32 kHz within [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SAMPLE_RATE_HZ = 32_000
HOP = 64  # samples between two evaluations of formants and amplitudes: 2 ms


@dataclass(frozen=True)
class Tract:
    """What a pitched source is heard through.

    Every formant glides through its points (Hz) in equal steps over the sound; ``bandwidths_hz``
    has one entry per formant; ``tilt_db`` is the slope of the source in dB per octave.
    """

    formants_hz: tuple[Sequence[float] | np.ndarray, ...]
    bandwidths_hz: tuple[float, ...]
    tilt_db: float = -6.0
    top_hz: float = 10_000.0


def glide(points: Sequence[float] | np.ndarray, n: int) -> np.ndarray:
    """Values through equally spaced points, eased in and out of each, float32 [n]."""
    values = np.asarray(points, dtype=np.float64)
    if len(values) == 1:
        return np.full(n, values[0], dtype=np.float32)
    position = np.linspace(0, len(values) - 1, n)
    left = np.minimum(position.astype(int), len(values) - 2)
    part = position - left
    part = part * part * (3 - 2 * part)
    return (values[left] + (values[left + 1] - values[left]) * part).astype(np.float32)


def wander(rng: np.random.Generator, n: int, rate_hz: float) -> np.ndarray:
    """A slow random curve of about unit size, ``rate_hz`` new values a second, float32 [n]."""
    points = rng.standard_normal(max(2, round(n / SAMPLE_RATE_HZ * rate_hz) + 2))
    return glide(points, n)


def wave(n: int, rate_hz: float, phase: float = 0.0) -> np.ndarray:
    """A sine of fixed rate, float32 [n]."""
    turns = np.arange(n) * (rate_hz / SAMPLE_RATE_HZ) + phase
    return np.sin(2 * np.pi * turns).astype(np.float32)


def swell(n: int, attack_s: float, release_s: float) -> np.ndarray:
    """An amplitude curve that rises and falls as raised cosines, float32 [n]."""
    shape = np.ones(n, dtype=np.float32)
    for seconds, back in ((attack_s, False), (release_s, True)):
        length = min(round(seconds * SAMPLE_RATE_HZ), n)
        ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / max(length, 1))
        if back:
            shape[n - length :] *= ramp[::-1].astype(np.float32)
        else:
            shape[:length] *= ramp.astype(np.float32)
    return shape


def level(waveform: np.ndarray, dbfs: float) -> np.ndarray:
    """The waveform scaled to an RMS level in dBFS; silence stays silence."""
    rms = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if waveform.size else 0.0
    if rms == 0.0:
        return waveform.astype(np.float32)
    return (waveform * (10 ** (dbfs / 20) / rms)).astype(np.float32)


def limit(waveform: np.ndarray) -> np.ndarray:
    """Peaks beyond 0.7 bent smoothly to stay below 1."""
    size = np.abs(waveform)
    bent = 0.7 + 0.29 * np.tanh((size - 0.7) / 0.29)
    return np.where(size > 0.7, np.sign(waveform) * bent, waveform).astype(np.float32)


def samples_in(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)


def _harmonic_gains(pitch_hz: np.ndarray, tract: Tract, count: int) -> np.ndarray:
    """Amplitude of every harmonic at every control point, float32 [count, points]."""
    points = len(pitch_hz)
    number = np.arange(1, count + 1, dtype=np.float32)[:, None]
    hz = number * pitch_hz[None, :]
    gain = np.power(number, np.float32(tract.tilt_db / 6.0206))
    gain = gain * np.clip((tract.top_hz - hz) / (0.15 * tract.top_hz), 0, 1)
    for formant, bandwidth_hz in zip(tract.formants_hz, tract.bandwidths_hz, strict=True):
        centre = glide(formant, points)[None, :]
        square = centre * centre
        gain = gain * square / np.sqrt((square - hz * hz) ** 2 + (bandwidth_hz * hz) ** 2)
    return gain.astype(np.float32)


def harmonics(pitch_hz: np.ndarray, tract: Tract) -> np.ndarray:
    """A sum of harmonics of a moving pitch (float32 [n], Hz) heard through a tract, float32 [n]."""
    n = len(pitch_hz)
    blocks = -(-n // HOP)
    padded = np.pad(pitch_hz, (0, blocks * HOP - n), mode="edge")
    count = int(min(120, max(1, tract.top_hz // float(padded.min()))))
    control = np.append(padded[::HOP], padded[-1])
    gain = _harmonic_gains(control, tract, count)
    turns = (np.cumsum(padded.astype(np.float64) / SAMPLE_RATE_HZ) % 1.0).reshape(blocks, HOP)
    angle = (2 * np.pi * turns).astype(np.float32)
    twice_cos, current = 2 * np.cos(angle), np.sin(angle)
    previous, part = np.zeros_like(current), np.empty_like(current)
    rise = np.diff(gain, axis=1)
    total, slope = np.zeros_like(current), np.zeros_like(current)
    for k in range(count):
        # Signs that follow no period spread a pulse over its period: same spectrum, lower peaks.
        sign = np.float32(1 - 2 * ((k * k // 5) % 2))
        np.multiply(current, sign * gain[k, :-1, None], out=part)
        total += part
        np.multiply(current, sign * rise[k, :, None], out=part)
        slope += part
        # sin((k + 1) x) = 2 cos(x) sin(k x) - sin((k - 1) x)
        np.multiply(twice_cos, current, out=part)
        part -= previous
        previous, current, part = current, part, previous
    total += slope * np.linspace(0, 1, HOP, endpoint=False, dtype=np.float32)
    return total.reshape(-1)[:n]


def shaped_noise(
    rng: np.random.Generator, n: int, hz: Sequence[float], db: Sequence[float]
) -> np.ndarray:
    """Unit-RMS Gaussian noise whose spectrum runs through the points (hz, db), float32 [n]."""
    size = 1 << max(8, int(np.ceil(np.log2(max(n, 1)))))
    bins = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
    spectrum = rng.standard_normal((2, len(bins)), dtype=np.float32)
    gain = (10 ** (np.interp(bins, hz, db) / 20)).astype(np.float32)
    waveform = np.fft.irfft((spectrum[0] + 1j * spectrum[1]) * gain, size)[:n]
    return level(waveform, 0.0)


# ---- room, weather, machines -------------------------------------------------------------------


def ambient(rng: np.random.Generator, seconds: float, level_dbfs: float = -55.0) -> np.ndarray:
    """Quiet outdoor noise, about 3 dB less per octave, at an RMS level."""
    hz = [0, 60, 120, 250, 500, 1000, 2000, 4000, 8000, 16000]
    db = [-20, 0, -3, -6, -9, -12, -15, -18, -21, -26]
    shape = [value + rng.uniform(-2, 2) for value in db]
    return level(shaped_noise(rng, samples_in(seconds), hz, shape), level_dbfs)


def silence(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Digital zero, or noise at -78 dBFS as of an unplugged microphone."""
    if rng.random() < 0.5:
        return np.zeros(samples_in(seconds), dtype=np.float32)
    return ambient(rng, seconds, -78.0)


def machine(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """An engine: a firing rate with many harmonics, knocking noise and a whining gear."""
    n = samples_in(seconds)
    rate_hz = rng.uniform(22, 45) * (1 + 0.03 * wander(rng, n, 1.0))
    body = harmonics(rate_hz, Tract(((rng.uniform(90, 200),), (900.0,)), (90.0, 900.0), -5, 3000))
    knock = np.maximum(0, np.sin(2 * np.pi * np.cumsum(rate_hz / SAMPLE_RATE_HZ))) ** 6
    rattle = shaped_noise(rng, n, [0, 300, 1500, 5000, 16000], [-40, -15, 0, -6, -30]) * knock
    whine = np.sin(2 * np.pi * np.cumsum(rate_hz * rng.uniform(31, 61) / SAMPLE_RATE_HZ))
    mix = level(body, 0) + rng.uniform(0.4, 1.0) * level(rattle, 0) + rng.uniform(0.05, 0.3) * whine
    return limit(level(mix, rng.uniform(-24, -17)))


def siren(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A wailing or two-tone siren with a few harmonics."""
    n = samples_in(seconds)
    low_hz, span = rng.uniform(500, 750), rng.uniform(1.5, 2.2)
    sweep = wave(n, rng.uniform(0.25, 3.0), rng.random())
    if rng.random() < 0.4:
        sweep = np.clip(sweep * 30, -1, 1)
        span = 1.26
    pitch_hz = low_hz * span ** (0.5 + 0.5 * sweep)
    horn = harmonics(pitch_hz, Tract(((rng.uniform(1500, 2600),),), (1500.0,), -7, 12_000))
    return limit(level(horn, rng.uniform(-24, -17)) + ambient(rng, seconds, -50))


def rain(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Steady hiss with a patter of single drops."""
    n = samples_in(seconds)
    hiss = shaped_noise(rng, n, [0, 400, 2000, 6000, 16000], [-30, -14, -3, 0, -6])
    hits = np.zeros(n, dtype=np.float32)
    where = rng.integers(0, n, max(1, round(rng.uniform(20, 90) * seconds)))
    hits[where] = rng.exponential(1.0, len(where))
    decay = np.exp(-np.arange(960) / 120).astype(np.float32)
    drops = np.convolve(hits, decay)[:n] * shaped_noise(
        rng, n, [0, 900, 3000, 16000], [-30, 0, 0, -9]
    )
    mix = hiss * (1 + 0.15 * wander(rng, n, 1.0)) + rng.uniform(0.5, 2.0) * drops
    return limit(level(mix, rng.uniform(-30, -20)))


# ---- talking -----------------------------------------------------------------------------------

# First four formants (Hz) of an average vocal tract.
_VOWELS_HZ = np.array(
    [
        [730, 1150, 2500, 3500],
        [560, 1800, 2500, 3550],
        [300, 2250, 2950, 3600],
        [520, 920, 2450, 3400],
        [330, 900, 2300, 3350],
        [500, 1480, 2450, 3500],
        [420, 1950, 2600, 3550],
    ]
)
_PLACES_HZ = np.array([[250, 900, 2250, 3400], [300, 1700, 2600, 3500], [280, 2000, 2400, 3400]])
_CONSONANTS = ("hiss", "hush", "stop", "nasal", "glide")


@dataclass
class _Talk:
    """Tracks of one speaker, one value per 2 ms."""

    pitch_hz: np.ndarray
    formants_hz: np.ndarray
    voicing: np.ndarray
    hiss: np.ndarray
    hush: np.ndarray


def _syllable(rng: np.random.Generator, talk: _Talk, start: int, end: int, size: float) -> None:
    """Write one consonant and vowel into the tracks between two frames."""
    length = end - start
    onset = min(round(rng.uniform(0.25, 0.4) * length), 50)
    kind = _CONSONANTS[rng.integers(len(_CONSONANTS))]
    vowels = _VOWELS_HZ[rng.integers(len(_VOWELS_HZ), size=2)] * size
    vowels[1] = 0.6 * vowels[0] + 0.4 * vowels[1]
    place = _PLACES_HZ[rng.integers(len(_PLACES_HZ))] * size
    rest = length - onset
    path = np.concatenate([np.tile(place, (onset, 1)), np.tile(vowels[0], (rest, 1))])
    blend = np.linspace(0, 1, rest)[:, None]
    path[onset:] = vowels[0] * (1 - blend) + vowels[1] * blend
    talk.formants_hz[start:end] = path
    loud = rng.uniform(0.7, 1.0)
    talk.voicing[start + onset : end] = loud * np.sin(np.linspace(0.35, 2.75, rest)) ** 0.6
    if kind in ("nasal", "glide"):
        talk.voicing[start : start + onset] = loud * (0.35 if kind == "nasal" else 0.55)
    elif kind == "stop":
        talk.hiss[start + onset - 6 : start + onset + 4] = 0.5
    else:
        track = talk.hiss if kind == "hiss" else talk.hush
        track[start : start + onset] = rng.uniform(0.5, 1.0) * np.sin(np.linspace(0.2, 2.9, onset))


def _utterance(rng: np.random.Generator, talk: _Talk, start: int, end: int, voice: tuple) -> None:
    """Fill the tracks with syllables between two frames: pitch falls, stressed syllables rise."""
    pitch_hz, size, rate_hz = voice
    length = end - start
    fall = np.linspace(1.12, 0.84, length)
    bends = glide(rng.uniform(0.9, 1.15, max(3, round(length * 0.002 * rate_hz))), length)
    talk.pitch_hz[start:end] = pitch_hz * fall * bends
    at = start
    while end - at > 40:
        step = round(500 / rate_hz * rng.uniform(0.8, 1.25))
        stop = end if end - at - step < 40 else at + step
        _syllable(rng, talk, at, stop, size)
        at = stop


def _smoothed(track: np.ndarray, frames: int) -> np.ndarray:
    """A running mean over frames along the first axis."""
    kernel = np.hanning(frames + 2)[1:-1]
    kernel /= kernel.sum()
    pad = [(frames // 2, frames - 1 - frames // 2)] + [(0, 0)] * (track.ndim - 1)
    padded = np.pad(track, pad, mode="edge")
    columns = padded.reshape(len(padded), -1).T
    return np.stack([np.convolve(c, kernel, "valid") for c in columns], -1).reshape(track.shape)


def _talk_tracks(rng: np.random.Generator, frames: int) -> _Talk:
    """Utterances of 1 to 2.5 s with short pauses, one speaker."""
    pitch_hz = float(np.exp(rng.uniform(np.log(100), np.log(200))))
    size = 0.94 + 0.22 * (pitch_hz - 100) / 100 + rng.uniform(-0.04, 0.04)
    voice = (pitch_hz, size, rng.uniform(3.2, 4.8))
    talk = _Talk(
        np.full(frames, pitch_hz),
        np.tile(_VOWELS_HZ[5] * size, (frames, 1)),
        *(np.zeros(frames) for _ in range(3)),
    )
    at = round(rng.uniform(0.05, 0.25) * 500)
    while frames - at > 100:
        end = min(at + round(rng.uniform(1.0, 2.5) * 500), frames)
        _utterance(rng, talk, at, end, voice)
        at = end + round(rng.uniform(0.2, 0.4) * 500)
    talk.formants_hz = _smoothed(talk.formants_hz, 25)
    talk.pitch_hz = _smoothed(talk.pitch_hz, 25)
    for name in ("voicing", "hiss", "hush"):
        setattr(talk, name, _smoothed(getattr(talk, name), 9))
    return talk


def speech(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Talking without words: syllables of one speaker in short utterances, about -20 dBFS."""
    n = samples_in(seconds)
    talk = _talk_tracks(rng, -(-n // HOP) + 1)
    spread = [
        np.interp(np.arange(n) / HOP, np.arange(len(track)), track).astype(np.float32)
        for track in (talk.pitch_hz, talk.voicing, talk.hiss, talk.hush)
    ]
    pitch_hz = spread[0] * (1 + 0.006 * wander(rng, n, 60) + 0.01 * wander(rng, n, 6))
    tract = Tract(tuple(talk.formants_hz.T), (70.0, 90.0, 130.0, 200.0), -5.0, 7500.0)
    voiced = level(harmonics(pitch_hz, tract) * spread[1], 0.0)
    breath = shaped_noise(rng, n, [0, 800, 2500, 7000, 16000], [-20, -8, 0, -10, -25])
    hiss = shaped_noise(rng, n, [0, 2500, 4500, 7500, 16000], [-50, -20, 0, 0, -20])
    hush = shaped_noise(rng, n, [0, 1200, 2500, 4500, 16000], [-45, -15, 0, -6, -30])
    mix = voiced + 0.03 * breath * spread[1] + 0.25 * hiss * spread[2] + 0.3 * hush * spread[3]
    return limit(level(mix, rng.uniform(-23, -18)) + ambient(rng, seconds, -60))
