"""EnCodec 24 kHz (Defossez et al. 2022, arXiv 2210.13438) behind the AudioTokenizer Protocol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nano4m_audio.backends.batching import fill, per_device, place, run_batched
from nano4m_audio.backends.checkpoints import read_torch
from nano4m_audio.backends.compute import Compute

CHECKPOINT = "encodec_24khz-d7cc33bc.th"
_BANDWIDTH_KBPS = 1.5


class Encodec24kHz:
    """AudioTokenizer at 1.5 kbit/s: two codebooks of 1,024 entries, 75 frames per second.

    The encoder is causal: the codes of a frame depend on nothing after its end, so the first T
    frames of a long window are the codes of its first 320 T samples. It always runs in float32: a
    code is the nearest of 1,024 entries, and rounding would change many of them.
    """

    backend_id = "encodec_24khz"
    sample_rate_hz = 24_000
    n_codebooks = 2
    codebook_size = 1024

    def __init__(self, net: Any, compute: Compute) -> None:
        self._net, self._compute = net, compute

    @classmethod
    def load(cls, compute: Compute, folder: Path) -> Encodec24kHz:
        """Read the published checkpoint in ``folder``. Raises UserError if it is another file."""
        from encodec import EncodecModel

        path = folder / CHECKPOINT
        net = fill(EncodecModel.encodec_model_24khz(pretrained=False), read_torch(path), path)
        net.set_target_bandwidth(_BANDWIDTH_KBPS)
        compute = replace(compute, dtype="float32")
        return cls(place(net, compute), compute)

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, S] at 24 kHz in -1..1 -> int32 [B, 2, S / 320]: [B, 2, 256] of 81,920."""

        def codes(batch: torch.Tensor) -> torch.Tensor:
            ((frames, _),) = self._net.encode(batch.unsqueeze(1))
            return frames.int()

        return run_batched(codes, waveforms, per_device(self._compute, 1, 64), self._compute)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """int [B, 2, T] -> float32 [B, 320 T] in about -1..1."""
        return run_batched(
            lambda batch: self._net.decode([(batch, None)]).squeeze(1),
            np.asarray(codes, np.int64),
            per_device(self._compute, 1, 64),
            self._compute,
        )
