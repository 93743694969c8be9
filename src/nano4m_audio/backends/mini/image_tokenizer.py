"""Discrete image codes, 14 x 14: a convolutional encoder, a finite scalar grid and a decoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from nano4m_audio.backends.mini.fsq import Fsq
from nano4m_audio.backends.mini.layers import Conv, Residual, Up
from nano4m_audio.backends.mini.runtime import MiniBackend, run_each

GRID = 14
IMAGE_SIZE = 16 * GRID


class ImageTokenizerNet(nn.Module):
    """Images [B, C, H, W] in -1..1 <-> grids of token ids [B, H / 16, W / 16].

    ``width`` scales all channel counts; 40 is the full size used for RGB.
    """

    def __init__(self, channels: int, levels: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.fsq = Fsq(levels)
        fine, middle, coarse = width, 2 * width, 12 * width // 5
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            Conv(16 * channels, fine),
            Conv(fine, middle, stride=2),
            Residual(middle),
            Conv(middle, coarse, stride=2),
            Residual(coarse),
            Conv(coarse, len(levels), 1, relu=False),
        )
        self.decoder = nn.Sequential(
            Conv(len(levels), coarse),
            Residual(coarse),
            Up(coarse, middle),
            Residual(middle),
            Up(middle, fine),
            Residual(fine),
            nn.Conv2d(fine, 16 * channels, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def latents(self, images: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> unbounded float32 [B, H / 16, W / 16, d]."""
        images = images.contiguous(memory_format=torch.channels_last)
        return self.encoder(images).permute(0, 2, 3, 1).float()

    def decode(self, values: torch.Tensor) -> torch.Tensor:
        """Quantised latents [B, h, w, d] -> images [B, C, 16 h, 16 w], not clamped."""
        maps = values.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        return self.decoder(maps).float()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.decode(self.fsq.quantise(self.latents(images)))


class MiniImageTokenizer(MiniBackend):
    """ImageTokenizer; one subclass per modality."""

    net: ImageTokenizerNet
    n_tokens = GRID * GRID

    @classmethod
    def build_net(cls, notes: dict[str, Any]) -> nn.Module:
        return ImageTokenizerNet(notes["channels"], tuple(notes["levels"]), notes["width"])

    @property
    def channels(self) -> int:
        return int(self.notes["channels"])

    @property
    def vocab_size(self) -> int:
        return self.net.fsq.vocab_size

    def tokenize(self, images: np.ndarray) -> np.ndarray:
        """float32 [B, C, 224, 224] in -1..1 -> int32 [B, 196] in 0..vocab_size-1, row by row."""
        fsq = self.net.fsq

        def encode(x: torch.Tensor) -> torch.Tensor:
            return fsq.ids(fsq.bins(self.net.latents(x))).flatten(1)

        return run_each(encode, images, self.threads).astype(np.int32)

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """Integer [B, 196] -> float32 [B, C, 224, 224] in -1..1."""
        fsq = self.net.fsq

        def decode(ids: torch.Tensor) -> torch.Tensor:
            bins = fsq.bins_of(ids.view(1, GRID, GRID))
            return self.net.decode(fsq.centres(bins)).clamp(-1, 1)

        return run_each(decode, np.asarray(tokens, np.int64), self.threads)


class MiniRgbTokenizer(MiniImageTokenizer):
    """Colour pictures, 4096 codes."""

    member = "rgb_tokenizer"


class MiniDepthTokenizer(MiniImageTokenizer):
    """Inverse depth, each image stretched to -1..1; 1024 codes."""

    member = "depth_tokenizer"


class MiniNormalTokenizer(MiniImageTokenizer):
    """Unit normals, x, y, z as channels; 1024 codes."""

    member = "normal_tokenizer"


class TrainedImageTokenizer(MiniImageTokenizer):
    """Trained on the frames of a run; the folder that it is loaded from says which."""

    member = "tokenizer"
