"""Intervals hold the truth as often as they say, also for clips that come in groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.intervals import (
    MIN_GROUPS,
    Sample,
    difference_interval,
    difference_p,
    group_numbers,
    mean_interval,
    paired_p,
    share_interval,
)

CLIPS = {"one": lambda rng: np.ones(26, int), "five": lambda rng: np.full(26, 5)}
CLIPS["unequal"] = lambda rng: rng.integers(1, 6, 26)


def drawn(rng, sizes, p, correlation):
    """Hits of every clip of every group: beta-binomial, with this correlation within a group."""
    if correlation in (0, 1):
        q = np.full(len(sizes), p) if correlation == 0 else rng.random(len(sizes)) < p
    else:
        strength = 1 / correlation - 1
        q = rng.beta(p * strength, (1 - p) * strength, len(sizes))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return (rng.random(len(groups)) < np.asarray(q, float)[groups]).astype(int), groups


def coverage(sizes, p, correlation, rounds):
    rng, held = np.random.default_rng(1), 0
    for _ in range(rounds):
        hits, groups = drawn(rng, CLIPS[sizes](rng), p, correlation)
        low, high = share_interval(hits, np.ones(len(hits)), groups)
        held += low <= p <= high
    return held / rounds


@pytest.mark.parametrize("p", [0.95, 0.97])
def test_shares_near_one_are_covered(p):
    # The percentile bootstrap over clips has 0.55 to 0.77 here.
    assert coverage("one", p, 0, 300) >= 0.93
    assert coverage("five", p, 0.5, 300) >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("sizes", list(CLIPS))
@pytest.mark.parametrize("correlation", [0, 0.2, 0.6, 1])
def test_shares_are_covered(sizes, correlation):
    for p in (0.5, 0.6, 0.7, 0.8, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99):
        assert coverage(sizes, p, correlation, 800) >= 0.93, p


@pytest.mark.parametrize("skewed", [False, True])
def test_means_are_covered_when_clips_come_in_groups(skewed):
    rng, held, rounds = np.random.default_rng(2), 0, 300
    for _ in range(rounds):
        sizes = rng.integers(1, 6, 26)
        centre = rng.lognormal(0, 0.5, 26) if skewed else rng.normal(size=26)
        truth = np.exp(0.125) if skewed else 0
        groups = np.repeat(np.arange(26), sizes)
        values = centre[groups] + 0.2 * rng.normal(size=len(groups))
        low, high = mean_interval(values, np.ones(len(values)), groups, resamples=300)
        held += low <= truth <= high
    assert held / rounds >= 0.9


def test_all_and_none_leave_room():
    ones, groups = np.ones(26), np.arange(26)
    assert share_interval(ones, ones, groups) == pytest.approx((0.868, 1), abs=5e-4)
    assert share_interval(0 * ones, ones, groups) == pytest.approx((0, 0.132), abs=5e-4)
    # 0 of 80 is "below 4.5 %"; five clips of one video are no five witnesses.
    assert share_interval(np.zeros(80), np.ones(80), np.arange(80))[1] == pytest.approx(
        0.0451, abs=5e-5
    )
    five = np.ones(130)
    assert share_interval(five, five, np.repeat(groups, 5))[0] == pytest.approx(0.868, abs=5e-4)


def test_independent_clips_have_the_textbook_interval():
    # Newcombe 1998, table I, method 5 (exact): 81 of 263 gives 0.2527 to 0.3676.
    hits = (np.arange(263) < 81).astype(int)
    found = share_interval(hits, np.ones(263), np.arange(263))
    assert found == pytest.approx((0.2527, 0.3676), abs=1.5e-3)


def test_too_few_groups_have_none():
    clips = np.ones(50)
    few = np.arange(50) % (MIN_GROUPS - 1)
    assert share_interval(clips, clips, few) is None
    assert mean_interval(clips, clips, few) is None
    assert paired_p(clips, clips, few) is None
    # Groups without anything to count are no groups.
    counts = (np.arange(50) < 5).astype(int)
    assert mean_interval(counts, counts, np.arange(50)) is None


@given(
    st.integers(MIN_GROUPS, 40).flatmap(
        lambda g: st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=g, max_size=g)
    ),
    st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=60)
def test_a_share_is_in_its_interval_and_order_does_not_matter(pairs, random):
    pairs = [(min(k, n), n) for k, n in pairs]
    hits, trials = (np.array(side) for side in zip(*pairs, strict=True))
    groups = np.arange(len(hits))
    low, high = share_interval(hits, trials, groups)
    assert 0 <= low <= hits.sum() / trials.sum() <= high <= 1 and low < high
    mirrored = share_interval(trials - hits, trials, groups)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)
    order = list(range(len(hits)))
    random.shuffle(order)
    assert share_interval(hits[order], trials[order], groups) == pytest.approx((low, high))


def test_the_paired_test_sees_what_single_intervals_hide():
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 1, 26)  # some clips are harder, for the model and the baseline
    gain = 0.1 + 0.05 * rng.normal(size=26)
    ones, groups = np.ones(26), np.arange(26)
    assert paired_p((hard + gain) - hard, ones, groups) < 0.001
    assert paired_p(rng.normal(0, 1, 26), ones, groups) > 0.05
    assert paired_p(0 * ones, ones, groups) == 1


def test_the_paired_test_is_rarely_wrong_about_grouped_clips():
    rng, groups = np.random.default_rng(4), np.repeat(np.arange(20), 5)
    ones = np.ones(len(groups))
    found = [paired_p(rng.normal(size=20)[groups], ones, groups) < 0.05 for _ in range(100)]
    assert np.mean(found) <= 0.1


def sample(rng, groups: int, mean: float, spread: float = 1.0) -> Sample:
    """Clips in groups of one to five, alike within a group."""
    sizes = rng.integers(1, 6, groups)
    numbers = np.repeat(np.arange(groups), sizes)
    values = mean + spread * rng.normal(size=groups)[numbers] + 0.2 * rng.normal(size=len(numbers))
    return Sample(values, np.ones(len(values)), numbers)


@pytest.mark.parametrize(("sizes", "spread"), [((26, 26), 1), ((12, 60), 3)])
def test_differences_of_two_samples_are_covered(sizes, spread):
    rng, held, wrong, rounds = np.random.default_rng(5), 0, 0, 200
    for _ in range(rounds):
        first, second = sample(rng, sizes[0], 1.5, spread), sample(rng, sizes[1], 1.0)
        low, high = difference_interval(first, second, resamples=300)
        held += low <= 0.5 <= high
    assert held / rounds >= 0.91
    for _ in range(100):
        wrong += difference_p(sample(rng, sizes[0], 1, spread), sample(rng, sizes[1], 1)) < 0.05
    assert wrong <= 12


def test_two_samples_that_differ_are_told_apart():
    rng = np.random.default_rng(6)
    first, second = sample(rng, 40, 2.0), sample(rng, 40, 0.0)
    low, high = difference_interval(first, second)
    assert 0 < low < first.mean - second.mean < high
    assert difference_interval(second, first) == pytest.approx((-high, -low), abs=0.2)
    assert difference_p(first, second) < 0.001
    # Clips of one video are no witnesses by themselves.
    alike = Sample(np.repeat([0.0, 1.0], 50), np.ones(100), np.arange(100) // 50)
    assert difference_interval(alike, second) is difference_p(alike, second) is None


def test_two_equal_samples_do_not_differ():
    same = Sample(np.full(30, 0.1), np.ones(30), np.arange(30))
    assert difference_interval(same, same) == (0, 0) and difference_p(same, same) == 1
    other = Sample(np.full(30, 0.2), np.ones(30), np.arange(30))
    assert difference_p(other, same) < 0.001


def test_groups_are_linked_by_video_and_by_copy():
    rows: list[dict[str, Any]] = [
        {"video_id": "a", "group": "1"},
        {"video_id": "b", "group": "1"},
        {"video_id": "b", "group": "2"},
        {"video_id": "", "group": None},
        {"video_id": "1", "group": "a"},
        {"video_id": None},
    ]
    assert group_numbers(rows).tolist() == [0, 0, 0, 1, 2, 3]
    assert len(group_numbers([])) == 0
