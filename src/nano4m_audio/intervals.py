"""Intervals and comparisons of values measured on clips, where clips come in groups.

Clips of one video, and copies of each other, are alike: what is drawn from the world is a group,
not a clip. Every function therefore takes one group number per clip. With fewer than ``MIN_GROUPS``
groups nothing can be said, and the answer is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    from scipy.special import ndtr, stdtrit

    x, n = _per_group(sums, counts, groups)
    if len(n) < MIN_GROUPS:
        return None
    tail = (1 - confidence) / 2
    tail = float(ndtr(stdtrit(len(n) - 1, tail) * np.sqrt(len(n) / (len(n) - 1))))
    rng, at_once = np.random.default_rng([seed, 7]), max(1, _DRAWS_AT_ONCE // len(n))
    means = []
    for start in range(0, resamples, at_once):
        drawn = rng.integers(0, len(n), (min(at_once, resamples - start), len(n)))
        means.append(x[drawn].sum(axis=1) / n[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


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
