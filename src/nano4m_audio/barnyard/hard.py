"""Clips that are hard to judge, graded by ``hard``: 0 is as easy as any other clip, 1 is hopeless.

Troubles: the animal is there and calls, but a filter may not notice. Impostors: it is not, but a
filter may not notice that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nano4m_audio.barnyard import noises
from nano4m_audio.barnyard.scene import PATTERNS, Bodies, Scene, animal_at, joined, make_scene
from nano4m_audio.barnyard.streams import CLASSES
from nano4m_audio.barnyard.voices import phrase

PICTURE_TROUBLES = ("far", "hidden", "two_animals", "dusk")
SOUND_TROUBLES = ("quiet", "noisy", "off_screen")
TROUBLES = (*PICTURE_TROUBLES, *SOUND_TROUBLES)
IMPOSTORS = ("look_alike", "imitation")

_FARTHEST = 2.4  # times as far away as usual
_STONE = np.array([0.45, 0.45, 0.44])
_FRAME = 1024  # samples of a vocoder's frame


def hard_scene(
    scene: Scene, trouble: str, hard: float, class_name: str, rng: np.random.Generator
) -> Scene:
    """The scene with its trouble: farther away, behind bushes, beside another animal, or of stone.

    Other troubles, and those of the sound, leave it as it is.
    """
    if trouble == "far":
        farther = np.array([1, 1 + 0.5 * hard, 1 + (_FARTHEST - 1) * hard])
        camera = replace(scene.camera, position=scene.camera.position * farther)
        return replace(scene, camera=camera)
    if trouble == "hidden":
        return replace(scene, place=joined([scene.place, _bushes(scene, hard, rng)]))
    if trouble == "two_animals":
        other = _other(class_name, rng)
        return replace(scene, place=joined([scene.place, _neighbour(scene, other, hard, rng)]))
    if trouble == "look_alike":
        return replace(scene, animal=_statue(scene.animal, hard))
    return scene


def hard_picture(
    rgb: np.ndarray, trouble: str, hard: float, rng: np.random.Generator
) -> np.ndarray:
    """The frame, uint8 [H, W, 3], at dusk: dark, and grainy as a camera then is."""
    if trouble != "dusk":
        return rgb
    dark = rgb * np.float32(1 - 0.8 * hard)
    grain = rng.standard_normal(rgb.shape[:2], np.float32)[:, :, None] * np.float32(30 * hard)
    return (dark + grain).clip(0, 255).astype(np.uint8)


def hard_sound(
    sound: np.ndarray, trouble: str, hard: float, class_name: str, rng: np.random.Generator
) -> np.ndarray:
    """The sound track, float32 [n] at 32 kHz, with its trouble; those of the picture leave it."""
    seconds = len(sound) / noises.SAMPLE_RATE_HZ
    if trouble == "quiet":
        return noises.limit(_softer(sound, 12 + 22 * hard) + noises.ambient(rng, seconds, -50.0))
    if trouble == "noisy":
        maker = (noises.rain, noises.machine)[int(rng.integers(2))]
        return noises.limit(sound + _softer(maker(rng, seconds), 8 - 20 * hard))
    if trouble == "off_screen":
        other = phrase(_other(class_name, rng), rng, seconds)[0]
        return noises.limit(_softer(sound, 12 + 14 * hard) + _softer(other, 10 - 10 * hard))
    if trouble == "imitation":
        return _vocoded(sound, 1 + round(9 * hard), rng)
    return sound


def _other(class_name: str, rng: np.random.Generator) -> str:
    others = [name for name in CLASSES if name != class_name]
    return others[int(rng.integers(len(others)))]


def _softer(sound: np.ndarray, db: float) -> np.ndarray:
    return sound * np.float32(10 ** (-db / 20))


def _bushes(scene: Scene, hard: float, rng: np.random.Generator) -> Bodies:
    """A hedge between the camera and the animal, which shows less and less over it."""
    assert scene.rig is not None
    z, count = 0.35 * scene.camera.position[2], 7
    nearer = 0.65  # what is there looks larger
    width, height = 1.5 * scene.rig.length * nearer, (0.5 + 0.9 * hard) * scene.rig.height * nearer
    x = np.linspace(-0.5, 0.5, count) * width + rng.normal(0, 0.03, count) * width
    radii = np.stack([np.full(count, 0.13 * width), height * rng.uniform(0.85, 1.1, count),
                      np.full(count, 0.1 * width)], 1)  # fmt: skip
    centre = np.stack([x, np.zeros(count), np.full(count, z)], 1)
    leaf = np.array([0.16, 0.30, 0.10]) * rng.uniform(0.8, 1.2, (count, 1))
    upright = np.tile(np.eye(3), (count, 1, 1))
    return Bodies(centre, radii, upright, leaf, leaf, np.zeros(count, int))


def _neighbour(scene: Scene, name: str, hard: float, rng: np.random.Generator) -> Bodies:
    """Another animal beside this one: the harder, the more before it; a larger one behind it."""
    other = make_scene(name, rng, rng, scene.camera.duration_s)
    assert scene.rig is not None and other.rig is not None
    apart = 0.45 * (scene.rig.length + other.rig.length) * (1 - 0.8 * hard)
    away = -scene.camera.position[2]
    larger = other.rig.length > 0.6 * away  # it would stand in the camera
    z = 0.7 * other.rig.length if larger else -0.45 * hard * away
    bodies = animal_at(other, 0.0, 0.0)
    return replace(bodies, centre=bodies.centre + np.array([rng.choice([-1, 1]) * apart, 0, z]))


def _statue(animal: Bodies | None, hard: float) -> Bodies:
    """The animal of stone, painted like the living one the better the harder."""
    assert animal is not None
    paint = 0.65 * hard
    shade = animal.colour.mean(1, keepdims=True) + 0.5
    colour = paint * animal.colour + (1 - paint) * (_STONE * shade).clip(0, 1)
    second = paint * animal.second + (1 - paint) * colour
    plain = np.full_like(animal.pattern, PATTERNS.index(""))
    pattern = animal.pattern if paint > 0.5 else plain
    return replace(animal, colour=colour, second=second, pattern=pattern)


def _vocoded(sound: np.ndarray, bands: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with the sound's loudness in every band: an imitation, better with more bands.

    A channel vocoder; bands are equally wide on a logarithmic scale from 100 Hz to 12 kHz.
    """
    hop = _FRAME // 4
    window = np.hanning(_FRAME + 1)[:-1].astype(np.float32)
    padded = np.pad(sound, (_FRAME, _FRAME + hop))
    starts = np.arange(0, len(padded) - _FRAME, hop)
    frames = padded[starts[:, None] + np.arange(_FRAME)] * window
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    edges = np.geomspace(100, 12_000, bands + 1) * _FRAME / noises.SAMPLE_RATE_HZ
    band = np.searchsorted(edges, np.arange(power.shape[1]))
    members = np.bincount(band, minlength=bands + 2)
    sums = np.stack([np.bincount(band, row, minlength=bands + 2) for row in power])
    size = np.sqrt(sums / np.maximum(members, 1))[:, band]
    turns = np.exp(2j * np.pi * rng.random(size.shape))
    made = np.fft.irfft(size * turns, _FRAME, axis=1) * window
    out = np.zeros(len(padded), np.float32)
    for start, frame in zip(starts, made, strict=True):
        out[start : start + _FRAME] += frame
    out = out[_FRAME : _FRAME + len(sound)]
    return noises.limit(noises.level(out, 20 * np.log10(np.sqrt(np.mean(sound**2)) + 1e-9)))
