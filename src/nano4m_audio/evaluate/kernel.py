"""Kernel distance between two sets of embeddings: of sounds, the kernel audio distance.

Chung et al. 2025 (arXiv 2502.15602): 100 times the unbiased estimate of the squared maximum mean
discrepancy under a Gaussian kernel as wide as the median distance within the reference. Unlike the
Frechet distance it is centred on 0 for equal distributions whatever the number of vectors, so it
can be below 0.
"""

from __future__ import annotations

import numpy as np

from nano4m_audio.intervals import MIN_GROUPS

SCALE = 100.0
#: Swaps of the paired test.
SWAPS = 2000
_SWAPS_AT_ONCE = 200


def kernel_distance(first: np.ndarray, reference: np.ndarray) -> float:
    """Distance of embeddings [N, D] from the reference [M, D], in hundredths.

    Raises ValueError for sets of less than two vectors, of other shapes, with values not finite, or
    a reference of which most vectors are equal.
    """
    kernel = kernel_matrix(reference, first)
    one, other = np.split(np.arange(len(kernel)), [len(reference)])
    return from_kernel(kernel, other, one)


def kernel_matrix(reference: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """The kernel of all pairs of vectors, reference first: float64 [sum of N, sum of N].

    exp(-d^2 / (2 s^2)), where s is the median distance of two vectors of the reference.
    """
    sets = [np.asarray(each, np.float64) for each in (reference, *others)]
    for each in sets:
        if each.ndim != 2 or len(each) < 2 or each.shape[1] != sets[0].shape[1]:
            raise ValueError(f"embeddings of shape {each.shape}, not [two or more, dimensions]")
        if not np.isfinite(each).all():
            raise ValueError("embeddings that are not finite")
    # Around the reference's mean, so that little is lost where a difference of squares is small.
    vectors = np.concatenate(sets) - sets[0].mean(axis=0)
    lengths = np.square(vectors).sum(axis=1)
    squares = (lengths[:, None] + lengths - 2 * (vectors @ vectors.T)).clip(0)
    m = len(sets[0])
    width = float(np.median(np.sqrt(squares[:m, :m][np.triu_indices(m, 1)])))
    if width**2 <= 1e-12 * lengths[:m].max():
        raise ValueError("most vectors of the reference are equal: it has no width")
    return np.exp(-squares / (2 * width**2))


def from_kernel(kernel: np.ndarray, first: np.ndarray, reference: np.ndarray) -> float:
    """The distance of the vectors ``first`` [n] from ``reference`` [m], as places in a kernel."""
    across = kernel[np.ix_(first, reference)].mean()
    return SCALE * float(_within(kernel, first) + _within(kernel, reference) - 2 * across)


def _within(kernel: np.ndarray, places: np.ndarray) -> float:
    """The mean kernel of two different vectors."""
    n = len(places)
    own = kernel[np.ix_(places, places)]
    return (own.sum() - np.trace(own)) / (n * (n - 1))


def swapped_p(
    kernel: np.ndarray,
    reference: np.ndarray,
    made: np.ndarray,
    real: np.ndarray,
    groups: np.ndarray,
    seed: int = 0,
) -> float | None:
    """Two-sided p of "made and real vectors are equally far from the reference".

    ``made`` and ``real`` [n] are places in ``kernel`` of vectors of the same clips, ``groups`` [n]
    the groups of these. How often the difference of the two distances is as large when made and
    real change places in a random half of the groups. None for too few groups.
    """
    own = np.unique(groups, return_inverse=True)[1]
    n, size = len(own), int(own.max(initial=-1)) + 1
    if size < MIN_GROUPS:
        return None
    both = np.concatenate([made, real])
    pairs = kernel[np.ix_(both, both)]
    near = kernel[np.ix_(both, reference)].mean(axis=1)

    def differences(swapped: np.ndarray) -> np.ndarray:
        """[swaps] for swapped bool [swaps, n]; the reference's own part cancels."""
        out = np.zeros(len(swapped))
        for sign, first in ((1, ~swapped), (-1, swapped)):
            each = np.concatenate([first, ~first], axis=1).astype(float)
            inside = np.einsum("ij,ij->i", each @ pairs, each) - each @ np.diag(pairs)
            out += sign * (inside / (n * (n - 1)) - 2 * (each @ near) / n)
        return out

    # The tolerance: equal sums that were added in another order count as equal.
    least, further = abs(differences(np.zeros((1, n), bool)))[0] - 1e-12, 0
    rng = np.random.default_rng([seed, 19])
    for _ in range(SWAPS // _SWAPS_AT_ONCE):
        swapped = rng.integers(0, 2, (_SWAPS_AT_ONCE, size)).astype(bool)[:, own]
        further += int((abs(differences(swapped)) >= least).sum())
    return (1 + further) / (1 + SWAPS)
