"""Depth and surface normals from one picture: one small U-Net with both outputs."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import nn

from nano4m_audio.backends.mini.layers import Conv, Residual, Up
from nano4m_audio.backends.mini.runtime import MiniBackend, as_image, run_each

# The network works in log(inverse depth + FLOOR): relative errors count alike near and far, and the
# sky (inverse depth 0) stays finite, a factor of three below the far limit of 60 m.
FLOOR = 1 / 120


class DenseNet(nn.Module):
    """Images [B, 3, H, W] in -1..1 -> [B, 4, H, W]: log inverse depth, then raw normals.

    H and W must be multiples of 32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.at_2 = Conv(14, 24)
        self.at_4 = nn.Sequential(Conv(24, 48, stride=2), Residual(48))
        self.at_8 = nn.Sequential(Conv(48, 64, stride=2), Residual(64))
        self.at_16 = nn.Sequential(Conv(64, 80, stride=2), Residual(80))
        self.at_32 = nn.Sequential(Conv(80, 96, stride=2), Residual(96))
        self.up_16, self.mix_16 = Up(96, 64), Conv(64 + 80, 80)
        self.up_8, self.mix_8 = Up(80, 48), Conv(48 + 64, 64)
        self.up_4, self.mix_4 = Up(64, 40), Conv(40 + 48, 48)
        self.up_2, self.mix_2 = Up(48, 24), Conv(24 + 24, 32)
        self.out = nn.Conv2d(32, 4 * 4, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        half = nn.functional.pixel_unshuffle(images, 2)
        x2 = self.at_2(torch.cat([half, _coordinates(half)], 1))
        x4 = self.at_4(x2)
        x8 = self.at_8(x4)
        x16 = self.at_16(x8)
        x = self.at_32(x16)
        x = self.mix_16(torch.cat([self.up_16(x), x16], 1))
        x = self.mix_8(torch.cat([self.up_8(x), x8], 1))
        x = self.mix_4(torch.cat([self.up_4(x), x4], 1))
        x = self.mix_2(torch.cat([self.up_2(x), x2], 1))
        return nn.functional.pixel_shuffle(self.out(x), 2).float()


def _coordinates(like: torch.Tensor) -> torch.Tensor:
    """Row and column of every pixel in -1..1, [B, 2, H, W]: the depth of the ground needs them."""
    batch, _, height, width = like.shape
    rows = torch.linspace(-1, 1, height, dtype=like.dtype).view(1, 1, height, 1)
    columns = torch.linspace(-1, 1, width, dtype=like.dtype).view(1, 1, 1, width)
    grid = torch.cat([rows.expand(1, 1, height, width), columns.expand(1, 1, height, width)], 1)
    return grid.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)


def _predict(net: nn.Module, rgb: torch.Tensor) -> torch.Tensor:
    return net(as_image(rgb).contiguous(memory_format=torch.channels_last))


class MiniDense(MiniBackend):
    """SharedEstimator: one pass of the network serves depth and normals."""

    net: DenseNet
    network = DenseNet
    member = "dense"

    def outputs(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [B, 224, 224, 3] -> float32 [B, 4, 224, 224], as the network gives them."""
        return run_each(partial(_predict, self.net), rgb, self.threads)

    def maps(self, outputs: np.ndarray) -> np.ndarray:
        """What the subclass is for, of outputs of the network."""
        return run_each(self._map, outputs, self.threads)

    def estimate(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [B, 224, 224, 3] -> the maps of the pictures."""
        return self.maps(self.outputs(rgb))

    def _map(self, outputs: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class MiniDepth(MiniDense):
    """DepthEstimator: float32 [B, 224, 224] inverse depth in 1/m, sky 0."""

    def _map(self, outputs: torch.Tensor) -> torch.Tensor:
        return (torch.exp(outputs[:, 0]) - FLOOR).clamp(min=0)


class MiniNormals(MiniDense):
    """NormalEstimator: float32 [B, 224, 224, 3], unit length, as in protocols.py."""

    def _map(self, outputs: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(outputs[:, 1:], dim=1).permute(0, 2, 3, 1)
