"""Frechet distance between two sets of embeddings: of sounds, the Frechet audio distance.

Kilgour et al. 2019 (arXiv 1812.08466): both sets are summarised by a normal distribution, and
d = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).
"""

from __future__ import annotations

import numpy as np


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Distance of two embedding sets [N, D] and [M, D]: at least 0, and 0 for equal sets.

    Fewer vectors than dimensions are fine: no covariance is formed or inverted. With X and Y the
    centred sets divided by the root of N - 1 and of M - 1, tr((S1 S2)^(1/2)) is the sum of the
    singular values of X Y^T, which is [N, M]. Small sets overestimate the distance. Raises
    ValueError for sets of less than two vectors, of other shapes, or with values not finite.
    """
    first, second = _checked(first), _checked(second)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"embeddings of {first.shape[1]} and {second.shape[1]} dimensions")
    x, y = _factor(first), _factor(second)
    shift = np.square(first.mean(0) - second.mean(0)).sum()
    overlap = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return max(0.0, float(shift + np.square(x).sum() + np.square(y).sum() - 2 * overlap))


def _checked(embeddings: np.ndarray) -> np.ndarray:
    embeddings = np.asarray(embeddings, np.float64)
    if embeddings.ndim != 2 or len(embeddings) < 2:
        raise ValueError(f"embeddings of shape {embeddings.shape}, not [two or more, dimensions]")
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings that are not finite")
    return embeddings


def _factor(embeddings: np.ndarray) -> np.ndarray:
    """F [min(N, D), D] with F^T F = the unbiased covariance."""
    centred = (embeddings - embeddings.mean(0)) / np.sqrt(len(embeddings) - 1)
    if len(centred) > centred.shape[1]:
        # Only F^T F matters: the triangle of a QR decomposition keeps it, and memory, small.
        centred = np.linalg.qr(centred, mode="r")
    return centred
