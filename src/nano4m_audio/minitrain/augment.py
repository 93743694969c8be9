"""Data augmentation: video compression, cropping, lighting and recording level."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate


def zoom_box(generator: torch.Generator, size: int, least: float = 0.8) -> tuple[int, int, int]:
    """A random square inside a size x size picture: (top, left, side), side >= least * size."""
    side = int(torch.randint(int(least * size), size + 1, (), generator=generator))
    top, left = torch.randint(0, size - side + 1, (2,), generator=generator).tolist()
    return top, left, side


def zoom(images: torch.Tensor, box: tuple[int, int, int], mode: str = "bilinear") -> torch.Tensor:
    """Cut ``box`` out of float [B, C, S, S] and stretch it to S x S again."""
    top, left, side = box
    cut = images[:, :, top : top + side, left : left + side]
    if side == images.shape[2]:
        return cut
    if mode == "nearest":
        return interpolate(cut, size=images.shape[2:], mode=mode)
    return interpolate(cut, size=images.shape[2:], mode=mode, align_corners=False)


def soften(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Half of the time, lose detail as low bitrates and small source videos do; [B, C, S, S] in
    -1..1."""
    if _uniform(generator) < 0.5:
        return images
    size = images.shape[2]
    small = int(size * (0.4 + 0.6 * _uniform(generator)))
    images = interpolate(images, size=(small, small), mode="bilinear", antialias=True)
    images = interpolate(images, size=(size, size), mode="bilinear")
    return images + 0.03 * _uniform(generator) * torch.randn(images.shape, generator=generator)


def relight(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Change brightness, contrast and colour balance of each image a little; [B, 3, S, S] in
    -1..1."""
    batch = images.shape[0]
    gain = 1 + 0.15 * (2 * torch.rand(batch, 1, 1, 1, generator=generator) - 1)
    tint = 0.06 * torch.randn(batch, 3, 1, 1, generator=generator)
    shift = 0.1 * torch.randn(batch, 1, 1, 1, generator=generator)
    return (images * gain + tint + shift).clamp(-1, 1)


def relevel(waveforms: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random gain of -9 to +6 dB, and a noise floor at -75 to -50 dBFS; [B, S]."""
    batch = waveforms.shape[0]
    gain_db = -9 + 15 * torch.rand(batch, 1, generator=generator)
    floor_db = -75 + 25 * torch.rand(batch, 1, generator=generator)
    noise = torch.randn(waveforms.shape, generator=generator)
    return (waveforms * 10 ** (gain_db / 20) + noise * 10 ** (floor_db / 20)).clamp(-1, 1)


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
