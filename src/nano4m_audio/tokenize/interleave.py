"""Audio codes as one sequence of ids, and back to codes and to sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nano4m_audio.media.windows import window_samples

if TYPE_CHECKING:
    from nano4m_audio.backends.protocols import AudioTokenizer


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


def decode_ids(tokenizer: AudioTokenizer, ids: np.ndarray) -> np.ndarray:
    """The sound of sequences of ids: int [B, n] -> float32 [B, samples], at the tokenizer's rate.

    No longer than the audio window, whose last frame may have been filled up, and shorter for fewer
    ids than a window has. Raises ValueError for an id of the wrong codebook.
    """
    codes = deinterleave(np.asarray(ids), tokenizer.n_codebooks, tokenizer.codebook_size)
    return tokenizer.decode(codes)[:, : window_samples(tokenizer.sample_rate_hz)]
