"""Sound classes of a 3.4-second window: log-mel features and a small convolutional network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from nano4m_audio.backends.mini.layers import Conv, Residual
from nano4m_audio.backends.mini.runtime import MiniBackend, run_each
from nano4m_audio.backends.mini.spectrum import LogMel

SAMPLE_RATE_HZ = 32_000
WINDOW_SAMPLES = 109_227
_HOP = 320


class TaggerNet(nn.Module):
    """Waveforms [B, WINDOW_SAMPLES] at 32 kHz -> logits [B, C], independent per class."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.log_mel = LogMel(SAMPLE_RATE_HZ, 1024, _HOP, 64, low_hz=60, high_hz=14_000)
        self.trunk = nn.Sequential(
            Conv(1, 24, stride=2),
            Conv(24, 48, stride=2),
            Residual(48),
            Conv(48, 80, stride=2),
            Residual(80),
            Conv(80, 96, stride=2),
        )
        # Height 64 -> 4 after four halvings: frequency position must survive, time is pooled.
        self.head = nn.Linear(2 * 4 * 96, n_classes)

    def features(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Log-mel [B, 1, 64, 341], roughly zero mean and unit variance for calls at -20 dBFS."""
        whole = waveforms.shape[1] // _HOP * _HOP
        return (self.log_mel(waveforms[:, :whole]) / 5).unsqueeze(1)

    def maps(self, features: torch.Tensor) -> torch.Tensor:
        """What is pooled over time: [B, 96, 4, 22], 6.25 moments a second."""
        return self.trunk(features.contiguous(memory_format=torch.channels_last))

    def pooled(self, features: torch.Tensor) -> torch.Tensor:
        """What the head sees: [B, 768], largest and mean value over time of each map and height."""
        maps = self.maps(features)
        return torch.cat([maps.amax(3), maps.mean(3)], 1).flatten(1)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(self.pooled(features))

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        return self.classify(self.features(waveforms))


class MiniTagger(MiniBackend):
    """AudioTagger; ``labels`` are the barnyard's classes in their order."""

    net: TaggerNet
    member = "tagger"
    sample_rate_hz = SAMPLE_RATE_HZ

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.notes["labels"])

    @classmethod
    def build_net(cls, notes: dict[str, Any]) -> nn.Module:
        return TaggerNet(len(notes["labels"]))

    def tag(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, 109227] at 32 kHz -> float32 [B, C] scores in 0..1, independent per class."""
        return run_each(lambda x: torch.sigmoid(self.net(x)), waveforms, self.threads)


class MiniEmbedder(MiniBackend):
    """AudioEmbedder: what the mini tagger computes before its last layer."""

    net: TaggerNet
    member = MiniTagger.member
    sample_rate_hz = SAMPLE_RATE_HZ
    build_net = MiniTagger.build_net

    def embed(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, 109227] at 32 kHz -> float32 [B, 768], not of unit length."""
        return run_each(lambda x: self.net.pooled(self.net.features(x)), waveforms, self.threads)


class MiniSoundFeatures(MiniBackend):
    """SoundFeatures: what the mini tagger computes before it pools over time."""

    net: TaggerNet
    member = MiniTagger.member
    sample_rate_hz = SAMPLE_RATE_HZ
    build_net = MiniTagger.build_net

    def moments(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, 109227] at 32 kHz -> float32 [B, 22, 384]."""

        def run(waveform: torch.Tensor) -> torch.Tensor:
            return self.net.maps(self.net.features(waveform)).flatten(1, 2).transpose(1, 2)

        return run_each(run, waveforms, self.threads)
