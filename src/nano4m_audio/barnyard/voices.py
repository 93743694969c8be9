"""The voices of the eleven animals: a pitched source and noise, shaped as each class calls.

A call is one utterance as a listener would count it: a moo, a whinny, a bout of clucks. A phrase is
the sound track of a clip: several calls of one individual over low outdoor noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nano4m_audio.barnyard.noises import (
    SAMPLE_RATE_HZ,
    Tract,
    ambient,
    glide,
    harmonics,
    level,
    limit,
    samples_in,
    shaped_noise,
    swell,
    wander,
    wave,
)

MIN_COVERAGE = 0.42  # share of a phrase the next gap must leave covered by calls
FIRST_CALL_S = (0.05, 0.7)


@dataclass(frozen=True)
class Individual:
    """What makes two animals of a class sound different; every factor is near 1."""

    pitch: float
    size: float
    tempo: float
    rough: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Individual:
        pitch, size, tempo = np.exp(rng.uniform(-1, 1, 3) * (0.14, 0.1, 0.14))
        return cls(float(pitch), float(size), float(tempo), float(rng.uniform(0.7, 1.3)))

    def tract(self, formants: tuple, bandwidths: tuple, tilt_db: float, top_hz: float) -> Tract:
        """A tract whose formants follow the size of this animal."""
        scaled = tuple(np.asarray(points, dtype=float) * self.size for points in formants)
        return Tract(scaled, bandwidths, tilt_db, top_hz)

    def length(self, rng: np.random.Generator, low_s: float, high_s: float) -> int:
        """Samples of one part of a call, between two durations at normal tempo."""
        return samples_in(rng.uniform(low_s, high_s) / self.tempo)


def _pause(who: Individual, rng: np.random.Generator, low_s: float, high_s: float) -> np.ndarray:
    return np.zeros(who.length(rng, low_s, high_s), dtype=np.float32)


def _pitch(who: Individual, rng: np.random.Generator, points: tuple, n: int) -> np.ndarray:
    """A pitch curve through points (Hz) with the small unsteadiness of a throat."""
    unsteady = 1 + who.rough * (0.008 * wander(rng, n, 70) + 0.012 * wander(rng, n, 8))
    return glide(points, n) * who.pitch * rng.uniform(0.96, 1.04) * unsteady


def _noise(
    who: Individual, rng: np.random.Generator, n: int, hz: tuple[float, ...], db: tuple[float, ...]
) -> np.ndarray:
    return shaped_noise(rng, n, [point * who.size for point in hz], db)


def _grunt(who: Individual, rng: np.random.Generator, n: int) -> np.ndarray:
    """One oink: a nasal snort that flutters about forty times a second."""
    flutter_hz = _pitch(who, rng, (36, 46, 33), n)
    turns = np.cumsum(flutter_hz / SAMPLE_RATE_HZ)
    pulses = (0.5 + 0.5 * np.sin(2 * np.pi * turns)) ** 3
    snort = _noise(
        who, rng, n, (0, 180, 450, 900, 2400, 4200, 16000), (-40, -6, 0, -12, -4, -18, -45)
    )
    throat = harmonics(flutter_hz, who.tract(((380, 650, 420), (1900,)), (160, 500), -3, 3000))
    mix = level(snort * (0.15 + pulses), 0) + 0.8 * level(throat, 0)
    return mix * swell(n, 0.02, 0.08)


def _pig(who: Individual, rng: np.random.Generator) -> np.ndarray:
    parts = []
    for _ in range(rng.integers(2, 5)):
        parts += [_grunt(who, rng, who.length(rng, 0.16, 0.32)), _pause(who, rng, 0.05, 0.12)]
    if rng.random() < 0.35:
        n = who.length(rng, 0.3, 0.5)
        squeal = _pitch(who, rng, (900, 1500, 1650, 1100), n) * (1 + 0.05 * wander(rng, n, 90))
        tone = harmonics(squeal, who.tract(((1700,), (3300,)), (900, 900), -4, 10_000))
        parts += [level(tone, -1) * swell(n, 0.03, 0.1)]
    return np.concatenate(parts)


def _sheep(who: Individual, rng: np.random.Generator) -> np.ndarray:
    """A bleat: nasal, shaken about ten times a second in loudness and pitch."""
    n = who.length(rng, 0.75, 1.25)
    shake = wave(n, rng.uniform(9, 12) * who.tempo, rng.random())
    pitch_hz = _pitch(who, rng, (330, 400, 385, 330), n) * (1 + 0.045 * shake)
    tract = who.tract(((900, 1150, 1100), (2500,), (3900,)), (260, 380, 700), -3.5, 9000)
    tone = level(harmonics(pitch_hz, tract), 0)
    rasp = _noise(who, rng, n, (0, 700, 1300, 3000, 6000, 16000), (-40, -10, 0, -3, -14, -40))
    return (tone + 0.4 * who.rough * rasp) * (0.55 + 0.45 * shake) * swell(n, 0.06, 0.2)


def _bark(who: Individual, rng: np.random.Generator, n: int) -> np.ndarray:
    pitch_hz = _pitch(who, rng, (330, 620, 520, 300), n) * (
        1 + 0.05 * who.rough * wander(rng, n, 150)
    )
    tract = who.tract(((600, 1050, 700), (1500, 1900, 1400), (3300,)), (250, 350, 800), -3, 8000)
    tone = level(harmonics(pitch_hz, tract), 0)
    rasp = _noise(who, rng, n, (0, 400, 900, 2000, 5000, 16000), (-35, -6, 0, -3, -14, -38))
    return (tone + 0.7 * who.rough * rasp) * swell(n, 0.012, 0.1)


def _dog(who: Individual, rng: np.random.Generator) -> np.ndarray:
    parts = []
    for _ in range(rng.integers(2, 4)):
        parts += [_bark(who, rng, who.length(rng, 0.15, 0.24)), _pause(who, rng, 0.1, 0.2)]
    return np.concatenate(parts[:-1])


def _cat(who: Individual, rng: np.random.Generator) -> np.ndarray:
    """A meow: pitch arches, the mouth opens and closes."""
    n = who.length(rng, 0.75, 1.3)
    pitch_hz = _pitch(who, rng, (560, 760, 800, 700, 520), n) * (1 + 0.012 * wave(n, 6.5))
    tract = who.tract(
        ((900, 1700, 1900, 1300, 800), (2600, 3400, 3300, 2500), (5200,)),
        (300, 450, 900),
        -4.5,
        11_000,
    )
    breath = _noise(who, rng, n, (0, 1200, 3000, 8000, 16000), (-40, -10, 0, -10, -30))
    return (level(harmonics(pitch_hz, tract), 0) + 0.06 * breath) * swell(n, 0.12, 0.3)


def _horse(who: Individual, rng: np.random.Generator) -> np.ndarray:
    """A whinny falls through an octave, shaking ever more, and ends in a snort."""
    n = who.length(rng, 1.2, 1.9)
    depth = glide((0.01, 0.05, 0.11, 0.13), n)
    shake = wave(n, rng.uniform(8, 11) * who.tempo, rng.random())
    pitch_hz = _pitch(who, rng, (1050, 1500, 1300, 950, 620), n) * (1 + depth * shake)
    tract = who.tract(((1500, 1900, 1300), (3400,), (5200,)), (600, 900, 1200), -4, 12_000)
    breath = _noise(who, rng, n, (0, 1000, 3000, 8000, 16000), (-40, -10, 0, -8, -25))
    call = (level(harmonics(pitch_hz, tract), 0) + 0.15 * who.rough * breath) * (
        1 + 3 * depth * shake
    )
    m = who.length(rng, 0.35, 0.6)
    pulses = np.maximum(0, wave(m, rng.uniform(17, 22))) ** 2
    lips = _noise(who, rng, m, (0, 150, 500, 1500, 4000, 16000), (-30, 0, -3, -10, -20, -45))
    snort = level(lips * pulses, -6) * swell(m, 0.05, 0.25)
    return np.concatenate([call * swell(n, 0.08, 0.15), snort])


def _cow(who: Individual, rng: np.random.Generator) -> np.ndarray:
    """A moo: hummed through a closed mouth, then opened; low and long."""
    n = who.length(rng, 1.4, 2.2)
    pitch_hz = _pitch(who, rng, (68, 82, 88, 84, 66), n)
    tract = who.tract(((190, 260, 420, 480, 360), (500, 620, 800, 760, 600)), (70, 120), -7, 1800)
    tone = level(harmonics(pitch_hz, tract), 0)
    growl = 1 + 0.25 * who.rough * np.sin(np.pi * np.cumsum(pitch_hz / SAMPLE_RATE_HZ))
    breath = _noise(who, rng, n, (0, 150, 500, 1200, 16000), (-20, 0, -8, -25, -60))
    return (tone * growl + 0.12 * breath) * glide((0.5, 0.8, 1, 1, 0.7), n) * swell(n, 0.2, 0.35)


def _cluck(who: Individual, rng: np.random.Generator, n: int, points: tuple) -> np.ndarray:
    pitch_hz = _pitch(who, rng, points, n)
    tract = who.tract(((1300,), (2700,), (4300,)), (350, 600, 900), -2, 10_000)
    rasp = _noise(who, rng, n, (0, 900, 1800, 4000, 16000), (-40, -6, 0, -8, -35))
    return (level(harmonics(pitch_hz, tract), 0) + 0.3 * who.rough * rasp) * swell(n, 0.006, 0.04)


def _chicken(who: Individual, rng: np.random.Generator) -> np.ndarray:
    """A bout of short clucks; the last one is often drawn out into a squawk."""
    parts = []
    for _ in range(rng.integers(4, 8)):
        n = who.length(rng, 0.06, 0.09)
        parts += [_cluck(who, rng, n, (480, 720, 430)), _pause(who, rng, 0.07, 0.16)]
    if rng.random() < 0.6:
        n = who.length(rng, 0.3, 0.45)
        parts += [1.3 * _cluck(who, rng, n, (620, 1150, 1250, 980)) * swell(n, 0.05, 0.12)]
    return np.concatenate(parts)


def _duck(who: Individual, rng: np.random.Generator) -> np.ndarray:
    """A run of quacks, each quieter and shorter: buzzing, nasal, all energy above 1 kHz."""
    parts = []
    count = int(rng.integers(3, 7))
    for index in range(count):
        n = round(who.length(rng, 0.15, 0.24) * (1 - 0.35 * index / count))
        pitch_hz = _pitch(who, rng, (290, 330, 255), n)
        tract = who.tract(((1350, 1750, 1250), (2900,), (4300,)), (220, 350, 600), 1.0, 9000)
        rasp = _noise(who, rng, n, (0, 900, 1600, 3200, 16000), (-50, -14, 0, -6, -40))
        quack = (level(harmonics(pitch_hz, tract), 0) + 0.4 * who.rough * rasp) * swell(
            n, 0.02, 0.06
        )
        parts += [quack * (1 - 0.5 * index / count), _pause(who, rng, 0.06, 0.12)]
    return np.concatenate(parts[:-1])


def _pigeon(who: Individual, rng: np.random.Generator) -> np.ndarray:
    """Coo-roo-coo: almost a pure tone, round, the middle one rolled."""
    parts = []
    for low_s, high_s, points, roll in (
        (0.22, 0.3, (330, 380, 370), 0.1),
        (0.55, 0.8, (390, 460, 440, 410), 0.6),
        (0.25, 0.35, (370, 350, 310), 0.1),
    ):
        n = who.length(rng, low_s, high_s)
        pitch_hz = _pitch(who, rng, points, n) * (1 + 0.03 * roll * wave(n, 24))
        tone = harmonics(pitch_hz, who.tract(((430,),), (500,), -18, 2000))
        parts += [level(tone, 0) * (1 - roll * (0.5 + 0.5 * wave(n, 24))) * swell(n, 0.06, 0.1)]
        parts += [_pause(who, rng, 0.05, 0.09)]
    return np.concatenate(parts[:-1])


def _coyote(who: Individual, rng: np.random.Generator) -> np.ndarray:
    """A few yips break into a howl that climbs fast, holds, and sinks."""
    parts = []
    for _ in range(rng.integers(0, 4)):
        n = who.length(rng, 0.07, 0.12)
        tone = harmonics(
            _pitch(who, rng, (900, 1700, 1100), n), who.tract(((1500,),), (900,), -9, 9000)
        )
        parts += [level(tone, -2) * swell(n, 0.015, 0.04), _pause(who, rng, 0.05, 0.1)]
    n = who.length(rng, 1.4, 2.1)
    pitch_hz = _pitch(who, rng, (480, 900, 1120, 1150, 1130, 1050, 760), n)
    pitch_hz = pitch_hz * (1 + 0.01 * wave(n, 5, rng.random()))
    tone = harmonics(pitch_hz, who.tract(((1100,), (2400,)), (700, 900), -11, 9000))
    return np.concatenate([*parts, level(tone, 0) * swell(n, 0.12, 0.5)])


def _roar(who: Individual, rng: np.random.Generator, n: int, lift: float) -> np.ndarray:
    pitch_hz = lift * _pitch(who, rng, (42, 62, 58, 44), n) * (1 + 0.12 * wander(rng, n, 45))
    tract = who.tract(((170, 330, 280, 180), (700, 950, 650)), (160, 300), -4, 2500)
    tone = level(harmonics(pitch_hz, tract), 0)
    rough = _noise(
        who, rng, n, (0, 60, 200, 700, 1800, 5000, 16000), (-20, -6, 0, -3, -12, -28, -50)
    )
    flutter = 0.35 + (0.5 + 0.5 * np.sin(2 * np.pi * np.cumsum(pitch_hz / 2 / SAMPLE_RATE_HZ))) ** 2
    return (0.8 * tone + 1.1 * who.rough * rough) * flutter


def _lion(who: Individual, rng: np.random.Generator) -> np.ndarray:
    """A long rough roar, often followed by a shorter one."""
    n = who.length(rng, 1.0, 1.7)
    parts = [_roar(who, rng, n, 1.0) * swell(n, 0.2, 0.5)]
    for _ in range(rng.integers(0, 3)):
        m = who.length(rng, 0.3, 0.45)
        grunt = 0.6 * _roar(who, rng, m, 0.85) * swell(m, 0.06, 0.2)
        parts += [_pause(who, rng, 0.08, 0.15), grunt]
    return np.concatenate(parts)


Utter = Callable[[Individual, np.random.Generator], np.ndarray]
#: Class -> what makes a call, and the gap after it [s].
_VOICES: dict[str, tuple[Utter, tuple[float, float]]] = {
    "pig": (_pig, (0.2, 0.7)),
    "sheep": (_sheep, (0.4, 1.1)),
    "dog": (_dog, (0.25, 0.7)),
    "cat": (_cat, (0.4, 1.2)),
    "horse": (_horse, (0.5, 1.4)),
    "cow": (_cow, (0.5, 1.4)),
    "chicken": (_chicken, (0.15, 0.6)),
    "duck": (_duck, (0.3, 0.9)),
    "pigeon": (_pigeon, (0.4, 1.0)),
    "coyote": (_coyote, (0.3, 1.0)),
    "lion": (_lion, (0.5, 1.2)),
}


def call(class_name: str, rng: np.random.Generator) -> np.ndarray:
    """One call of a new individual, float32 [n] at 32 kHz, RMS -20 dBFS.

    Raises KeyError for an unknown class.
    """
    return limit(level(_VOICES[class_name][0](Individual.draw(rng), rng), -20.0))


def phrase(
    class_name: str, rng: np.random.Generator, seconds: float
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """The sound track of a clip: several calls of one individual over outdoor noise.

    Returns the waveform (float32 [seconds * 32000] at 32 kHz; RMS -16 to -24 dBFS over the calls)
    and the calls as (start_s, end_s). The first starts within the first second; the last may be cut
    by the end of the clip. Raises KeyError for an unknown class.
    """
    utter, gap_s = _VOICES[class_name]
    who = Individual.draw(rng)
    n = samples_in(seconds)
    track = np.zeros(n, dtype=np.float32)
    calls: list[tuple[float, float]] = []
    covered_s = 0.0
    start = samples_in(min(rng.uniform(*FIRST_CALL_S), 0.3 * seconds))
    while not calls or n - start > samples_in(0.35):
        voice = level(utter(who, rng), -20.0)
        voice = voice * np.float32(10 ** (rng.uniform(-1.5, 1.5) / 20))
        if start + len(voice) > n:
            voice = voice[: n - start] * swell(n - start, 0.0, 0.08)
        end = start + len(voice)
        track[start:end] += voice
        calls.append((start / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ))
        covered_s += len(voice) / SAMPLE_RATE_HZ
        # A typical gap, shortened where the phrase would otherwise hold too little calling.
        longest_s = covered_s / MIN_COVERAGE - end / SAMPLE_RATE_HZ
        start = end + samples_in(max(0.12, min(rng.uniform(*gap_s), longest_s)))
    calling_db = rng.uniform(-23, -17) + 10 * np.log10(covered_s / seconds)
    return limit(level(track, calling_db) + ambient(rng, seconds, rng.uniform(-58, -52))), calls
