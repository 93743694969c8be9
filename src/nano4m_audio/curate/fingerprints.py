"""Fingerprints by which copies of a clip are found: plain signal processing, no trained weights.

The image fingerprint is a mean over the clip, so that a shifted cut of the same footage keeps it;
the audio fingerprint keeps time, so that it can tell two recordings of the same scene apart.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from nano4m_audio.media.windows import SAMPLE_RATE_HZ, shown_at

if TYPE_CHECKING:
    import pyarrow as pa

#: Audio fingerprints have this many columns a second. Each looks at four columns' worth of sound:
#: copies are cut at any time, and shorter looks would change with the fraction of a column.
SOUND_HZ = 10
_LOOK = 4
SOUND_BANDS = 16
#: Bands lie between these frequencies: copies are often band-limited by a telephone-like codec.
_LOW_HZ, _HIGH_HZ = 100.0, 6000.0
#: Levels below the loudest by more than this are silence: codecs change what is there.
_RANGE_DB = 40.0
_FRAMES = 12
_SIDE_PX = 32
_LUMA, _CHROMA = 8, 4


def fingerprint(
    frames: Sequence[bytes], frame_times_s: np.ndarray, audio: np.ndarray
) -> dict[str, Any]:
    """Return the fingerprints of one clip.

    ``frames`` are JPEG bytes with their times; ``audio`` is float32 [n] at 32 kHz.
    ``image`` and ``image_mirror`` (of the clip flipped left to right): 95 floats of unit
    length, zeros for blank pictures. ``audio``: [T][16] levels in 0..1 (see
    audio_fingerprint), 10 columns a second; all zeros for silence. ``motion``: the largest mean
    distance of a frame from the mean of all [grey levels]; about 0 for a still picture.
    """
    times = shown_at(frame_times_s, len(audio) / SAMPLE_RATE_HZ)
    wanted = (np.arange(_FRAMES) + 0.5) / _FRAMES * (times[-1] - times[0]) + times[0]
    chosen = np.searchsorted(times, wanted, side="right") - 1
    pictures = np.stack([_small(frames[i]) for i in chosen])
    luma, chroma = _mean_spectrum(pictures)
    grey = pictures[..., 0]
    flip = (-1.0) ** np.arange(_LUMA)
    return {
        "image": _image_vector(luma, chroma).tolist(),
        "image_mirror": _image_vector(luma * flip, chroma * flip[:_CHROMA]).tolist(),
        "audio": audio_fingerprint(audio).tolist(),
        "motion": float(np.abs(grey - grey.mean(axis=0)).mean(axis=(1, 2)).max()),
    }


def read_fingerprints(table: pa.Table) -> dict[str, dict[str, np.ndarray]]:
    """Return the fingerprints of a scores/fingerprints table by clip_id, as float32 arrays.

    No Python number is made on the way: 150,000 clips of 10 s take about 1.1 GB.
    """
    fingerprints: dict[str, dict[str, np.ndarray]] = {}
    for batch in table.to_batches():
        columns = {name: batch.column(name) for name in ("image", "image_mirror", "audio")}
        for row, clip_id in enumerate(batch.column("clip_id").to_pylist()):
            values = {name: column[row].values for name, column in columns.items()}
            audio = values.pop("audio").flatten().to_numpy(zero_copy_only=False)
            fingerprints[clip_id] = {
                **{k: v.to_numpy(zero_copy_only=False) for k, v in values.items()},
                "audio": audio.reshape(-1, SOUND_BANDS),
            }
    return fingerprints


def _small(frame: bytes) -> np.ndarray:
    """A frame in YCbCr, around grey: float64 [32, 32, 3]."""
    from PIL import Image

    with Image.open(io.BytesIO(frame)) as image:
        small = image.convert("YCbCr").resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX)
    return np.asarray(small, np.float64) - 128.0


def _mean_spectrum(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean low-frequency cosine spectrum: luminance [8, 8], chrominance [2, 4, 4]."""
    luma, chroma = np.zeros((_LUMA, _LUMA)), np.zeros((2, _CHROMA, _CHROMA))
    for picture in pictures:
        y, *c = np.moveaxis(picture, 2, 0)
        basis = _cosines()
        luma += basis @ y @ basis.T
        half = basis[:_CHROMA]
        chroma += np.stack([half @ plane @ half.T for plane in c])
    return luma / len(pictures), chroma / len(pictures)


@cache
def _cosines() -> np.ndarray:
    """The lowest rows of an orthonormal cosine transform: [8, 32]."""
    k, x = np.arange(_LUMA)[:, None], np.arange(_SIDE_PX)[None]
    basis = np.cos(np.pi * k * (x + 0.5) / _SIDE_PX) * np.sqrt(2.0 / _SIDE_PX)
    basis[0] /= np.sqrt(2.0)
    return basis


def _image_vector(luma: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Weight the spectrum (real pictures fall off with frequency) and scale it to unit length."""
    vector = np.concatenate(
        [(luma * _weights(_LUMA)).ravel()[1:], (chroma * _weights(_CHROMA)).ravel()]
    )
    length = np.linalg.norm(vector)
    blank = length < _SIDE_PX  # less than one grey level of structure
    return np.zeros(vector.shape, np.float32) if blank else (vector / length).astype(np.float32)


def _weights(side: int) -> np.ndarray:
    return np.sqrt(1.0 + np.add.outer(np.arange(side) ** 2, np.arange(side) ** 2))


def audio_fingerprint(audio: np.ndarray) -> np.ndarray:
    """Return the band levels of float32 [n] audio at 32 kHz over time: float32 [T, 16] in 0..1.

    0 is 40 dB below the loudest entry or lower; digital silence is all zeros.
    """
    hop = SAMPLE_RATE_HZ // SOUND_HZ
    window = np.hanning(_LOOK * hop).astype(np.float32)
    padded = np.pad(np.asarray(audio, np.float32), ((_LOOK - 1) * hop // 2, _LOOK * hop))
    columns = np.lib.stride_tricks.sliding_window_view(padded, _LOOK * hop)[::hop]
    columns = columns[: max(1, len(audio) // hop)]
    power = np.abs(np.fft.rfft(columns * window, axis=1)) ** 2
    level = 10.0 * np.log10(power @ _bands(power.shape[1]) + 1e-12)
    loudest = level.max()
    if loudest < -60.0:
        return np.zeros(level.shape, np.float32)
    return np.round(np.clip(1.0 + (level - loudest) / _RANGE_DB, 0.0, 1.0), 2).astype(np.float32)


@cache
def _bands(n_bins: int) -> np.ndarray:
    """Triangular bands, evenly spaced on the mel scale: [n_bins, 16], each with unit sum."""
    mel = np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), SOUND_BANDS + 2)
    edges = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    hz = np.linspace(0.0, SAMPLE_RATE_HZ / 2, n_bins)[:, None]
    rise = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    bands = np.clip(np.minimum(rise, fall), 0.0, None)
    return bands / bands.sum(axis=0)


def _mel(hz: float) -> float:
    return 2595.0 * np.log10(1.0 + hz / 700.0)
