"""Pictures and sounds as files that every browser shows: small, and the same bytes for the same
input."""

from __future__ import annotations

import io

import numpy as np

from nano4m_audio.media.colours import colour_depth

_BIT_RATE = 48_000
_FFT, _MELS, _FLOOR_DB = 1024, 72, 70.0


def jpeg(picture: np.ndarray, quality: int = 82, size_px: int | None = None) -> bytes:
    """uint8 [H, W, 3] as a JPEG, scaled to ``size_px`` x ``size_px`` where given."""
    from PIL import Image

    image = Image.fromarray(picture)
    if size_px is not None and image.size != (size_px, size_px):
        image = image.resize((size_px, size_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def mp3(waveform: np.ndarray, sample_rate_hz: int, quick: bool = False) -> bytes:
    """float32 [n] in -1..1 as mono MP3, which every browser plays; ``quick`` takes half the time
    for a little of the quality."""
    import av

    pcm = np.clip(np.rint(waveform * 32767), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    options = {"fflags": "+bitexact", "write_xing": "0", "id3v2_version": "0"}
    with av.open(buffer, "w", format="mp3", container_options=options) as container:
        stream = container.add_stream("libmp3lame", rate=sample_rate_hz, layout="mono")
        if quick:
            stream.codec_context.options = {"compression_level": "7"}
        stream.bit_rate = _BIT_RATE
        stream.codec_context.thread_count = 1
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16p", layout="mono")
        frame.sample_rate = sample_rate_hz
        frame.pts = 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return buffer.getvalue()


def spectrogram(waveform: np.ndarray, sample_rate_hz: int, columns: int = 336) -> np.ndarray:
    """A picture of sound, uint8 [72, columns, 3]: time to the right, pitch (mel) upwards."""
    hop = max(1, (len(waveform) - _FFT) // columns)
    starts = np.arange(columns) * hop
    padded = np.pad(waveform, (0, _FFT + hop))
    frames = padded[starts[:, None] + np.arange(_FFT)] * np.hanning(_FFT)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    mels = np.linspace(_mel(60), _mel(sample_rate_hz / 2 * 0.95), _MELS + 1)
    edges = (700 * (10 ** (mels / 2595) - 1) / sample_rate_hz * _FFT).astype(int)
    bands = [
        power[:, a : max(b, a + 1)].mean(1) for a, b in zip(edges[:-1], edges[1:], strict=True)
    ]
    level = 10 * np.log10(np.stack(bands)[::-1] + 1e-9)
    level -= max(float(level.max()), 0.0)
    return colour_depth(np.clip(level / _FLOOR_DB * 2 + 1, -1, 1))


def _mel(hz: float) -> float:
    return 2595 * np.log10(1 + hz / 700)
