"""How pseudo-labels of the keyframes are stored, tokenized and shown.

Stored form. Depth: per keyframe a 16-bit grey PNG of the inverse depth scaled to the map's own
lowest..highest value (kept beside it), so the error is at most (highest - lowest) / 131,070; the
tokenizer sees the same map scaled to -1..1. Normals: an 8-bit RGB PNG per keyframe in the usual
colours (see normal_colours), an error of at most 1/255 per component (0.4 degrees).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nano4m_audio.media.colours import colour_depth, colour_normals, image_of, normal_colours
from nano4m_audio.modalities import MODALITIES


def encode_depth(depth: np.ndarray) -> dict[str, Any]:
    """float32 [K, H, W] inverse depth -> the columns ``lowest``, ``highest``, ``maps``."""
    lowest, highest = depth.min((1, 2)), depth.max((1, 2))
    levels = np.rint(_scaled(depth) * 65535).astype(np.uint16)
    maps = [_png(level) for level in levels]
    return {"lowest": lowest.tolist(), "highest": highest.tolist(), "maps": maps}


def decode_depth(row: Mapping[str, Any]) -> np.ndarray:
    """The inverse of encode_depth: float32 [K, H, W]."""
    levels = np.stack([_read_png(data) for data in row["maps"]]).astype(np.float32) / 65535
    lowest = np.array(row["lowest"], np.float32)
    highest = np.array(row["highest"], np.float32)
    return levels * _span(lowest, highest)[:, None, None] + lowest[:, None, None]


def _scaled(depth: np.ndarray) -> np.ndarray:
    """Each map scaled to 0..1."""
    lowest, highest = depth.min((1, 2)), depth.max((1, 2))
    return (depth - lowest[:, None, None]) / _span(lowest, highest)[:, None, None]


def _span(lowest: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """highest - lowest, or 1 for a constant map."""
    span = highest - lowest
    return np.where(span > 0, span, 1).astype(np.float32)


def encode_normals(normals: np.ndarray) -> dict[str, Any]:
    """float32 [K, H, W, 3] unit vectors -> the column ``maps``."""
    return {"maps": [_png(colours) for colours in normal_colours(normals)]}


def decode_normals(row: Mapping[str, Any]) -> np.ndarray:
    """The inverse of encode_normals: float32 [K, H, W, 3], unit vectors."""
    return normals_image(row).transpose(0, 2, 3, 1)


def normals_image(row: Mapping[str, Any]) -> np.ndarray:
    """What the normal tokenizer sees of stored maps: unit vectors, float32 [K, 3, H, W]."""
    normals = np.stack([np.moveaxis(_read_png(data), -1, 0) for data in row["maps"]], 0, dtype="f4")
    normals /= 255
    normals *= 2
    np.subtract(1, normals, out=normals)
    x, y, z = normals.swapaxes(0, 1)
    normals /= np.sqrt(x * x + y * y + z * z)[:, None]
    return normals


def depth_image(depth: np.ndarray) -> np.ndarray:
    """What the depth tokenizer sees: each map scaled to -1..1, float32 [K, 1, H, W]."""
    return (_scaled(depth) * 2 - 1)[:, None].astype(np.float32)


@dataclass(frozen=True)
class Form:
    """How maps of one kind are stored and shown.

    ``encode`` makes the stored columns of an estimator's maps, ``images`` of these columns what the
    tokenizer sees (float32 [K, C, H, W] in -1..1), ``show`` of one such image uint8 [H, W, 3].
    """

    encode: Callable[[np.ndarray], dict[str, Any]]
    images: Callable[[Mapping[str, Any]], np.ndarray]
    show: Callable[[np.ndarray], np.ndarray]


DEPTH = Form(
    encode_depth, lambda row: depth_image(decode_depth(row)), lambda image: colour_depth(image[0])
)
NORMALS = Form(encode_normals, normals_image, colour_normals)
#: ModalitySpec.form -> Form; the constant of a form is its name in capitals (see versions.py).
FORMS = {"depth": DEPTH, "normals": NORMALS}


def visible(modality: str, image: np.ndarray) -> np.ndarray:
    """One image as its tokenizer sees it, float [C, H, W] in -1..1 -> uint8 [H, W, 3]."""
    form = MODALITIES[modality].form
    return FORMS[form].show(image) if form else image_of(image)


def stored_picture(png: bytes) -> np.ndarray:
    """One stored map as people see it, without the way over its values: uint8 [H, W, 3]."""
    levels = _read_png(png)
    if levels.ndim == 3:
        return levels
    return colour_depth(levels.astype(np.float32) / 32767.5 - 1)


def _png(levels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    # Noise in the low bits repeats nothing that a longer search would find.
    Image.fromarray(levels).save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def _read_png(data: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)))
