"""Fidelity of pictures and sounds, and vocabulary use: references and known properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from nano4m_audio.tokenizers.fidelity import (
    mel_distance_db,
    psnr_db,
    si_sdr_db,
    ssim,
    vocabulary_use,
)


def pictures(n: int = 2, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth random pictures in -1..1."""
    noise = np.random.default_rng(seed).standard_normal((n, channels, 48, 40))
    smooth = gaussian_filter(noise, (0, 0, 3, 3))
    return (smooth / abs(smooth).max()).astype(np.float32)


def reference_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """One channel by SciPy's Gaussian filter, cropped to where the window fits."""

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, 1.5, truncate=3.4)[5:-5, 5:-5]

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 0.02**2, 0.06**2
    top = (2 * mx * my + c1) * (2 * cov + c2)
    return float((top / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


def test_ssim_equals_a_filter_of_scipy():
    x = pictures()
    y = np.clip(x + 0.2 * pictures(seed=1), -1, 1)
    expected = [
        np.mean([reference_ssim(x[i, c].astype(float), y[i, c].astype(float)) for c in range(3)])
        for i in range(2)
    ]
    assert np.allclose(ssim(x, y), expected, atol=1e-9)
    assert np.all(ssim(x, y) < 0.99)


def test_ssim_is_one_only_for_equal_pictures_and_falls_with_noise():
    x, noise = pictures(), pictures(seed=2)
    assert np.allclose(ssim(x, x), 1)
    values = [ssim(x, x + level * noise).mean() for level in (0, 0.05, 0.1, 0.2, 0.4)]
    assert all(a > b for a, b in zip(values[:-1], values[1:], strict=True))


def test_ssim_of_an_inverted_pattern_is_minus_one():
    x = 0.5 * (-1.0) ** np.indices((1, 1, 32, 32)).sum(0)
    assert ssim(x, -x)[0] == pytest.approx(-1, abs=0.02)


def test_ssim_of_two_flat_pictures_is_its_luminance_term():
    x, y = np.full((1, 1, 16, 16), 0.5), np.full((1, 1, 16, 16), 0.25)
    c1 = 0.02**2
    assert ssim(x, y)[0] == pytest.approx((2 * 0.5 * 0.25 + c1) / (0.25 + 0.0625 + c1))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_ssim_is_symmetric_and_bounded(a: int, b: int):
    x, y = pictures(1, 1, a), pictures(1, 1, b)
    assert ssim(x, y) == pytest.approx(ssim(y, x))
    assert -1 <= ssim(x, y)[0] <= 1 + 1e-12


def test_psnr_of_a_known_error():
    x = np.zeros((2, 1, 8, 8), np.float32)
    assert psnr_db(x, x + 0.2) == pytest.approx([20, 20])  # (2 / 0.2)^2 is 20 dB
    assert psnr_db(x, x) == pytest.approx([100, 100])


def test_vocabulary_use():
    assert vocabulary_use(np.array([[3, 3], [3, 3]]), 8) == (1 / 8, 1.0)
    share, perplexity = vocabulary_use(np.arange(8).repeat(5), 8)
    assert (share, perplexity) == (1.0, pytest.approx(8))
    share, perplexity = vocabulary_use(np.array([0, 0, 0, 1]), 4)
    assert share == 0.5 and perplexity == pytest.approx(4 / 27**0.25)


def sounds(n: int = 3, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((n, 8000))).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(st.floats(-30, 30), st.floats(0.01, 100), st.floats(-0.5, 0.5))
def test_si_sdr_of_planted_distortion(db: float, gain: float, offset: float):
    x, noise = sounds().astype(float), sounds(seed=1).astype(float)
    x -= x.mean(axis=1, keepdims=True)
    noise -= noise.mean(axis=1, keepdims=True)
    noise -= (noise * x).sum(1, keepdims=True) / (x * x).sum(1, keepdims=True) * x
    level = np.sqrt((x * x).sum(1, keepdims=True) / (noise**2).sum(1, keepdims=True))
    made = gain * (x + level * 10 ** (-db / 20) * noise) + offset
    assert si_sdr_db(x, made) == pytest.approx([db] * 3, abs=1e-6)


def test_si_sdr_of_the_best_the_worst_and_silence():
    x = sounds()
    assert si_sdr_db(x, 0.5 * x) == pytest.approx([100] * 3)
    assert si_sdr_db(x, 0 * x) == pytest.approx([-60] * 3)
    assert np.isnan(si_sdr_db(0 * x, x)).all()
    assert si_sdr_db(x, np.full_like(x, 0.3)) == pytest.approx([-60] * 3)


def test_the_mel_distance_of_a_louder_sound_is_its_gain():
    x = sounds()
    assert mel_distance_db(x, x, 24_000) == pytest.approx([0] * 3)
    assert mel_distance_db(x, 2 * x, 24_000) == pytest.approx([20 * np.log10(2)] * 3, abs=1e-3)
    near, far = (mel_distance_db(x, x + a * sounds(seed=1), 24_000) for a in (0.1, 1.0))
    assert (near > 0).all() and (near < far).all()


def test_the_mel_distance_hears_no_whisper_beside_a_shout():
    tone = np.sin(np.arange(24_000) * 2 * np.pi * 440 / 24_000)[None].astype(np.float32)
    hiss = 1e-7 * np.random.default_rng(2).standard_normal(tone.shape).astype(np.float32)
    assert mel_distance_db(tone, tone + hiss, 24_000)[0] < 0.05
    assert mel_distance_db(0 * tone, 0 * tone, 24_000) == pytest.approx([0])
