"""Band-limited resampling of whole windows through the Fourier transform."""

from __future__ import annotations

import torch


def to_rate(waveforms: torch.Tensor, samples: int) -> torch.Tensor:
    """Waveforms [B, S] -> [B, samples] of the same time, without frequencies above the new limit.

    The window is taken as periodic, which is audible only in its first and last few milliseconds.
    """
    spectrum = torch.fft.rfft(waveforms)
    kept = min(spectrum.shape[1], samples // 2 + 1)
    return torch.fft.irfft(spectrum[:, :kept], n=samples) * (samples / waveforms.shape[1])
