"""What generated ids are: pictures, sounds and text, and files of them that people open."""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np

from nano4m_audio.errors import UserError
from nano4m_audio.label.maps import visible
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.nano4m.generate import NOTHING, Marks
from nano4m_audio.tokenize.interleave import deinterleave

#: Kind of modality -> suffix of its files.
SUFFIXES = {"image": ".png", "audio": ".wav", "text": ".txt"}
_CHUNK = 8


def marks_of(tokenizer: Any) -> Marks:
    """The ids with which a text tokenizer begins and ends every text."""
    start, end = tokenizer.encode("")
    return Marks(start, end)


def decode(modality: str, ids: np.ndarray, tokenizer: Any) -> list[Any]:
    """What rows of ids, int64 [n, width], stand for: of an image uint8 [H, W, 3], of audio float32
    [samples] in -1..1 at the tokenizer's rate, of text one printable line. Raises UserError for
    audio ids of the wrong codebook."""
    kind = MODALITIES[modality].kind
    made: list[Any] = []
    for start in range(0, len(ids), _CHUNK):
        rows = ids[start : start + _CHUNK]
        if kind == "text":
            texts = (tokenizer.decode(row[row != NOTHING].tolist()) for row in rows)
            made += [printable(text) for text in texts]
        elif kind == "image":
            made += [visible(modality, image) for image in tokenizer.decode(rows)]
        else:
            made += list(tokenizer.decode(_codes(rows, tokenizer)))
    return made


def _codes(rows: np.ndarray, tokenizer: Any) -> np.ndarray:
    try:
        return deinterleave(rows, tokenizer.n_codebooks, tokenizer.codebook_size)
    except ValueError as error:
        raise UserError(f"audio: {error}: its tokens are those of another tokenizer") from None


def printable(text: str) -> str:
    """Text as one line that is safe to print: U+FFFD for characters that control a terminal."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def file_bytes(modality: str, made: Any, tokenizer: Any) -> bytes:
    """A decoded picture as PNG, a sound as 16-bit WAV, a text as a line of UTF-8."""
    kind = MODALITIES[modality].kind
    if kind == "text":
        return f"{made}\n".encode("utf-8", "replace")
    return png(made) if kind == "image" else wav(made, tokenizer.sample_rate_hz)


def png(picture: np.ndarray) -> bytes:
    """uint8 [H, W, 3] as PNG; the same picture gives the same bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def wav(waveform: np.ndarray, rate_hz: int) -> bytes:
    """float32 [n] in -1..1 as mono WAV of 16 bits."""
    samples = np.clip(np.rint(waveform * 32767.0), -32768, 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, rate_hz, len(samples), "NONE", ""))
        file.writeframes(samples.tobytes())
    return buffer.getvalue()
