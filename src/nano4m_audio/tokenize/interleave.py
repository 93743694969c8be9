"""Residual audio codes as one sequence of ids, and back."""

from __future__ import annotations

import numpy as np


def interleave(codes: np.ndarray, codebook_size: int) -> np.ndarray:
    """Flatten residual codes in time order with disjoint ids per codebook.

    int [B, Q, T] -> int32 [B, T * Q]: c1[0], c2[0] + size, c1[1], c2[1] + size, ... (paper
    Sec. 3.2).
    """
    offsets = np.arange(codes.shape[1])[None, :, None] * codebook_size
    return (codes + offsets).transpose(0, 2, 1).reshape(len(codes), -1).astype(np.int32)


def deinterleave(ids: np.ndarray, n_codebooks: int, codebook_size: int) -> np.ndarray:
    """The exact inverse of interleave. Raises ValueError for an id of the wrong codebook."""
    codes = ids.reshape(len(ids), -1, n_codebooks).transpose(0, 2, 1).astype(np.int32)
    codes = codes - np.arange(n_codebooks)[None, :, None] * codebook_size
    if codes.min(initial=0) < 0 or codes.max(initial=0) >= codebook_size:
        raise ValueError("an audio id is outside the range of its codebook")
    return codes
