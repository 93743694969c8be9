"""Convolution blocks shared by the mini networks, and the folding of their batch norms.

Networks are trained with batch norm and stored without it: ``fold_norms`` multiplies the statistics
into the convolution in front, so that a loaded network has only convolutions and activations.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Conv(nn.Module):
    """Convolution over 1 or 2 ``dims``, batch norm (until folded) and an optional ReLU."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        relu: bool = True,
        dims: int = 2,
    ) -> None:
        super().__init__()
        conv, norm = (nn.Conv1d, nn.BatchNorm1d) if dims == 1 else (nn.Conv2d, nn.BatchNorm2d)
        self.conv = conv(c_in, c_out, kernel, stride, kernel // 2)
        self.norm: nn.BatchNorm1d | nn.BatchNorm2d | nn.Identity = norm(c_out)
        self.act = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x)))


class Residual(nn.Module):
    """Two convolutions of equal width around a skip connection."""

    def __init__(self, channels: int, kernel: int = 3, *, dims: int = 2) -> None:
        super().__init__()
        self.first = Conv(channels, channels, kernel, dims=dims)
        self.second = Conv(channels, channels, kernel, relu=False, dims=dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.second(self.first(x)))


class Up(nn.Module):
    """Doubles height and width: a pointwise convolution, then pixel shuffle."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = Conv(c_in, 4 * c_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pixel_shuffle(self.conv(x), 2)


def fold_norms(net: nn.Module) -> nn.Module:
    """Merge every batch norm of ``net`` into its convolution; returns ``net`` in eval mode."""
    net.eval()
    for block in net.modules():
        if isinstance(block, Conv) and not isinstance(block.norm, nn.Identity):
            block.conv = fuse_conv_bn_eval(block.conv, block.norm)  # type: ignore[type-var]
            block.norm = nn.Identity()
    return net
