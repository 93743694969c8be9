"""Discrete audio codes: two 10-bit tokens per 13.3 ms frame, decoded by way of a spectrogram."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from nano4m_audio.backends.mini.fsq import Fsq
from nano4m_audio.backends.mini.layers import Conv, Residual
from nano4m_audio.backends.mini.runtime import MiniBackend, run_each
from nano4m_audio.backends.mini.spectrum import LogMel

SAMPLE_RATE_HZ = 24_000
HOP = 320
WINDOW_SAMPLES = 256 * HOP
N_FFT = 1024
N_CODEBOOKS = 2
LEVELS = (4, 4, 4, 4, 4)
# Magnitudes are coded as log(magnitude + floor). 0.1 is about the magnitude of white noise at
# -46 dBFS: codes and training are spent on what stands out of a quiet background.
MAGNITUDE_FLOOR = 0.1
_ITERATIONS = 24


class CodecNet(nn.Module):
    """Waveforms [B, S] at 24 kHz <-> codes [B, N_CODEBOOKS, S / HOP], by way of log magnitudes."""

    def __init__(self) -> None:
        super().__init__()
        self.fsq = Fsq(LEVELS)
        self.log_mel = LogMel(SAMPLE_RATE_HZ, N_FFT, HOP, 96, low_hz=40, high_hz=12_000)
        self.encoder = nn.Sequential(
            Conv(96, 128, 5, dims=1),
            Residual(128, dims=1),
            Conv(128, N_CODEBOOKS * len(LEVELS), 1, relu=False, dims=1),
        )
        self.decoder = nn.Sequential(
            Conv(N_CODEBOOKS * len(LEVELS), 192, 5, dims=1),
            Residual(192, dims=1),
            Residual(192, dims=1),
            nn.Conv1d(192, N_FFT // 2 + 1, 1),
        )

    def latents(self, log_mel: torch.Tensor) -> torch.Tensor:
        """[B, 96, T] -> unbounded float32 [B, N_CODEBOOKS, T, d]."""
        flat = self.encoder(log_mel / 5).float()
        return flat.unflatten(1, (N_CODEBOOKS, len(LEVELS))).transpose(2, 3)

    def log_magnitudes(self, values: torch.Tensor) -> torch.Tensor:
        """Quantised latents [B, N_CODEBOOKS, T, d] -> log magnitudes [B, T, N_FFT // 2 + 1]."""
        flat = values.transpose(2, 3).flatten(1, 2)
        return self.decoder(flat).float().transpose(1, 2)

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        return self.log_magnitudes(self.fsq.quantise(self.latents(log_mel)))


class MiniCodec(MiniBackend):
    """AudioTokenizer at 1.5 kbit/s."""

    net: CodecNet
    network = CodecNet
    member = "codec"
    sample_rate_hz = SAMPLE_RATE_HZ
    n_codebooks = N_CODEBOOKS

    @property
    def codebook_size(self) -> int:
        return self.net.fsq.vocab_size

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, 81920] at 24 kHz -> int32 [B, 2, 256]."""
        net, fsq = self.net, self.net.fsq

        def codes(x: torch.Tensor) -> torch.Tensor:
            return fsq.ids(fsq.bins(net.latents(net.log_mel(x))))

        return run_each(codes, waveforms, self.threads).astype(np.int32)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Integer [B, 2, 256] -> float32 [B, 81920] in -1..1, by Griffin-Lim from fixed phases."""
        net, fsq = self.net, self.net.fsq

        def waveform(ids: torch.Tensor) -> torch.Tensor:
            log_magnitudes = net.log_magnitudes(fsq.centres(fsq.bins_of(ids)))
            magnitudes = (torch.exp(log_magnitudes) - MAGNITUDE_FLOOR).clamp(min=0)
            return net.log_mel.spectrum.griffin_lim(magnitudes, _ITERATIONS).clamp(-1, 1)

        return run_each(waveform, np.asarray(codes, np.int64), self.threads)
