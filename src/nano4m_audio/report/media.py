"""Pictures and sounds as data URIs."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np

from nano4m_audio.media import playable

_KINDS = {".jpg": "image/jpeg", ".mp3": "audio/mpeg"}


def data_uri(kind: str, data: bytes) -> str:
    """``data:<kind>;base64,...``"""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def file_uri(path: Path) -> str:
    """A JPEG or MP3 file."""
    return data_uri(_KINDS[path.suffix], path.read_bytes())


def jpeg_uri(picture: np.ndarray, quality: int = 82, size_px: int | None = None) -> str:
    """uint8 [H, W, 3] as a JPEG: see ``playable.jpeg``."""
    return data_uri("image/jpeg", playable.jpeg(picture, quality, size_px))


def mp3_uri(waveform: np.ndarray, sample_rate_hz: int) -> str:
    """float32 [n] in -1..1 as an MP3: see ``playable.mp3``."""
    return data_uri("audio/mpeg", playable.mp3(waveform, sample_rate_hz))
