"""Audio codecs of transformers behind the AudioTokenizer Protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from nano4m_audio.backends.batching import per_device, place, run_batched
from nano4m_audio.backends.checkpoints import read_safetensors
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.hugging_face import from_tensors, read_config
from nano4m_audio.errors import UserError

WEIGHTS, CONFIG = "model.safetensors", "config.json"


class TransformersCodec(ABC):
    """AudioTokenizer of a codec of transformers: a frame of ``frame_samples`` samples is one id of
    each codebook, and the last frame of a waveform may be a part of one.

    It always runs in float32, as rounding would change many codes, and on a CPU one waveform at a
    time, whose activations fill the caches.
    """

    sample_rate_hz: int
    n_codebooks: int
    codebook_size: int
    frame_samples: int

    def __init__(self, net: Any, compute: Compute) -> None:
        self._net, self._compute = net, compute

    @classmethod
    def load(cls, compute: Compute, folder: Path) -> Self:
        """Read the published files in ``folder``. Raises UserError if they are of another codec."""
        network, config_kind = cls.classes()
        config = read_config(config_kind, folder / CONFIG)
        cls._check(config, folder / CONFIG)
        tensors = read_safetensors(folder / WEIGHTS)
        net = from_tensors(network, config, tensors, folder / WEIGHTS)
        compute = replace(compute, dtype="float32")
        return cls(place(net, compute), compute)

    @classmethod
    def _check(cls, config: Any, path: Path) -> None:
        rate_hz, frame, books, size = cls.shape(config)
        found = rate_hz, frame, size
        wanted = cls.sample_rate_hz, cls.frame_samples, cls.codebook_size
        if found != wanted or books < cls.n_codebooks:
            raise UserError(
                f"{path} is of another codec: {rate_hz} Hz, frames of {frame} samples, {books} "
                f"codebooks of {size} ids, where {wanted[0]} Hz, frames of {wanted[1]} samples, "
                f"{cls.n_codebooks} codebooks of {wanted[2]} ids are needed"
            )

    @staticmethod
    @abstractmethod
    def classes() -> tuple[Any, Any]:
        """The network and the config of transformers."""

    @staticmethod
    @abstractmethod
    def shape(config: Any) -> tuple[int, int, int, int]:
        """Sample rate [Hz], samples of a frame, codebooks and their size, as a config has them."""

    @abstractmethod
    def codes_of(self, batch: torch.Tensor) -> torch.Tensor:
        """Float [B, 1, samples] -> integer [B, n_codebooks, frames]."""

    @abstractmethod
    def waveforms_of(self, codes: torch.Tensor) -> torch.Tensor:
        """Integer [B, n_codebooks, frames] -> float [B, 1, frames * frame_samples]."""

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        """float32 [B, samples] in -1..1 -> int32 [B, n_codebooks, frames]: of a frame that is not
        full, too. Raises ValueError for less than one frame."""
        if waveforms.shape[1] < self.frame_samples:
            raise ValueError(f"{waveforms.shape[1]} samples are no frame of {self.frame_samples}")
        return run_batched(
            lambda batch: self.codes_of(batch.unsqueeze(1)).int(),
            waveforms,
            per_device(self._compute, cpu=1, accelerator=32),
            self._compute,
        )

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """int [B, n_codebooks, frames] -> float32 [B, frames * frame_samples] in about -1..1."""
        return run_batched(
            lambda batch: self.waveforms_of(batch).squeeze(1),
            np.asarray(codes, np.int64),
            per_device(self._compute, cpu=1, accelerator=32),
            self._compute,
        )
