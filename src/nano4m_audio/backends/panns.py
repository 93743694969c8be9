"""PANNs Cnn14 (Kong et al. 2020, arXiv 1912.10211) behind the AudioTagger Protocol.

The network is written here, with the parameter names of the published checkpoint, because importing
the package panns_inference downloads a file and writes to the home folder. Tests compare it with
that package's own network. Upstream: github qiuqiangkong/audioset_tagging_cnn, pytorch/models.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nano4m_audio.backends import audioset
from nano4m_audio.backends.batching import fill, per_device, place, run_batched
from nano4m_audio.backends.checkpoints import read_torch
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.log_mel import LogMel

CHECKPOINT = "Cnn14_mAP=0.431.pth"
N_LABELS = 527
_HOP = 320
_CHANNELS = (1, 64, 128, 256, 512, 1024, 2048)
# The checkpoint also holds the constants of its spectrogram: the mel filters, which are used, and a
# Fourier transform written as a convolution, which is not.
_MEL_FILTERS = "logmel_extractor.melW"
_FOURIER = "spectrogram_extractor."


class ConvBlock(nn.Module):
    """Twice convolution, batch norm and ReLU, then the mean of every ``pool`` x ``pool`` square."""

    def __init__(self, c_in: int, c_out: int, pool: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu_(self.bn1(self.conv1(x)))
        x = F.relu_(self.bn2(self.conv2(x)))
        return F.avg_pool2d(x, self.pool) if self.pool > 1 else x


class Cnn14(nn.Module):
    """Log-mel [B, T, 64] -> scores of the 527 AudioSet labels [B, 527] in 0..1."""

    def __init__(self) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(64)
        for i, (c_in, c_out) in enumerate(zip(_CHANNELS, _CHANNELS[1:], strict=False), 1):
            self.add_module(f"conv_block{i}", ConvBlock(c_in, c_out, 2 if i < 6 else 1))
        self.fc1 = nn.Linear(2048, 2048)
        self.fc_audioset = nn.Linear(2048, N_LABELS)

    def moments(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Log-mel [B, T, 64] -> [B, T // 32, 2048], of every moment what is heard in it."""
        x = self.bn0(log_mel.transpose(1, 2).unsqueeze(3))  # one scale and shift per mel band
        x = x.transpose(1, 3)
        for i in range(1, len(_CHANNELS)):
            x = self.get_submodule(f"conv_block{i}")(x)
        return x.mean(3).transpose(1, 2)

    def embed(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Log-mel [B, T, 64] -> [B, 2048], what the labels are told from."""
        x = self.moments(log_mel)
        x = x.amax(1) + x.mean(1)
        return F.relu_(self.fc1(x))

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.fc_audioset(self.embed(log_mel)))


class _Panns:
    """Cnn14 with its spectrogram. Always runs in float32: bfloat16 moves scores by several
    hundredths, and clips over a threshold."""

    sample_rate_hz = 32_000

    def __init__(self, log_mel: LogMel, net: Cnn14, compute: Compute) -> None:
        self._log_mel, self._net, self._compute = log_mel, net, compute

    @classmethod
    def load(cls, compute: Compute, folder: Path) -> Self:
        """Read the published checkpoint in ``folder``. Raises UserError if it is another file."""
        path = folder / CHECKPOINT
        tensors = dict(read_torch(path)["model"])
        log_mel = LogMel(tensors.pop(_MEL_FILTERS), _HOP)
        weights = {k: v for k, v in tensors.items() if not k.startswith(_FOURIER)}
        compute = replace(compute, dtype="float32")
        net = fill(Cnn14(), weights, path)
        return cls(place(log_mel, compute), place(net, compute), compute)

    def _run(
        self, part: Callable[[torch.Tensor], torch.Tensor], waveforms: np.ndarray
    ) -> np.ndarray:
        batch_size = per_device(self._compute, cpu=14, accelerator=112)
        return run_batched(lambda x: part(self._log_mel(x)), waveforms, batch_size, self._compute)


class PannsCnn14(_Panns):
    """AudioTagger of the 527 AudioSet labels."""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(audioset.labels().values())

    def tag(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, samples] at 32 kHz in -1..1 -> float32 [B, 527] in 0..1."""
        return self._run(self._net, waveforms)


class PannsEmbedder(_Panns):
    """AudioEmbedder: what Cnn14 computes before its last layer."""

    def embed(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, samples] at 32 kHz in -1..1 -> float32 [B, 2048], not of unit length."""
        return self._run(self._net.embed, waveforms)


class PannsSoundFeatures(_Panns):
    """SoundFeatures: what Cnn14 computes before it pools over time."""

    def moments(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, samples] at 32 kHz -> float32 [B, T, 2048], 3.125 moments a second."""
        return self._run(self._net.moments, waveforms)
