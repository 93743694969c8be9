"""Semantic sound tokens: which cluster of sounds each moment of a window belongs to.

A cluster is a centre among features (of a tagger, or of the spectrogram), so an id says what is
heard and not how the wave runs. What an id sounds like is the mean spectrum of its cluster in the
training clips, with phases by Griffin-Lim: enough to tell by ear what a cluster is about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.nn import functional as F

from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.mini.runtime import read_notes, run_each
from nano4m_audio.backends.mini.spectrum import LogMel
from nano4m_audio.errors import UserError
from nano4m_audio.files import write_bytes

WEIGHTS = "tokenizer.safetensors"
SAMPLE_RATE_HZ, _HOP, _N_FFT = 32_000, 320, 1024
WINDOW_SAMPLES = 109_227
#: Frames of a window, the last of them filled up.
FRAMES = -(-WINDOW_SAMPLES // _HOP)
_BANDS = 64
_ITERATIONS = 24
#: Moments whose distances to all centres are in memory at once.
_CHUNK = 4096


class _Spectrogram(LogMel):
    """Waveforms [B, 109227] at 32 kHz -> natural-log mel power [B, 64, 342]."""

    def __init__(self) -> None:
        super().__init__(SAMPLE_RATE_HZ, _N_FFT, _HOP, _BANDS, low_hz=60, high_hz=14_000)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        filled = F.pad(waveforms, (0, FRAMES * _HOP - waveforms.shape[1]))
        return super().forward(filled)

    def sound(self, log_mel: torch.Tensor) -> torch.Tensor:
        """The inverse, as far as there is one: [B, 64, T] -> waveforms [B, T * 320]."""
        power = (log_mel.exp() - 1e-3).clamp(min=0).transpose(1, 2)  # [B, T, 64]
        share = self.bank / self.bank.sum(0)  # how a band's power is spread over its bins
        covered = self.bank.sum(1).clamp(min=1e-3)
        magnitudes = ((power @ share.T) / covered).sqrt()
        return self.spectrum.griffin_lim(magnitudes, _ITERATIONS)


class LogMelFeatures:
    """SoundFeatures without a model: level and change of 64 mel bands, 50 moments a second."""

    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, compute: Compute) -> None:
        self._net, self._threads = _Spectrogram(), compute.threads

    @classmethod
    def load(cls, compute: Compute = Compute()) -> Self:
        """Nothing is read."""
        return cls(compute)

    def moments(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, 109227] at 32 kHz -> float32 [B, 171, 128]."""

        def run(waveform: torch.Tensor) -> torch.Tensor:
            pairs = self._net(waveform).unflatten(2, (FRAMES // 2, 2))  # [1, 64, 171, 2]
            parts = pairs.mean(3), pairs[..., 1] - pairs[..., 0]
            return torch.cat(parts, 1).transpose(1, 2)

        return run_each(run, waveforms, self._threads)


@dataclass(frozen=True)
class Clusters:
    """What was found in the training clips: ``centres`` [K, D] among features that are standardised
    by ``mean`` and ``scale`` [D], and the mean log-mel ``spectra`` [K, 64, frames] of each.
    ``notes``: the features (name and identity) and ``n_tokens`` of a window."""

    centres: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    spectra: torch.Tensor
    notes: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write all of it as one safetensors file."""
        from safetensors.torch import save

        tensors = {name: getattr(self, name) for name in ("centres", "mean", "scale")}
        tensors = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
        tensors["spectra"] = self.spectra.half().contiguous()
        write_bytes(path, save(tensors, {"notes": json.dumps(self.notes, sort_keys=True)}))

    @classmethod
    def read(cls, path: Path) -> Clusters:
        """What ``save`` wrote. Raises UserError for another file."""
        from safetensors.torch import load_file

        notes, tensors = read_notes(path), load_file(path)
        wanted = {"centres", "mean", "scale", "spectra"}
        if tensors.keys() != wanted or not {"features", "identity", "n_tokens"} <= notes.keys():
            raise UserError(f"{path} holds no clusters of sounds: train it again")
        return cls(**{name: tensor.float() for name, tensor in tensors.items()}, notes=notes)

    def ids(self, moments: torch.Tensor) -> torch.Tensor:
        """The nearest centre of features [..., D]: int64 [...]."""
        return nearest((moments - self.mean) / self.scale, self.centres)[0]


def nearest(x: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest of ``centres`` [K, D] to each of ``x`` [..., D], of equally near ones the first,
    and the square of its distance."""
    flat, norms = x.reshape(-1, x.shape[-1]), centres.square().sum(1)
    parts = [(norms - 2 * part @ centres.T).min(1) for part in flat.split(_CHUNK)]
    ids = torch.cat([part.indices for part in parts])
    far = (torch.cat([part.values for part in parts]) + flat.square().sum(1)).clamp(min=0)
    return ids.reshape(x.shape[:-1]), far.reshape(x.shape[:-1])


def resampled(values: torch.Tensor, count: int) -> torch.Tensor:
    """Means over ``count`` equal spans of time, of [B, T, D]: [B, count, D]."""
    return F.adaptive_avg_pool1d(values.transpose(1, 2), count).transpose(1, 2)


class SemanticTokenizer:
    """AudioTokenizer of one codebook, whose ids are clusters of what a model hears."""

    n_codebooks = 1
    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, clusters: Clusters, features: Any, threads: int) -> None:
        self.clusters, self._features, self._threads = clusters, features, threads
        self._spectrogram = _Spectrogram()

    @classmethod
    def load(cls, compute: Compute, folder: Path) -> Self:
        """Read the clusters in ``folder``. Raises UserError where they are of features that this
        version computes in another way."""
        from nano4m_audio.backends import registry

        clusters = Clusters.read(folder / WEIGHTS)
        name = clusters.notes["features"]
        if registry.identity("sound_features", name) != clusters.notes["identity"]:
            raise UserError(
                f"{folder} has clusters of other features {name} than those of now: train it again"
            )
        return cls(clusters, registry.load("sound_features", name, compute), compute.threads)

    @property
    def codebook_size(self) -> int:
        return len(self.clusters.centres)

    @property
    def n_tokens(self) -> int:
        """Ids of an audio window."""
        return int(self.clusters.notes["n_tokens"])

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, 109227] at 32 kHz -> int32 [B, 1, n_tokens]."""
        moments = self._features.moments(waveforms)

        def run(moment: torch.Tensor) -> torch.Tensor:
            return self.clusters.ids(resampled(moment, self.n_tokens))

        return run_each(run, moments, self._threads).astype(np.int32)[:, None]

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """int [B, 1, n] -> float32 [B, samples]: the mean spectrum of every cluster, as sound."""
        frames = round(codes.shape[2] * FRAMES / self.n_tokens)

        def run(ids: torch.Tensor) -> torch.Tensor:
            parts = self.clusters.spectra[ids[0, 0]]  # [n, 64, frames of a token]
            log_mel = parts.transpose(0, 1).flatten(1).unsqueeze(0)  # [1, 64, all frames]
            even = F.interpolate(log_mel, frames, mode="linear", align_corners=False)
            return self._spectrogram.sound(even)

        return run_each(run, np.asarray(codes, np.int64), self._threads)


def spectra_of(waveforms: np.ndarray, n_tokens: int, threads: int) -> np.ndarray:
    """The log-mel spectrum of every token's span: float32 [B, n_tokens, 64, frames]."""
    net, frames = _Spectrogram(), -(-FRAMES // n_tokens)

    def run(waveform: torch.Tensor) -> torch.Tensor:
        even = F.interpolate(net(waveform), n_tokens * frames, mode="linear", align_corners=False)
        return even.unflatten(2, (n_tokens, frames)).transpose(1, 2)

    return run_each(run, waveforms, threads)
