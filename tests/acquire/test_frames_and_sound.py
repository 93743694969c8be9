"""The parts of decoding: upright pictures of the right size, sound on its time line."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.acquire import frames, sound
from nano4m_audio.media import stored
from nano4m_audio.media.crop import square_crop

ONE = 65536


@pytest.mark.parametrize(
    ("matrix", "wanted"),
    [
        ((ONE, 0, 0, ONE), lambda a: a),
        ((0, ONE, -ONE, 0), lambda a: np.rot90(a, -1)),
        ((0, -ONE, ONE, 0), lambda a: np.rot90(a, 1)),
        ((-ONE, 0, 0, -ONE), lambda a: np.rot90(a, 2)),
        ((-ONE, 0, 0, ONE), lambda a: a[:, ::-1]),
        ((ONE, 0, 0, -ONE), lambda a: a[::-1]),
    ],
)
def test_display_matrix(matrix, wanted):
    picture = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    assert np.array_equal(frames.turn_upright(picture, matrix), wanted(picture))


@given(st.integers(1, 4096), st.integers(1, 4096))
def test_short_side_is_exact(width, height):
    if max(width, height) > 16 * min(width, height):
        with pytest.raises(ValueError, match="too narrow"):
            frames.scaled_size(width, height, 256)
        return
    scaled_width, scaled_height = frames.scaled_size(width, height, 256)
    assert min(scaled_width, scaled_height) == 256
    assert scaled_width / scaled_height == pytest.approx(width / height, rel=0.003)


def test_jpeg_round_trip():
    x, y = np.meshgrid(np.arange(64), np.arange(48))
    picture = np.stack([2 * x, 3 * y, x + y], axis=2).astype(np.uint8)
    back = stored.read_frame(stored.encode_jpeg(picture, 92))
    assert back.dtype == np.uint8
    assert np.abs(back.astype(int) - picture).mean() < 2


@given(st.integers(1, 300), st.integers(1, 300))
def test_crop_is_the_centre_square(height, width):
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    inside = (np.abs(x) < min(height, width) / 2) & (np.abs(y) < min(height, width) / 2)
    picture = np.where(inside, 200, 10)[..., None].repeat(3, axis=2).astype(np.uint8)
    square = square_crop(picture)
    assert square.shape == (224, 224, 3)
    # A border row or column may be shared when the margin is half a pixel.
    assert (square[8:-8, 8:-8] > 190).all() or min(height, width) < 32


def test_crop_of_a_square_of_the_right_size_changes_nothing():
    picture = np.random.default_rng(0).integers(0, 255, (224, 224, 3), np.uint8)
    assert np.array_equal(square_crop(picture), picture)


def _frame(values: np.ndarray, layout: str = "mono", rate_hz: int = 32000) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(values.astype(np.float32), format="fltp", layout=layout)
    frame.sample_rate = rate_hz
    return frame


def _mono(frame: av.AudioFrame) -> np.ndarray:
    samples, damaged = sound.channels(frame)
    assert damaged is None
    (mixed,), note = sound.mono_mix([sound.fold(samples, [c.name for c in frame.layout.channels])])
    assert not note
    return mixed


def test_gaps_are_silence_and_early_sound_is_cut():
    track = sound.SoundTrack()
    track.feed(_frame(np.full((1, 3200), 0.5)), -0.05)
    track.feed(_frame(np.full((1, 3200), 0.25)), 0.2)
    track.feed(_frame(np.full((1, 3200), 0.25)), 0.301)  # a millisecond of rounding is no gap
    out = track.render(16000, 32000)
    assert len(track.runs) == 2
    assert np.allclose(out[:1600], 0.5)
    assert not out[1600:6400].any()
    assert np.allclose(out[6400:12800], 0.25)
    assert not out[12800:].any()


def test_sound_that_would_clip_is_scaled_as_a_whole():
    track = sound.SoundTrack()
    track.feed(_frame(np.array([[0.5, -2.0, 1.0]])), 0.0)
    assert np.allclose(track.render(3, 32000), [0.25, -1.0, 0.5])


def test_stereo_is_averaged():
    frame = _frame(np.array([[1.0, 0.5], [0.0, 0.5]]), "stereo")
    assert np.allclose(_mono(frame), [0.5, 0.5])


def test_eight_planes_are_read_safely():
    values = np.zeros((8, 1024), np.float32)
    values[2] = 0.5
    interleaved = np.ascontiguousarray(values.T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout="7.1")
    frame.sample_rate = 48000
    (planar,) = av.AudioResampler(format="fltp").resample(frame)
    assert planar.format.is_planar
    assert np.allclose(_mono(planar), 0.5**1.5)


@pytest.mark.parametrize(("kind", "dtype"), [("s16", np.int16), ("s32p", np.int32)])
def test_integer_samples(kind, dtype):
    values = np.array([[0.5, -0.5, 0.25, 0.0]])
    values = (values * np.iinfo(dtype).max).astype(dtype)
    mixed = _mono(av.AudioFrame.from_ndarray(values, format=kind, layout="mono"))
    assert np.allclose(mixed, [0.5, -0.5, 0.25, 0.0], atol=1e-4)


@given(st.integers(0, 5000), st.integers(0, 2**31))
def test_flac_round_trip(n, seed):
    samples = np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)
    flac = stored.encode_flac(samples, 32000) if n else None
    if flac:
        back = stored.read_audio(flac)
        assert back.shape == (n,)
        assert np.abs(back - samples).max() <= 1 / 32768
        assert flac == stored.encode_flac(samples, 32000)


def test_levels_are_those_of_the_loudest_second():
    samples = np.zeros(5 * 32000, np.float32)
    samples[40000:72000] = 0.1
    assert sound.levels_dbfs(samples, 32000) == (pytest.approx(-20), pytest.approx(-20))
