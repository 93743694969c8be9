"""Time windows of a clip: where they start, how loud they are, which samples they hold."""

from __future__ import annotations

import numpy as np

from nano4m_audio.modalities import KEYFRAMES, WINDOW_S

SAMPLE_RATE_HZ = 32_000
_FLOOR_DBFS = -120.0


def window_samples(rate_hz: int) -> int:
    """Samples of the audio window at a rate: 81,920 at 24 kHz."""
    return round(WINDOW_S * rate_hz)


WINDOW_SAMPLES = window_samples(SAMPLE_RATE_HZ)


def window_starts(duration_s: float, hop_s: float) -> np.ndarray:
    """Start times [s] of all windows that fit into a clip: float64 [W], W >= 1.

    A 10 s clip with a hop of 0.5 s has the paper's 14 windows, 0.0 ... 6.5 s.
    """
    last = max(0.0, duration_s - WINDOW_S)
    return np.arange(int(last / hop_s + 1e-6) + 1) * hop_s


def cut(audio: np.ndarray, start_s: float) -> np.ndarray:
    """One window of a 32 kHz waveform: float32 [109227], padded with silence at the end."""
    start = round(start_s * SAMPLE_RATE_HZ)
    piece = audio[start : start + WINDOW_SAMPLES]
    return np.pad(piece, (0, WINDOW_SAMPLES - len(piece))).astype(np.float32, copy=False)


def fit_length(waveforms: np.ndarray, samples: int) -> np.ndarray:
    """Cut or zero-pad the last axis to ``samples``."""
    kept = waveforms[:, :samples]
    return np.pad(kept, ((0, 0), (0, samples - kept.shape[1])))


def level_dbfs(audio: np.ndarray) -> float:
    """RMS level [dBFS]; digital silence is -120."""
    power = float(np.mean(np.square(audio, dtype=np.float64))) if len(audio) else 0.0
    return max(_FLOOR_DBFS, 10 * np.log10(power + 1e-12))


def shown_at(frame_times_s: np.ndarray, duration_s: float) -> np.ndarray:
    """When each frame is on display, from the times at which their pictures appear: float64 [N].

    A picture that stays is in several frames with one time: they are spread evenly until the next
    picture, or the end of the clip.
    """
    first = np.flatnonzero(np.diff(frame_times_s, prepend=-np.inf))  # frame of each new picture
    n = len(frame_times_s)
    return np.interp(np.arange(n), [*first, n], [*frame_times_s[first], duration_s])


def window_keyframes(frame_times_s: np.ndarray, start_s: float, duration_s: float) -> list[int]:
    """Indices of the ten frames on display inside the window that starts at ``start_s``.

    At 3 frames per second a window of 3.41 s holds at least ten; where frames are missing the last
    one is repeated, so that every clip has exactly ten.
    """
    times_s = shown_at(frame_times_s, duration_s)
    inside = np.flatnonzero((times_s >= start_s - 1e-3) & (times_s < start_s + WINDOW_S))
    if not len(inside):
        inside = np.array([int(np.abs(times_s - start_s).argmin())])
    picks = np.linspace(0, len(inside) - 1, KEYFRAMES).round().astype(int)
    return [int(i) for i in inside[picks]]


def spread(n_frames: int, count: int) -> list[int]:
    """``count`` frame indices spread evenly over a clip of ``n_frames`` (fewer if it has fewer)."""
    count = min(count, n_frames)
    return [int(i) for i in np.linspace(0, n_frames - 1, count).round()]


def resample(audio: np.ndarray, to_hz: int, from_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Band-limited resampling along the last axis (torchaudio's windowed sinc): float32."""
    if to_hz == from_hz:
        return audio
    import torch
    from torchaudio.functional import resample as sinc_resample

    return sinc_resample(torch.from_numpy(np.ascontiguousarray(audio)), from_hz, to_hz).numpy()
