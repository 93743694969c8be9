"""Intervals and comparisons of values measured on clips, where clips come in groups.

Clips of one video, and copies of each other, are alike: what is drawn from the world is a group,
not a clip. Every function therefore takes one group number per clip. With fewer than ``MIN_GROUPS``
groups nothing can be said, and the answer is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.tables import read_rows

#: With fewer groups no interval is given.
MIN_GROUPS = 10
#: Resamples, and random signs of the paired test.
RESAMPLES, FLIPS = 1000, 10_000
#: Numbers drawn at once: bounds the memory of resampling many groups.
_DRAWS_AT_ONCE = 1 << 22

Interval = tuple[float, float]


@dataclass(frozen=True)
class Sample:
    """Clips of one of two samples that are compared; one value per clip, as in mean_interval."""

    sums: np.ndarray
    counts: np.ndarray
    groups: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.counts.sum())


def group_numbers(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """A number per row, int64 [n]: equal where rows share a ``video_id`` or a ``group``, also by
    way of other rows. A missing or empty value links nothing."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes: dict[tuple[str, str], int] = {}
    ends = [
        (i, len(rows) + nodes.setdefault((column, value), len(nodes)))
        for i, row in enumerate(rows)
        for column in ("video_id", "group")
        if (value := row.get(column))
    ]
    size = len(rows) + len(nodes)
    one, other = np.array(ends, np.int64).reshape(-1, 2).T
    links = coo_array((np.ones(len(ends), bool), (one, other)), shape=(size, size))
    labels = connected_components(links, directed=False)[1][: len(rows)]
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def clip_groups(split: Path, clip_ids: Sequence[str]) -> np.ndarray:
    """The group of each of these clips, int64 [n], by the videos and copies of the whole split
    table. Raises UserError for a damaged table."""
    rows = read_rows(split, "split", ["clip_id", "video_id", "group"])
    number = dict(zip((row["clip_id"] for row in rows), group_numbers(rows).tolist(), strict=True))
    chosen = np.array([number[clip] for clip in clip_ids], np.int64)
    return np.unique(chosen, return_inverse=True)[1].astype(np.int64)


def count_groups(counts: np.ndarray, groups: np.ndarray) -> int:
    """How many groups have anything to count."""
    return len(np.unique(groups[np.asarray(counts) > 0]))


def share_interval(
    hits: np.ndarray, trials: np.ndarray, groups: np.ndarray, confidence: float = 0.95
) -> Interval | None:
    """Interval of the share ``sum(hits) / sum(trials)``: exact (Clopper and Pearson 1934) for the
    effective number of trials (Korn and Graubard 1998).

    ``hits``, ``trials`` and ``groups`` have one value per clip. The effective number is that of
    independent trials with the variance seen between groups. How far that can be trusted depends on
    the number m of groups that tell hits and misses apart: it is mixed, m^2 to 1, with the number
    if all clips of a group were the same. With m = 0, all hits or all misses, only that is left.
    Simulated at nominal 95 % for 26 groups of one to five clips, shares of 0.5 to 0.99 and every
    correlation within groups, at least 94 % of the intervals hold the truth.
    """
    from scipy.special import betaincinv, stdtrit  # scipy.stats has the same and loads slowly

    x, n = _per_group(hits, trials, groups)
    if len(n) < MIN_GROUPS:
        return None
    total, tail = n.sum(), (1 - confidence) / 2
    p = x.sum() / total
    variance = len(n) / (len(n) - 1) * ((x - p * n) ** 2).sum() / total**2
    seen = min(total, p * (1 - p) / variance) if variance > 0 else total
    seen *= (stdtrit(total - 1, tail) / stdtrit(len(n) - 1, tail)) ** 2
    if_alike = total**2 / (n**2).sum()
    m = float(min((x > 0).sum(), (x < n).sum()))
    effective = (m**2 + 1) / (m**2 / seen + 1 / if_alike)
    k = p * effective
    low = 0.0 if p == 0 else float(betaincinv(k, effective - k + 1, tail))
    high = 1.0 if p == 1 else float(betaincinv(k + 1, effective - k, 1 - tail))
    return low, high


