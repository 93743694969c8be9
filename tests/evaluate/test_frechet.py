"""The Frechet distance against closed forms, textbook computation and its own symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.evaluate.frechet import frechet_distance


def with_moments(mean, deviations, n=400):
    """A set whose mean and covariance diag(deviations^2) are exact, not just expected."""
    draws = np.random.default_rng(len(mean)).standard_normal((n, len(mean)))
    basis = np.linalg.qr(draws - draws.mean(0))[0] * np.sqrt(n - 1)
    return mean + basis * deviations


def textbook(first, second):
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) by eigenvalues of the product."""
    s1, s2 = np.cov(first.T), np.cov(second.T)
    roots = np.sqrt(np.linalg.eigvals(s1 @ s2).astype(complex)).real.sum()
    shift = np.square(first.mean(0) - second.mean(0)).sum()
    return shift + np.trace(s1) + np.trace(s2) - 2 * roots


def test_normals_with_equal_axes_have_a_closed_form():
    first = with_moments(np.array([0.0, 1, 2]), np.array([1.0, 2, 3]))
    second = with_moments(np.array([1.0, 1, 0]), np.array([2.0, 2, 0.5]))
    wanted = 5 + (1 - 2) ** 2 + 0 + (3 - 0.5) ** 2  # shift and squared differences of deviations
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-9)


def test_rotated_normals_agree_with_the_textbook():
    rng = np.random.default_rng(0)
    first = rng.standard_normal((300, 6)) @ rng.standard_normal((6, 6))
    second = rng.standard_normal((200, 6)) @ rng.standard_normal((6, 6)) + 1
    assert frechet_distance(first, second) == pytest.approx(textbook(first, second), rel=1e-6)


@pytest.mark.parametrize("n", [2, 10, 400])
def test_fewer_vectors_than_dimensions_are_stable(n):
    rng = np.random.default_rng(n)
    first, second = rng.standard_normal((2, n, 512))
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-8)
    shifted = first + np.eye(512)[0] * 3
    assert frechet_distance(first, shifted) == pytest.approx(9, rel=1e-9)
    assert frechet_distance(first, second) > 0


@given(seed=st.integers(0, 1000), n=st.integers(2, 12), m=st.integers(2, 12), d=st.integers(1, 8))
@settings(deadline=None)
def test_symmetric_not_negative_and_blind_to_order_and_rotation(seed, n, m, d):
    rng = np.random.default_rng(seed)
    first, second = rng.standard_normal((n, d)), rng.standard_normal((m, d))
    distance = frechet_distance(first, second)
    assert distance >= 0
    assert frechet_distance(second, first) == pytest.approx(distance, rel=1e-6, abs=1e-9)
    assert frechet_distance(first[::-1], second) == pytest.approx(distance, rel=1e-6, abs=1e-9)
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    turned = frechet_distance(first @ turn, second @ turn)
    assert turned == pytest.approx(distance, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((1, 3)), np.zeros((4, 3)), "two or more"),
        (np.zeros((4, 3)), np.zeros((4, 2)), "3 and 2 dimensions"),
        (np.full((4, 3), np.nan), np.zeros((4, 3)), "not finite"),
    ],
)
def test_what_cannot_be_compared_is_an_error(first, second, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(first, second)
