"""The kernel distance against loops, closed forms, and what small samples are known to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist

from nano4m_audio.evaluate.kernel import (
    from_kernel,
    kernel_distance,
    kernel_matrix,
    swapped_p,
)
from nano4m_audio.intervals import jackknife


def by_loops(first: np.ndarray, reference: np.ndarray) -> float:
    """The definition, pair by pair."""
    width = np.median(pdist(reference))

    def mean(a, b, same):
        values = np.exp(-np.square(cdist(a, b)) / (2 * width**2))
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (same and i == j)]
        return np.mean([values[pair] for pair in pairs])

    apart = mean(first, reference, same=False)
    return 100 * (mean(first, first, True) + mean(reference, reference, True) - 2 * apart)


def embeddings(rng: np.random.Generator, n: int, shift: float = 0.0) -> np.ndarray:
    """[n, 512] with a power-law spectrum of trace 1, the mean moved by ``shift``."""
    deviations = np.arange(1, 513) ** -0.75
    deviations /= np.sqrt(np.square(deviations).sum())
    return rng.standard_normal((n, 512)) * deviations + shift / np.sqrt(512)


@given(seed=st.integers(0, 1000), n=st.integers(2, 9), m=st.integers(3, 9), d=st.integers(1, 6))
@settings(deadline=None)
def test_it_is_the_definition_and_blind_to_order_place_size_and_rotation(seed, n, m, d):
    rng = np.random.default_rng(seed)
    first, reference = rng.standard_normal((n, d)) + 0.5, rng.standard_normal((m, d))
    distance = kernel_distance(first, reference)
    assert distance == pytest.approx(by_loops(first, reference), rel=1e-8, abs=1e-8)
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    for moved in (
        (first[::-1], reference),
        (first + 1000, reference + 1000),
        (first * 50, reference * 50),
        (first @ turn, reference @ turn),
    ):
        assert kernel_distance(*moved) == pytest.approx(distance, rel=1e-6, abs=1e-6)


def test_normals_have_a_closed_form():
    rng, d, shift = np.random.default_rng(0), 3, np.array([1.0, 0, 0])
    reference, first = rng.standard_normal((2, 3000, d))
    first = 0.5 * first + shift
    s2 = np.median(pdist(reference)) ** 2

    def expected(variance, apart=0.0):
        """The mean kernel of two normals whose difference has this variance and mean."""
        return (s2 / (s2 + variance)) ** (d / 2) * np.exp(-(apart**2) / (2 * (s2 + variance)))

    wanted = 100 * (expected(2) + expected(0.5) - 2 * expected(1.25, 1.0))
    assert kernel_distance(first, reference) == pytest.approx(wanted, rel=0.05)


def test_equal_distributions_are_at_zero_and_a_shift_is_seen_at_any_size():
    rng = np.random.default_rng(1)
    reference = embeddings(rng, 1000)
    for n, spread in ((50, 0.15), (200, 0.05)):
        same = [kernel_distance(embeddings(rng, n), reference) for _ in range(12)]
        moved = [kernel_distance(embeddings(rng, n, 0.02**0.5), reference) for _ in range(12)]
        assert abs(np.mean(same)) < spread and min(same) < 0 < max(same)
        assert np.mean(moved) > 0.4 > 4 * abs(np.mean(same))


def three_sets(seed: int, n: int, shift: float) -> Any:
    rng = np.random.default_rng(seed)
    sets = embeddings(rng, n), embeddings(rng, n, shift), embeddings(rng, n)
    return kernel_matrix(*sets), *np.arange(3 * n).reshape(3, n)


def p_of(seed: int, shift: float) -> float:
    kernel, reference, made, real = three_sets(seed, 26, shift)
    return swapped_p(kernel, reference, made, real, np.arange(26), seed) or 0.0


def test_made_and_real_that_change_places_are_told_apart_only_if_they_differ():
    groups = np.arange(26)
    p = np.array([p_of(seed, 0.0) for seed in range(40)])
    assert np.mean(p < 0.05) < 0.2 and 0.3 < p.mean() < 0.7 and p.min() > 0
    assert 0 < p_of(0, 0.6) < 0.01
    kernel, reference, made, real = three_sets(3, 26, 0.2)
    one = swapped_p(kernel, reference, made, real, groups)
    assert one == swapped_p(kernel, reference, real, made, groups)
    assert swapped_p(kernel, reference, made, made, groups) == 1.0
    assert swapped_p(kernel, reference, made, real, groups // 4) is None  # seven groups


def test_intervals_hold_the_truth():
    held = 0
    for seed in range(40):
        kernel, reference, made, _ = three_sets(seed, 30, 0.0)
        found = jackknife(
            lambda a, b, k=kernel, m=made: from_kernel(k, m[a], b), [np.arange(30)] * 2
        )
        held += found is not None and found[0] <= 0 <= found[1]
    assert held >= 36


@pytest.mark.parametrize(
    ("first", "reference", "message"),
    [
        (np.zeros((1, 3)), np.eye(3), "two or more"),
        (np.zeros((4, 2)), np.eye(3), "two or more, dimensions"),
        (np.full((4, 3), np.nan), np.eye(3), "not finite"),
        (np.eye(3), np.ones((4, 3)), "no width"),
    ],
)
def test_what_cannot_be_compared_is_an_error(first, reference, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance(first, reference)
