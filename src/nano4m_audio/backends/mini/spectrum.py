"""Short-time spectra: log-mel features, overlap-add inversion and phase recovery."""

from __future__ import annotations

import math

import torch
from torch import nn


def mel_filterbank(
    sample_rate_hz: int, n_fft: int, n_mels: int, low_hz: float, high_hz: float
) -> torch.Tensor:
    """Triangles evenly spaced in mel, of unit peak: float32 [n_fft // 2 + 1, n_mels]."""

    def to_mel(hz: float) -> float:
        return 2595 * math.log10(1 + hz / 700)

    mels = torch.linspace(to_mel(low_hz), to_mel(high_hz), n_mels + 2)
    edges_hz = 700 * (10 ** (mels / 2595) - 1)
    bins_hz = torch.linspace(0, sample_rate_hz / 2, n_fft // 2 + 1).unsqueeze(1)
    rising = (bins_hz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])
    return torch.minimum(rising, falling).clamp(min=0)


class Spectrum(nn.Module):
    """Hann-window spectra with frames centred on their hop: n samples give n // hop frames.

    ``forward``: waveforms [B, S] -> complex [B, S // hop, n_fft // 2 + 1], S a multiple of hop.
    """

    window: torch.Tensor

    def __init__(self, n_fft: int, hop: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.margin = (n_fft - hop) // 2
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        padded = nn.functional.pad(waveforms, (self.margin, self.margin))
        frames = padded.unfold(1, self.n_fft, self.hop)
        return torch.fft.rfft(frames * self.window)

    def invert(self, spectra: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Least-squares overlap-add: complex [B, T, F] -> waveforms [B, T * hop]. Who inverts often
        gives the ``weight`` of T frames."""
        frames = torch.fft.irfft(spectra, n=self.n_fft) * self.window
        n_frames = spectra.shape[1]
        samples = self._overlap_add(frames)
        weight = self._weight(n_frames) if weight is None else weight
        kept = slice(self.margin, self.margin + n_frames * self.hop)
        return (samples / weight)[:, kept]

    def _weight(self, n_frames: int) -> torch.Tensor:
        """What the windows of so many frames add up to: [1, samples]."""
        return self._overlap_add((self.window**2).expand(1, n_frames, -1)).clamp(min=1e-6)

    def _overlap_add(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames [B, T, n_fft], each a hop after the one before, added: [B, (T - 1) * hop + n_fft].
        Whole hops at a time, a third of the time of ``fold``."""
        batch, n_frames, _ = frames.shape
        parts = math.ceil(self.n_fft / self.hop)
        padded = nn.functional.pad(frames, (0, parts * self.hop - self.n_fft))
        summed = frames.new_zeros(batch, n_frames + parts - 1, self.hop)
        for part in range(parts):
            hops = padded[:, :, part * self.hop : (part + 1) * self.hop]
            summed[:, part : part + n_frames] += hops
        return summed.flatten(1)[:, : (n_frames - 1) * self.hop + self.n_fft]

    def griffin_lim(self, magnitudes: torch.Tensor, iterations: int) -> torch.Tensor:
        """Magnitudes [B, T, F] -> waveforms [B, T * hop] by accelerated Griffin-Lim (Perraudin et
        al. 2013), from phases that advance at each bin's centre frequency.
        """
        n_frames, n_bins = magnitudes.shape[1:]
        frame, index = torch.arange(n_frames).unsqueeze(1), torch.arange(n_bins)
        # Whole multiples of a turn are dropped in integers first: float32 phases stay exact.
        turns = (frame * index * self.hop % self.n_fft) / self.n_fft
        angles = torch.polar(torch.ones_like(turns), 2 * math.pi * turns).expand_as(magnitudes)
        previous, weight = torch.zeros_like(angles), self._weight(n_frames)
        for _ in range(iterations):
            rebuilt = self(self.invert(magnitudes * angles, weight))
            angles = rebuilt + 0.99 * (rebuilt - previous)
            angles = angles / angles.abs().clamp(min=1e-9)
            previous = rebuilt
        return self.invert(magnitudes * angles, weight)


class LogMel(nn.Module):
    """Natural-log mel power: waveforms [B, S] -> [B, n_mels, S // hop]; silence gives log(1e-3)."""

    bank: torch.Tensor

    def __init__(
        self,
        sample_rate_hz: int,
        n_fft: int,
        hop: int,
        n_mels: int,
        *,
        low_hz: float,
        high_hz: float,
    ) -> None:
        super().__init__()
        self.spectrum = Spectrum(n_fft, hop)
        bank = mel_filterbank(sample_rate_hz, n_fft, n_mels, low_hz, high_hz)
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        return self.of_magnitudes(self.spectrum(waveforms).abs())

    def of_magnitudes(self, magnitudes: torch.Tensor) -> torch.Tensor:
        """The same features from magnitudes [B, T, F]."""
        power = (magnitudes**2) @ self.bank
        return torch.log(power + 1e-3).transpose(1, 2)
