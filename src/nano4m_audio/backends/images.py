"""Shared image preprocessing of the pretrained networks."""

from __future__ import annotations

import numpy as np
import torch

from nano4m_audio.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Triple = tuple[float, float, float]


def check_shape(rows: np.ndarray, wanted: tuple[int, ...], name: str) -> None:
    """Raise UserError unless ``rows``, which are for the tokenizer ``name``, are [B, *wanted]."""
    if rows.shape[1:] != wanted:
        text = ", ".join(map(str, wanted))
        raise UserError(f"{name} needs an array [B, {text}], not {list(rows.shape)}")


def as_pixels(rgb: torch.Tensor) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> uint8 [B, 3, H, W], the same memory (channels last)."""
    return rgb.permute(0, 3, 1, 2)


def normalise(pixels: torch.Tensor, mean: Triple, std: Triple) -> torch.Tensor:
    """uint8 [B, 3, H, W] -> float32: (pixels / 255 - mean) / std per channel."""
    shape = (1, 3, 1, 1)
    centre = torch.tensor(mean, device=pixels.device).view(shape)
    scale = torch.tensor(std, device=pixels.device).view(shape)
    return (pixels.float() / 255 - centre) / scale
