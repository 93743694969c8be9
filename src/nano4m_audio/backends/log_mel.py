"""The log-mel spectrogram that PANNs and CLAP take as input."""

from __future__ import annotations

import torch
from torch import nn

N_FFT = 1024
FLOOR = 1e-10


class LogMel(nn.Module):
    """Waveforms [B, S] -> decibels [B, 1 + S // hop, bands], always in float32.

    Power of a centred STFT (periodic Hann window of 1,024 samples, mirrored borders), weighted by
    ``filters`` [513, bands], as 10 log10 with a floor at 1e-10 (-100 dB). An FFT takes a fifth of
    the time of the DFT by convolution in PANNs.
    """

    filters: torch.Tensor
    window: torch.Tensor

    def __init__(self, filters: torch.Tensor, hop: int) -> None:
        super().__init__()
        self.hop = hop
        self.register_buffer("filters", filters.float())
        self.register_buffer("window", torch.hann_window(N_FFT))

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(
            waveforms, N_FFT, self.hop, window=self.window, pad_mode="reflect", return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return 10 * torch.log10((power.transpose(1, 2) @ self.filters).clamp(min=FLOOR))
