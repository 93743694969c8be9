"""Encoder, decoder and recurrent unit of DSINE; module names are the checkpoint's keys."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn
from torch.nn import functional as F


class Encoder(nn.Module):
    """Normalised pictures -> features at 1/8 [B, 64], 1/16 [B, 176] and 1/32 [B, 2048].

    timm's EfficientNet-B5 (TensorFlow padding) has the keys of the one that DSINE was trained with.
    Its ``bn2`` is in the checkpoint and never used: DSINE reads the convolution in front of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.original_model: Any = timm.create_model(
            "tf_efficientnet_b5", pretrained=False, num_classes=0
        )

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        net = self.original_model
        x = net.bn1(net.conv_stem(pictures))
        taps = []
        for block in net.blocks:
            x = block(x)
            taps.append(x)
        return taps[2], taps[4], net.conv_head(x)


class StandardisedConv(nn.Conv2d):
    """Convolution by filters scaled to mean 0 and deviation 1 (Qiao et al. 2019)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.flatten(1).std(1).view(-1, 1, 1, 1) + 1e-5)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Up(nn.Module):
    """Resizes a map to its skip connection and mixes both with the pixels' directions."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self._net = nn.Sequential(
            StandardisedConv(c_in, c_out, 3, padding=1),
            nn.GroupNorm(8, c_out),
            nn.LeakyReLU(),
            StandardisedConv(c_out, c_out, 3, padding=1),
            nn.GroupNorm(8, c_out),
            nn.LeakyReLU(),
        )

    def forward(self, x: torch.Tensor, skip: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
        x = F.interpolate(x, skip.shape[-2:], mode="bilinear")
        return self._net(torch.cat([x, skip, uv], 1))


def head(c_in: int, hidden: int, c_out: int) -> nn.Sequential:
    """A 3 x 3 and two pointwise convolutions."""
    return nn.Sequential(
        nn.Conv2d(c_in, hidden, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 1),
        nn.ReLU(),
        nn.Conv2d(hidden, c_out, 1),
    )


class Decoder(nn.Module):
    """Features and directions uv at 1/8, 1/16, 1/32 -> raw normals, features and hidden state at
    1/8: [B, 3 | 64 | 64, H / 8, W / 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2 = nn.Conv2d(2048 + 2, 2048, 1)
        self.up1 = Up(2048 + 176 + 2, 1024)
        self.up2 = Up(1024 + 64 + 2, 512)
        self.normal_head = head(512 + 2, 128, 3)
        self.feature_head = head(512 + 2, 128, 64)
        self.hidden_head = head(512 + 2, 128, 64)

    def forward(
        self,
        features: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        uv: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = self.conv2(torch.cat([features[2], uv[2]], 1))
        x = self.up2(self.up1(x, features[1], uv[1]), features[0], uv[0])
        x = torch.cat([x, uv[0]], 1)
        return self.normal_head(x), self.feature_head(x), self.hidden_head(x)


class ConvGru(nn.Module):
    """Convolutional gated recurrent unit: (hidden [B, 64, H, W], input [B, 66, H, W]) -> hidden."""

    def __init__(self, hidden: int, c_in: int) -> None:
        super().__init__()
        self.convz = nn.Conv2d(hidden + c_in, hidden, 5, padding=2)
        self.convr = nn.Conv2d(hidden + c_in, hidden, 5, padding=2)
        self.convq = nn.Conv2d(hidden + c_in, hidden, 5, padding=2)

    def forward(self, hidden: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        both = torch.cat([hidden, x], 1)
        update, reset = torch.sigmoid(self.convz(both)), torch.sigmoid(self.convr(both))
        candidate = torch.tanh(self.convq(torch.cat([reset * hidden, x], 1)))
        return (1 - update) * hidden + update * candidate
