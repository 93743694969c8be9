"""Fingerprints: the same for copies, different for other scenes and other sounds."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from nano4m_audio.curate.fingerprints import audio_fingerprint, fingerprint, read_fingerprints
from nano4m_audio.curate.sounds import audio_similarity
from nano4m_audio.tables import SCHEMAS


def _scene(seed: int, size: tuple[int, int] = (341, 256)) -> Image.Image:
    """A smooth random picture: a few grey levels blown up."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def _jpegs(image: Image.Image, n: int = 6, quality: int = 92) -> list[bytes]:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return [buffer.getvalue()] * n


def _calls(seed: int, seconds: float = 6.0) -> np.ndarray:
    """A tone whose pitch and level wander: float32 at 32 kHz."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * 32000)) / 32000
    knots = np.arange(0, seconds + 0.5, 0.25)
    hz = np.interp(time_s, knots, rng.uniform(200, 3000, len(knots)))
    level = np.interp(time_s, knots, rng.uniform(0, 0.3, len(knots)))
    return (level * np.sin(2 * np.pi * np.cumsum(hz) / 32000)).astype(np.float32)


def _fingerprint(image: Image.Image, **settings) -> dict:
    jpegs = _jpegs(image, **settings)
    return fingerprint(jpegs, np.arange(len(jpegs)) / 3, _calls(0))


def test_shapes_and_lengths():
    made = _fingerprint(_scene(0))
    assert np.linalg.norm(made["image"]) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(made["image_mirror"]) == pytest.approx(1, abs=1e-5)
    sound = np.array(made["audio"])
    assert sound.shape == (60, 16)
    assert sound.min() >= 0
    assert sound.max() == pytest.approx(1)


def test_pictures_of_copies_and_of_other_scenes():
    picture = np.array(_fingerprint(_scene(0))["image"])
    assert picture @ _fingerprint(_scene(0), quality=20)["image"] > 0.99
    assert picture @ _fingerprint(_scene(0).resize((160, 160)))["image"] > 0.99
    mirrored = _scene(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert picture @ _fingerprint(mirrored)["image_mirror"] > 0.99
    assert picture @ _fingerprint(mirrored)["image"] < 0.9
    others = [picture @ _fingerprint(_scene(seed))["image"] for seed in range(1, 20)]
    assert max(others) < 0.8


def test_blank_pictures_match_nothing():
    made = _fingerprint(Image.new("RGB", (256, 256), (128, 128, 128)))
    assert not any(made["image"])


def test_sounds_of_copies_and_of_other_recordings():
    calls = _calls(0)
    noisy = 0.5 * calls + np.random.default_rng(1).normal(0, 5e-4, calls.shape)
    whole = audio_fingerprint(calls)
    assert audio_similarity(whole, audio_fingerprint(noisy)) > 0.95
    # Cuts that are shifted by no whole number of columns, either way.
    for shift_s in (0.33, 0.85, 2.05):
        cut = audio_fingerprint(calls[round(shift_s * 32000) :])
        assert audio_similarity(whole, cut) > 0.9
        assert audio_similarity(cut, whole) == pytest.approx(audio_similarity(whole, cut), abs=0.03)
    others = [audio_similarity(whole, audio_fingerprint(_calls(seed))) for seed in range(1, 30)]
    assert max(others) < 0.7


def test_silence_and_steady_noise_match_nothing():
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 192000)).astype(np.float32)
    silence = np.zeros(192000, np.float32)
    assert audio_similarity(audio_fingerprint(silence), audio_fingerprint(silence)) == 0
    assert audio_similarity(audio_fingerprint(noise[0]), audio_fingerprint(noise[1])) < 0.4


def test_fingerprints_survive_the_table():
    made = {f"{i}@0": _fingerprint(_scene(i)) for i in range(3)}
    rows = [{"clip_id": name, "key": "", **row} for name, row in made.items()]
    read = read_fingerprints(
        pa.Table.from_pylist(rows, schema=SCHEMAS["scores/fingerprints"]).slice(1)
    )
    assert list(read) == ["1@0", "2@0"]
    for name, row in read.items():
        for column, values in row.items():
            assert values.dtype == np.float32
            assert np.allclose(values, made[name][column])


def test_motion_is_that_of_the_picture_and_not_of_its_coding():
    picture = _scene(0)
    still = [_jpegs(picture, 1, quality)[0] for quality in (92, 60, 30) * 4]
    turned = [picture.rotate(angle) for angle in range(12)]
    moving = [_jpegs(image, 1)[0] for image in turned]
    times, sound = np.arange(12) / 3, _calls(0)
    assert fingerprint([still[0]] * 12, times, sound)["motion"] == 0
    assert fingerprint(still, times, sound)["motion"] < 0.5
    assert fingerprint(moving, times, sound)["motion"] > 2


def test_the_last_slide_moves_a_clip_as_much_as_the_first() -> None:
    """Two pictures, each on display for half of the clip: the frames say when each came up."""
    first, second = (_jpegs(picture, 1, 90)[0] for picture in (_scene(0), _scene(3)))
    times = np.repeat([0.0, 2.0], 6)
    sound = np.zeros(32_000 * 4, np.float32)
    found = fingerprint([first] * 6 + [second] * 6, times, sound)
    back = fingerprint([second] * 6 + [first] * 6, times, sound)
    assert found["motion"] > 5
    assert np.array(found["image"]) @ back["image"] > 0.9