def mean_interval(
    sums: np.ndarray,
    counts: np.ndarray,
    groups: np.ndarray,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Bootstrap interval of the mean ``sum(sums) / sum(counts)`` when groups are drawn with
    replacement: percentiles, widened for few groups as t is wider than the normal (Hesterberg 2015,
    arXiv 1411.5279). ``sums``, ``counts`` and ``groups`` have one value per clip.
    """
    x, n = _per_group(sums, counts, groups)
    if len(n) < MIN_GROUPS:
        return None
    tail = _bootstrap_tail(confidence, len(n))
    low, high = np.quantile(_resampled(x, n, resamples, [seed, 7]), [tail, 1 - tail])
    return float(low), float(high)


def _resampled(x: np.ndarray, n: np.ndarray, resamples: int, seed: Sequence[int]) -> np.ndarray:
    """Means of groups drawn with replacement, float64 [resamples]."""
    rng, at_once = np.random.default_rng(seed), max(1, _DRAWS_AT_ONCE // len(n))
    means = []
    for start in range(0, resamples, at_once):
        drawn = rng.integers(0, len(n), (min(at_once, resamples - start), len(n)))
        means.append(x[drawn].sum(axis=1) / n[drawn].sum(axis=1))
    return np.concatenate(means)


def difference_interval(
    first: Sample,
    second: Sample,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Bootstrap interval of the mean of ``first`` minus the mean of ``second``, two samples without
    a common group: the groups of each are drawn by themselves. Widened for few groups as in
    mean_interval, with the degrees of freedom of Welch 1947.
    """
    from scipy.special import ndtr, stdtrit

    parts = [_per_group(s.sums, s.counts, s.groups) for s in (first, second)]
    k = [len(n) for _, n in parts]
    if min(k) < MIN_GROUPS:
        return None
    drawn = [
        (_resampled(x, n, resamples, [seed, 27, i]) - x.sum() / n.sum()) * np.sqrt(g / (g - 1))
        for i, ((x, n), g) in enumerate(zip(parts, k, strict=True))
    ]
    variances = [float(d.var()) for d in drawn]
    if not sum(variances):
        return first.mean - second.mean, first.mean - second.mean
    df = sum(variances) ** 2 / sum(v**2 / (g - 1) for v, g in zip(variances, k, strict=True))
    tail = float(ndtr(stdtrit(df, (1 - confidence) / 2)))
    differences = first.mean - second.mean + drawn[0] - drawn[1]
    low, high = np.quantile(differences, [tail, 1 - tail])
    return float(low), float(high)


def statistic_interval(
    statistic: Callable[[np.ndarray], float],
    groups: np.ndarray,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """The same bootstrap for what is no mean: ``statistic`` of clips, int64 [any], some of them
    named more than once."""
    number = len(np.unique(groups))
    if number < MIN_GROUPS:
        return None
    tail, rng = _bootstrap_tail(confidence, number), np.random.default_rng([seed, 27])
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    draws = rng.integers(0, number, (resamples, number))
    values = [statistic(np.concatenate([members[g] for g in drawn])) for drawn in draws]
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _bootstrap_tail(confidence: float, groups: int) -> float:
    """The share that is cut off at each end of the bootstrap's values."""
    from scipy.special import ndtr, stdtrit

    t = stdtrit(groups - 1, (1 - confidence) / 2)
    return float(ndtr(t * np.sqrt(groups / (groups - 1))))


def difference_p(first: Sample, second: Sample, seed: int = 0) -> float | None:
    """Two-sided p of "both samples have one mean": how often samples of as many groups, dealt anew,
    differ as much, in units of the error of their difference (Janssen 1997), so that samples that
    scatter differently are no reason for a small p."""
    parts = [_per_group(s.sums, s.counts, s.groups) for s in (first, second)]
    k = len(parts[0][1])
    if min(k, len(parts[1][1])) < MIN_GROUPS:
        return None
    x, n = np.concatenate(parts, axis=1)
    centred = x - x.sum() / n.sum() * n
    x = np.where(abs(centred) > 1e-12 * abs(x).max(), centred, 0)  # what rounding leaves is 0
    moments = np.stack([x, n, x * x, x * n, n * n], axis=1)  # [groups, 5]
    own = np.arange(len(n))[None] < k
    least, further = _distance(own, moments)[0] * (1 - 1e-9), 0
    rng, at_once = np.random.default_rng([seed, 37]), max(1, _DRAWS_AT_ONCE // len(n))
    for start in range(0, FLIPS, at_once):
        draws = rng.random((min(at_once, FLIPS - start), len(n)))
        dealt = draws <= np.partition(draws, k - 1, axis=1)[:, k - 1 : k]
        further += int((_distance(dealt, moments) >= least).sum())
    return (1 + further) / (1 + FLIPS)


def _distance(chosen: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """|mean of the chosen groups - mean of the others| by its standard error, float64 [draws];
    ``chosen`` bool [draws, groups]."""
    sides = []
    for mask in (chosen, ~chosen):
        k, (x, n, xx, xn, nn) = mask.sum(axis=1), (mask @ moments).T
        mean = x / n
        spread = np.maximum(xx - 2 * mean * xn + mean**2 * nn, 0) * k / (k - 1) / n**2
        sides.append((mean, spread))
    (one, of_one), (two, of_two) = sides
    difference, error = abs(one - two), np.sqrt(of_one + of_two)
    flat = np.where(difference > 0, np.inf, 0.0)
    return np.divide(difference, error, out=flat, where=error > 0)


def paired_p(
    differences: np.ndarray, counts: np.ndarray, groups: np.ndarray, seed: int = 0
) -> float | None:
    """Two-sided p of "no difference": how often sums of ``differences`` (one per clip) with the
    sign of every group drawn anew are as far from 0 as the sum itself."""
    d = _per_group(differences, counts, groups)[0]
    if len(d) < MIN_GROUPS:
        return None
    rng, at_once = np.random.default_rng([seed, 17]), max(1, _DRAWS_AT_ONCE // len(d))
    # The tolerance: equal sums that were added in another order count as equal.
    least, further = abs(d.sum()) - 1e-9 * abs(d).sum(), 0
    for start in range(0, FLIPS, at_once):
        signs = rng.integers(0, 2, (min(at_once, FLIPS - start), len(d))) * 2 - 1
        further += int((abs(signs @ d) >= least).sum())
    return (1 + further) / (1 + FLIPS)


#: Blocks of groups that a jackknife leaves out, one at a time.
_BLOCKS = 20


def jackknife(
    statistic: Callable[..., float], sides: Sequence[np.ndarray], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Interval of ``statistic(places, ...)``, one array of places per side, such as clips and clips
    of a reference; ``sides`` are the groups of each.

    Whole groups are left out, in up to 20 blocks a side, one block at a time; the variances of the
    sides are added (Arvesen 1969), the width is that of t. A bootstrap would not do for
    distances: a vector that is drawn twice is its own neighbour. None for too few groups on a side.
    """
    from scipy.special import stdtrit

    numbers = [np.unique(groups, return_inverse=True)[1] for groups in sides]
    if min(each.max(initial=-1) + 1 for each in numbers) < MIN_GROUPS:
        return None
    everything = [np.arange(len(each)) for each in numbers]
    value, variance, freedom = statistic(*everything), 0.0, _BLOCKS - 1
    for side, own in enumerate(numbers):
        blocks = min(_BLOCKS, int(own.max()) + 1)
        without = []
        for block in range(blocks):
            kept = [*everything]
            kept[side] = np.flatnonzero(own % blocks != block)
            without.append(statistic(*kept))
        spread = np.array(without) - np.mean(without)
        variance += (blocks - 1) / blocks * float(spread @ spread)
        freedom = min(freedom, blocks - 1)
    width = float(stdtrit(freedom, (1 + confidence) / 2)) * variance**0.5
    return value - width, value + width


def _per_group(
    sums: np.ndarray, counts: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts of the groups that have anything to count, float64 [groups]."""
    size = int(groups.max(initial=-1)) + 1
    x = np.bincount(groups, np.asarray(sums, float), size)
    n = np.bincount(groups, np.asarray(counts, float), size)
    return x[n > 0], n[n > 0]


def holm(ps: Sequence[float]) -> list[float]:
    """Each of the p values of one family, corrected for their number (Holm 1979), in order."""
    order = np.argsort(ps, kind="stable")
    scaled = np.asarray(ps, float)[order] * np.arange(len(ps), 0, -1)
    corrected = np.empty(len(ps))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return corrected.tolist()
