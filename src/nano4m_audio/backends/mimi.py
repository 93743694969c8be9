"""Mimi (Defossez et al. 2024, arXiv 2410.00037) behind the AudioTokenizer Protocol.

Its first codebook is semantic: it was taught by a model of speech. The others are acoustic.
"""

from __future__ import annotations

from typing import Any

import torch

from nano4m_audio.backends.codec import TransformersCodec


class Mimi(TransformersCodec):
    """AudioTokenizer at 1.1 kbit/s: eight codebooks of 2,048 ids, 12.5 frames per second."""

    sample_rate_hz = 24_000
    n_codebooks = 8
    codebook_size = 2048
    frame_samples = 1920

    @staticmethod
    def classes() -> tuple[Any, Any]:
        from transformers import MimiConfig, MimiModel

        return MimiModel, MimiConfig

    @staticmethod
    def shape(config: Any) -> tuple[int, int, int, int]:
        books = config.num_quantizers
        return config.sampling_rate, config.frame_size, books, config.codebook_size

    def codes_of(self, batch: torch.Tensor) -> torch.Tensor:
        return self._net.encode(batch, num_quantizers=self.n_codebooks).audio_codes

    def waveforms_of(self, codes: torch.Tensor) -> torch.Tensor:
        return self._net.decode(codes).audio_values
