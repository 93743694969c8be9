"""WavTokenizer (Ji et al. 2024, arXiv 2408.16532) behind the AudioTokenizer Protocol."""

from __future__ import annotations

from typing import Any

import torch

from nano4m_audio.backends.codec import TransformersCodec


class WavTokenizer(TransformersCodec):
    """AudioTokenizer at 0.9 kbit/s: one codebook of 4,096 ids, 75 frames per second."""

    sample_rate_hz = 24_000
    n_codebooks = 1
    codebook_size = 4096
    frame_samples = 320

    @staticmethod
    def classes() -> tuple[Any, Any]:
        from transformers import WavTokenizerConfig, WavTokenizerModel

        return WavTokenizerModel, WavTokenizerConfig

    @staticmethod
    def shape(config: Any) -> tuple[int, int, int, int]:
        return config.sampling_rate, config.hop_length, 1, config.codebook_size

    def codes_of(self, batch: torch.Tensor) -> torch.Tensor:
        return self._net.encode(batch).audio_codes

    def waveforms_of(self, codes: torch.Tensor) -> torch.Tensor:
        return self._net.decode(codes).audio_values


class WavTokenizer40Hz(WavTokenizer):
    """AudioTokenizer at 0.48 kbit/s: 40 frames per second."""

    frame_samples = 600
