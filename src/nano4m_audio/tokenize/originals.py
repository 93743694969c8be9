"""What tokens were made from, and what they decode to: for people to look at and listen to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.media import windows
from nano4m_audio.media.stored import read_audio
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.store import opened
from nano4m_audio.tokenize.interleave import decode_ids, interleave
from nano4m_audio.tokenize.keyframes import Pick


def read_sounds(store: Path, picks: Sequence[Pick], rate_hz: int) -> np.ndarray:
    """The audio windows of clips, whose ``key`` names the row of their sound: float32 [B, samples]
    at ``rate_hz``."""
    pieces = []
    for pick in picks:
        stored = opened(store, "clips", pick.shard).read([pick.key], ["audio_flac"])
        audio = read_audio(stored["audio_flac"][0].as_py())
        pieces.append(windows.cut(audio, pick.selected["window_start_s"]))
    return windows.resample(np.stack(pieces), rate_hz)


def decode(modality: str, tokenizer: Any, ids: np.ndarray) -> np.ndarray:
    """Token ids [B, n] of a modality -> images, float32 [B, C, 224, 224] in -1..1, or waveforms,
    float32 [B, samples]. Raises ValueError for an audio id of another codebook."""
    ids = np.asarray(ids, np.int64)
    if MODALITIES[modality].kind == "audio":
        return decode_ids(tokenizer, ids)
    return tokenizer.decode(ids)


def encode(modality: str, tokenizer: Any, decoded: np.ndarray) -> np.ndarray:
    """The inverse of ``decode``: int [B, n]."""
    if MODALITIES[modality].kind != "audio":
        return tokenizer.tokenize(decoded)
    return interleave(tokenizer.encode(decoded), tokenizer.codebook_size)
