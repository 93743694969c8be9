"""Random streams of the world: every draw is from a named stream, and purposes share none."""

from __future__ import annotations

import hashlib

import numpy as np

from nano4m_audio.taxonomy import class_names

CLASSES = class_names()
PURPOSES = ("demo", "mini", "test")


def stream(purpose: str, seed: int, *path: str | int) -> np.random.Generator:
    """The random generator of one named thing, such as ``("demo", 1, "voice", video_id)``.

    Raises ValueError for an unknown purpose.
    """
    if purpose not in PURPOSES:
        raise ValueError(f"unknown purpose {purpose!r} (known: {', '.join(PURPOSES)})")
    name = "\0".join([purpose, str(seed), *(str(part) for part in path)])
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
