"""Sounds compared one with many, in single precision, and turned away by a bound."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.curate.screen import Screen
from nano4m_audio.curate.sounds import TOLERANCE, audio_similarity, similarities

LENGTHS = st.lists(st.integers(1, 130), min_size=2, max_size=12)


def drawn(lengths: list[int], seed: int, steady: bool, smooth: float) -> list[np.ndarray]:
    """Sounds of these lengths, some of them noisy cuts of one recording."""
    rng = np.random.default_rng(seed)
    sounds = []
    recording = np.cumsum(rng.normal(0, 0.15, (200, 16)), axis=0)
    for length in lengths:
        walk = np.cumsum(rng.normal(0, 0.15, (length, 16)), axis=0)
        walk = smooth * walk + (1 - smooth) * rng.normal(0, 1, walk.shape)
        if rng.random() < 0.5:
            start = rng.integers(0, 200 - length)
            walk = recording[start : start + length] + rng.normal(0, rng.random() / 3, walk.shape)
        sounds.append(np.clip(np.round(np.abs(walk % 2 - 1), 2), 0, 1).astype(np.float32))
    if steady:
        sounds[-1][:] = 0.5
    return sounds


@given(lengths=LENGTHS, seed=st.integers(0, 1000), steady=st.booleans())
def test_many_at_once_are_what_each_is_alone(lengths, seed, steady):
    one, *others = drawn(lengths, seed, steady, 1.0)
    alone = [audio_similarity(one, other) for other in others]
    np.testing.assert_allclose(similarities(one, others), alone, rtol=0, atol=TOLERANCE)


@given(
    lengths=LENGTHS,
    seed=st.integers(0, 1000),
    steady=st.booleans(),
    smooth=st.floats(0, 1),
    least=st.floats(0.01, 1),
)
def test_none_is_turned_away_that_is_like_enough(lengths, seed, steady, smooth, least):
    sounds = drawn(lengths, seed, steady, smooth)
    others = np.arange(1, len(sounds))
    alone = np.array([audio_similarity(sounds[0], other) for other in sounds[1:]])
    may = Screen(sounds).may_reach(0, others, least)
    assert may[alone >= least].all()


def test_most_of_what_is_unlike_is_turned_away():
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.normal(0, 0.15, (300, 100, 16)), axis=1)
    sounds = list(np.abs(walks % 2 - 1).astype(np.float32))
    others = np.arange(1, len(sounds))
    assert Screen(sounds).may_reach(0, others, 0.88).mean() < 0.01
