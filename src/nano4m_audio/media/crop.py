"""The one crop of the system: RGB, depth and normals are made from exactly the same square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nano4m_audio.media.stored import read_frame
from nano4m_audio.store import RowStore


def square_crop(frame: np.ndarray, size_px: int = 224) -> np.ndarray:
    """Scale the short side of a picture to ``size_px`` and keep the centre square.

    ``frame`` is uint8 [H, W, 3]; returns uint8 [size_px, size_px, 3] (bicubic, antialiased when
    shrinking). A picture that already has the wanted size comes back unchanged.
    """
    from PIL import Image

    height, width = frame.shape[:2]
    if (height, width) == (size_px, size_px):
        return frame
    side = min(height, width)
    # A fractional box keeps the square exactly centred; cropping and scaling are one resampling.
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    image = Image.fromarray(np.ascontiguousarray(frame))
    return np.asarray(image.resize((size_px, size_px), Image.Resampling.BICUBIC, box=box))


def keyframe_crops(decoded: RowStore, rows: Sequence[Any]) -> list[np.ndarray]:
    """The ten square crops of each selected row: uint8 [10, 224, 224, 3]."""
    table = decoded.read([row["clip_key"] for row in rows], ["frames"])
    crops = []
    for row, frames in zip(rows, table["frames"].to_pylist(), strict=True):
        unique = {i: square_crop(read_frame(frames[i])) for i in set(row["keyframes"])}
        crops.append(np.stack([unique[i] for i in row["keyframes"]]))
    return crops
