from __future__ import annotations

import math

import torch

from nano4m_audio.backends.mini.spectrum import Spectrum, mel_filterbank
from nano4m_audio.minitrain.resample import to_rate


def _noise(samples: int) -> torch.Tensor:
    return torch.randn(2, samples, generator=torch.Generator().manual_seed(1))


def test_inversion_is_exact() -> None:
    spectrum = Spectrum(1024, 320)
    waveforms = _noise(320 * 20)
    spectra = spectrum(waveforms)
    assert spectra.shape == (2, 20, 513)
    assert torch.allclose(spectrum.invert(spectra), waveforms, atol=1e-5)


def test_griffin_lim_finds_the_tone() -> None:
    time_s = torch.arange(320 * 60) / 24_000
    tone = 0.3 * torch.sin(2 * math.pi * 440 * time_s).unsqueeze(0)
    spectrum = Spectrum(1024, 320)
    magnitudes = spectrum(tone).abs()
    rebuilt = spectrum.griffin_lim(magnitudes, 24)
    error = (spectrum(rebuilt).abs() - magnitudes).norm() / magnitudes.norm()
    assert error < 0.1


def test_mel_filters_cover_every_frequency_between_the_limits() -> None:
    bank = mel_filterbank(32_000, 1024, 64, 60, 14_000)
    hz = torch.linspace(0, 16_000, 513)
    assert bank.shape == (513, 64) and (bank >= 0).all()
    inside = (hz > 120) & (hz < 13_000)
    assert (bank.sum(1)[inside] > 0.5).all()
    assert (bank.sum(1)[hz > 14_100] == 0).all()


def test_resampling_keeps_a_tone() -> None:
    at_32k = torch.sin(2 * math.pi * 1000 * torch.arange(109_227) / 32_000).unsqueeze(0)
    at_24k = torch.sin(2 * math.pi * 1000 * torch.arange(81_920) / 24_000).unsqueeze(0)
    middle = slice(1000, -1000)
    # 109,227 samples are a quarter of a 24 kHz sample short of 4/3 times 81,920.
    assert (to_rate(at_32k, 81_920) - at_24k)[0, middle].abs().max() < 0.1
