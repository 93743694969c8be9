"""The diffusion decoder: a UNet over 4 x 4 patches that sees the codes beside the noisy picture
(Dhariwal and Nichol 2021; ml-4m fourm/vq/models/unet). Module names are the checkpoint's keys."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from nano4m_audio.backends.divae.settings import UnetShape


def _norm_act_conv(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.GroupNorm(32, c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, padding=1))


class ResBlock(nn.Module):
    """Two convolutions with the time added between them, around a skip connection."""

    def __init__(self, c_in: int, c_out: int, time_dim: int) -> None:
        super().__init__()
        self.in_layers = _norm_act_conv(c_in, c_out)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time_dim, c_out))
        norm, act, conv = _norm_act_conv(c_out, c_out)
        self.out_layers = nn.Sequential(norm, act, nn.Identity(), conv)  # 2 was dropout
        self.skip_connection = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        h = self.in_layers(x) + self.emb_layers(time)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class Attention(nn.Module):
    """Self-attention over all positions, one head as wide as the map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.norm(x).flatten(2)).transpose(1, 2).unsqueeze(1).chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2)
        return x + self.proj_out(mixed).unflatten(2, x.shape[-2:])


class Down(nn.Module):
    """Halves height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return self.op(x)


class Up(nn.Module):
    """Doubles height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Stem(nn.Conv2d):
    """The first convolution; it takes the time like every other part and ignores it."""

    def forward(self, x: torch.Tensor, time: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(x)


class Chain(nn.ModuleList):
    """Parts one after the other, all of which take (x, time)."""

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        for part in self:
            x = part(x, time)
        return x


class Unet(nn.Module):
    """(noisy [B, C, H, W], times [B], codes [B, d, H / 16, W / 16]) -> [B, C, H, W].

    H and W must be multiples of the patch times two per level below the first (32 in full size).
    """

    def __init__(self, channels: int, code_dim: int, shape: UnetShape) -> None:
        super().__init__()
        self.patch_px, self.base = shape.patch_px, shape.channels
        patch = channels * shape.patch_px**2
        time_dim = 4 * shape.channels
        self.time_embed = nn.Sequential(
            nn.Linear(shape.channels, time_dim), nn.SiLU(), nn.Linear(time_dim, time_dim)
        )
        widths = [m * shape.channels for m in shape.multipliers]
        self.input_blocks, skips = _way_down(patch + code_dim, widths, shape)
        self.middle_block = Chain(
            [
                ResBlock(widths[-1], widths[-1], time_dim),
                Attention(widths[-1]),
                ResBlock(widths[-1], widths[-1], time_dim),
            ]
        )
        self.output_blocks = _way_up(skips, widths, shape)
        self.out = _norm_act_conv(widths[0], patch)

    def forward(
        self, noisy: torch.Tensor, times: torch.Tensor, codes: torch.Tensor
    ) -> torch.Tensor:
        patches = F.pixel_unshuffle(noisy, self.patch_px)
        x = torch.cat([patches, F.interpolate(codes, patches.shape[-2:], mode="nearest")], 1)
        time = self.time_embed(_waves(times, self.base))
        skips = []
        for chain in self.input_blocks:
            x = chain(x, time)
            skips.append(x)
        x = self.middle_block(x, time)
        for chain in self.output_blocks:
            x = chain(torch.cat([x, skips.pop()], 1), time)
        return F.pixel_shuffle(self.out(x), self.patch_px)


def _way_down(c_in: int, widths: list[int], shape: UnetShape) -> tuple[nn.ModuleList, list[int]]:
    """The input blocks, and the channels of each one's output (the skips)."""
    chains, skips = [Chain([Stem(c_in, widths[0], 3, padding=1)])], [widths[0]]
    before = [widths[0], *widths]
    for level, (previous, width) in enumerate(pairwise(before)):
        if level:
            chains.append(Chain([Down(previous)]))
            skips.append(previous)
        for block in range(shape.blocks):
            parts: list[nn.Module] = [
                ResBlock(width if block else previous, width, 4 * shape.channels)
            ]
            if level in shape.attention_levels:
                parts.append(Attention(width))
            chains.append(Chain(parts))
            skips.append(width)
    return nn.ModuleList(chains), skips


def _way_up(skips: list[int], widths: list[int], shape: UnetShape) -> nn.ModuleList:
    """The output blocks: one more per level than on the way down, each fed with one skip."""
    chains, skips, width = [], list(skips), widths[-1]
    for level in reversed(range(len(widths))):
        for block in range(shape.blocks + 1):
            parts: list[nn.Module] = [
                ResBlock(width + skips.pop(), widths[level], 4 * shape.channels)
            ]
            width = widths[level]
            if level in shape.attention_levels:
                parts.append(Attention(width))
            if level and block == shape.blocks:
                parts.append(Up(width))
            chains.append(Chain(parts))
    return nn.ModuleList(chains)


def _waves(times: torch.Tensor, dim: int) -> torch.Tensor:
    """Integer times [B] -> float32 [B, dim]: cosines, then sines, of falling frequency."""
    index = torch.arange(dim // 2, dtype=torch.float32, device=times.device)
    angles = times[:, None].float() * torch.exp(-math.log(10_000) * index / (dim // 2))
    return torch.cat([angles.cos(), angles.sin()], 1)
