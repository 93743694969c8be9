"""Audio tokenizers of other shapes than the project's own: frames as levels, without weights."""

from __future__ import annotations

import numpy as np


class LevelCodec:
    """AudioTokenizer: the first codebook holds the mean of a frame in 1,024 levels, the others turn
    it round."""

    sample_rate_hz = 24_000
    n_codebooks = 1
    codebook_size = 1024
    frame_samples = 320

    @classmethod
    def load(cls, compute):
        return cls()

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, samples] -> int32 [B, n_codebooks, frames], the last frame filled up."""
        missing = -waveforms.shape[1] % self.frame_samples
        filled = np.pad(waveforms, ((0, 0), (0, missing)))
        means = filled.reshape(len(filled), -1, self.frame_samples).mean(axis=2)
        levels = np.clip((means + 1) * self.codebook_size / 2, 0, self.codebook_size - 1)
        turns = np.arange(self.n_codebooks)[None, :, None]
        return (levels.astype(np.int32)[:, None] + turns) % self.codebook_size

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """int [B, n_codebooks, frames] -> float32 [B, samples]."""
        levels = (codes[:, 0].astype(np.float32) + 0.5) * 2 / self.codebook_size - 1
        return np.repeat(levels, self.frame_samples, axis=1)


class OneBook(LevelCodec):
    """1 x 256 codes."""


class OddFrames(LevelCodec):
    """2 x 171 codes: the window is no whole number of frames."""

    n_codebooks = 2
    frame_samples = 480


class NineBooks(LevelCodec):
    """9 x 294 codes at 44.1 kHz."""

    sample_rate_hz = 44_100
    n_codebooks = 9
    frame_samples = 512
