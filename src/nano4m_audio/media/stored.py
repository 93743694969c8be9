"""How frames and audio are stored: JPEG and FLAC bytes to arrays and back."""

from __future__ import annotations

import io

import numpy as np


def encode_jpeg(picture: np.ndarray, quality: int) -> bytes:
    """Encode uint8 [H, W, 3] as JPEG; the same picture gives the same bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def read_frame(jpeg: bytes) -> np.ndarray:
    """Decode JPEG bytes to uint8 [H, W, 3]."""
    from PIL import Image

    with Image.open(io.BytesIO(jpeg)) as image:
        return np.array(image.convert("RGB"))


def encode_flac(samples: np.ndarray, rate_hz: int) -> bytes:
    """Encode float32 [n] mono audio as 16-bit FLAC; the same samples give the same bytes."""
    import av

    pcm = np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac", container_options={"fflags": "+bitexact"}) as flac:
        stream = flac.add_stream(
            "flac", rate=rate_hz, layout="mono", format="s16", options={"flags": "+bitexact"}
        )
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = rate_hz
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            flac.mux(packet)
    return buffer.getvalue()


def read_audio(flac: bytes) -> np.ndarray:
    """Decode FLAC bytes to float32 [n] mono samples at the rate they were stored with."""
    import av

    with av.open(io.BytesIO(flac), "r", format="flac") as container:
        container.streams.audio[0].codec_context.thread_count = 1
        parts = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    pcm = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    return pcm.astype(np.float32) / np.float32(32768.0)
