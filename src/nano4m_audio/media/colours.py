"""Colours in which images, depth maps and surface normals are stored and shown."""

from __future__ import annotations

import numpy as np

#: Control colours of the depth scale, far to near: dark to light, legible in grey as well.
_DEPTH_COLOURS = np.array(
    [(13, 8, 50), (74, 20, 110), (142, 41, 108), (208, 72, 76), (246, 135, 58), (252, 232, 150)],
    np.float32,
)


def image_of(image: np.ndarray) -> np.ndarray:
    """float [3, H, W] in -1..1 -> uint8 [H, W, 3]."""
    levels = np.rint((image.transpose(1, 2, 0) + 1) * 127.5)
    return levels.clip(0, 255).astype(np.uint8)


def normal_colours(normals: np.ndarray) -> np.ndarray:
    """Normals [..., 3] in the frame of NormalEstimator -> uint8 RGB [..., 3], the colours that
    DSINE and most viewers use: a wall that faces the camera is light blue, a plane that faces left
    is redder, one that faces up is greener."""
    return np.rint((1 - normals) / 2 * 255).clip(0, 255).astype(np.uint8)


def colour_normals(normals: np.ndarray) -> np.ndarray:
    """Normals, float [3, H, W] -> uint8 [H, W, 3], in the colours of the stored maps."""
    return normal_colours(normals.transpose(1, 2, 0))


def colour_depth(depth: np.ndarray) -> np.ndarray:
    """float [H, W] in -1..1 (1 is nearest) -> uint8 [H, W, 3], dark far and light near."""
    steps = 1020  # a multiple of the places between control colours, and finer than a grey level
    places = np.linspace(0, len(_DEPTH_COLOURS) - 1, steps + 1)
    control = np.arange(len(_DEPTH_COLOURS))
    columns = [np.interp(places, control, channel) for channel in _DEPTH_COLOURS.T]
    scale = np.rint(np.stack(columns, axis=1)).astype(np.uint8)
    return scale[np.rint((np.clip(depth, -1, 1) + 1) * (steps / 2)).astype(np.int32)]
