"""X-Codec for general audio (Ye et al. 2024, arXiv 2408.17175) behind the AudioTokenizer Protocol.

Each codebook sees acoustic features and those of a HuBERT that was trained on general audio, so
that its first ids say what a sound is before they say how exactly it sounds.
"""

from __future__ import annotations

from typing import Any

import torch

from nano4m_audio.backends.codec import TransformersCodec

_KBPS_PER_CODEBOOK = 0.5


class Xcodec1(TransformersCodec):
    """AudioTokenizer at 0.5 kbit/s: one codebook of 1,024 ids, 50 frames per second."""

    sample_rate_hz = 16_000
    n_codebooks = 1
    codebook_size = 1024
    frame_samples = 320

    @staticmethod
    def classes() -> tuple[Any, Any]:
        from transformers import XcodecConfig, XcodecModel

        return XcodecModel, XcodecConfig

    @staticmethod
    def shape(config: Any) -> tuple[int, int, int, int]:
        books = config.num_quantizers
        return config.sample_rate, config.hop_length, books, config.codebook_size

    def codes_of(self, batch: torch.Tensor) -> torch.Tensor:
        # Whole frames, as the package's feature extractor makes them.
        missing = -batch.shape[-1] % self.frame_samples
        batch = torch.nn.functional.pad(batch, (0, missing))
        kbps = self.n_codebooks * _KBPS_PER_CODEBOOK
        return self._net.encode(batch, bandwidth=kbps, return_dict=False)

    def waveforms_of(self, codes: torch.Tensor) -> torch.Tensor:
        return self._net.decode(codes, return_dict=False)


class Xcodec2(Xcodec1):
    """AudioTokenizer at 1 kbit/s: the first two codebooks."""

    n_codebooks = 2
