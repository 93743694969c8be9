"""The three published 4M tokenizers behind the ImageTokenizer Protocol.

Weights: EPFL-VILAB/4M_tokenizers_{rgb_16k,depth_8k,normal_8k}_224-448 (4M, Mizrahi et al. 2023).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch

from nano4m_audio.backends.batching import per_device, place, run_batched
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.divae.model import Divae, load_divae
from nano4m_audio.backends.images import check_shape
from nano4m_audio.errors import UserError

GRID, IMAGE_PX = 14, 224
DECODE_STEPS = 25


class DivaeTokenizer:
    """ImageTokenizer; one subclass per modality. Always float32: in bfloat16 more than 0.5 % of the
    tokens become others (benchmarks/image_backends.py)."""

    backend_id: str
    channels: int
    n_tokens = GRID * GRID
    #: Multiplies pictures on their way in and out of the network.
    sign = 1.0

    def __init__(self, net: Divae, compute: Compute) -> None:
        self.compute = replace(compute, dtype="float32")
        self.net = place(net, self.compute)

    @classmethod
    def load(cls, compute: Compute, folder: Path) -> Self:
        """Load ``config.json`` and ``model.safetensors`` of a published repository.

        UserError when they are missing, damaged or of another modality.
        """
        net = load_divae(folder)
        if net.settings.n_channels != cls.channels:
            raise UserError(
                f"{folder}: a tokenizer of {net.settings.n_channels} channel(s), and "
                f"{cls.backend_id} has {cls.channels}: these are the files of another modality"
            )
        return cls(net, compute)

    @property
    def vocab_size(self) -> int:
        return self.net.settings.codebook_size

    def tokenize(self, images: np.ndarray) -> np.ndarray:
        """float32 [B, C, 224, 224] in -1..1 -> int32 [B, 196], row by row."""
        check_shape(images, (self.channels, IMAGE_PX, IMAGE_PX), "a 4M tokenizer")

        def encode(batch: torch.Tensor) -> torch.Tensor:
            return self.net.tokens(self.sign * batch).flatten(1)

        rows = run_batched(encode, images, per_device(self.compute, 8, 32), self.compute)
        return rows.astype(np.int32)

    def decode(self, tokens: np.ndarray, steps: int = DECODE_STEPS, seed: int = 0) -> np.ndarray:
        """Integer [B, 196] -> float32 [B, C, 224, 224] in -1..1, by ``steps`` of diffusion.

        All pictures start from the same noise, drawn from ``seed`` on the CPU, so that the picture
        of some tokens depends on nothing else.
        """
        tokens = np.asarray(tokens, np.int64)
        check_shape(tokens, (self.n_tokens,), "a 4M tokenizer")
        if tokens.size and (tokens.min() < 0 or tokens.max() >= self.vocab_size):
            raise ValueError(f"token ids must lie in 0..{self.vocab_size - 1}")

        def decode(batch: torch.Tensor) -> torch.Tensor:
            generator = torch.Generator().manual_seed(seed)
            start = torch.randn(self.channels, IMAGE_PX, IMAGE_PX, generator=generator)
            grid = batch.view(-1, GRID, GRID)
            noise = start.to(batch.device).expand(len(batch), -1, -1, -1)
            images = self.net.decode(grid, noise, steps, generator)
            return self.sign * images.clamp(-1, 1)

        return run_batched(decode, tokens, per_device(self.compute, 4, 16), self.compute)


class FourmRgbTokenizer(DivaeTokenizer):
    """Colour pictures, 16384 codes."""

    backend_id = "fourm_16k"
    channels = 3


class FourmDepthTokenizer(DivaeTokenizer):
    """Depth, each image stretched to -1..1; 8192 codes."""

    backend_id = "fourm_8k"
    channels = 1


class FourmNormalTokenizer(DivaeTokenizer):
    """Unit normals, 8192 codes. The network knows them with all signs turned round: see
    ``NormalEstimator`` in protocols.py."""

    backend_id = "fourm_8k"
    channels = 3
    sign = -1.0
