"""Sound of a clip: decoded audio frames placed at their true time, as mono samples and FLAC."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: A frame this far from where the last one ended starts a new run (smaller steps are rounding).
JOIN_S = 0.010
#: Digital silence is reported as this level, so that columns stay finite.
FLOOR_DBFS = -120.0
_SQRT_HALF = 0.5**0.5
#: Share of a channel in the mono mix: the centre and the surrounds fold into left and right 3 dB
#: down (ITU-R BS.775), of which the mean is taken. So stereo is averaged and dialogue is kept.
_LEFT_RIGHT, _CENTRE, _SURROUND = 0.5, _SQRT_HALF, 0.5 * _SQRT_HALF
#: PyAV counts the planes of a frame up to the first empty slot, of which there are eight: a frame
#: with eight planes or more must not be asked for them, it would read past its end.
_SAFE_PLANES = 7
_FULL_SCALE = {"u8": 128.0, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63, "flt": 1.0, "dbl": 1.0}


@dataclass
class Run:
    """Unbroken mono audio at one sample rate, beginning ``start_s`` after the clip's origin."""

    start_s: float
    rate_hz: int
    chunks: list[np.ndarray] = field(default_factory=list)
    n_samples: int = 0

    @property
    def end_s(self) -> float:
        return self.start_s + self.n_samples / self.rate_hz


@dataclass
class SoundTrack:
    """Decoded audio of one clip as runs; where no run lies there is silence."""

    runs: list[Run] = field(default_factory=list)

    def feed(self, frame: Any, time_s: float) -> None:
        """Append one decoded PyAV audio frame that begins at ``time_s``."""
        samples = downmix(frame)
        joins = (
            self.runs
            and self.runs[-1].rate_hz == frame.sample_rate
            and abs(self.runs[-1].end_s - time_s) < JOIN_S
        )
        if not joins:
            self.runs.append(Run(time_s, frame.sample_rate))
        self.runs[-1].chunks.append(samples)
        self.runs[-1].n_samples += len(samples)

    @property
    def end_s(self) -> float:
        """When the last run ends, in seconds (0 without audio)."""
        return self.runs[-1].end_s if self.runs else 0.0

    @property
    def decoded_s(self) -> float:
        """Seconds of audio in all runs together."""
        return sum(run.n_samples / run.rate_hz for run in self.runs)

    def render(self, n_samples: int, rate_hz: int) -> np.ndarray:
        """Return float32 [n_samples] at ``rate_hz``; scaled down as a whole if it would clip."""
        out = np.zeros(n_samples, np.float32)
        for run in self.runs:
            samples = resample(np.concatenate(run.chunks), run.rate_hz, rate_hz)
            first = round(run.start_s * rate_hz)
            samples = samples[max(0, -first) :]
            first = max(0, first)
            samples = samples[: max(0, n_samples - first)]
            out[first : first + len(samples)] = samples
        peak = float(np.abs(out).max(initial=0.0))
        return out / np.float32(peak) if peak > 1.0 else out


def downmix(frame: Any) -> np.ndarray:
    """Return the mono mix of a PyAV audio frame as float32 [samples], nominally within -1..1."""
    names = [channel.name for channel in frame.layout.channels]
    if frame.format.is_planar and len(names) > _SAFE_PLANES:
        frame = _interleave(frame)
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(names)).T
    full_scale = _FULL_SCALE[frame.format.name.removesuffix("p")]
    samples = samples.astype(np.float32)
    if frame.format.name.startswith("u8"):
        samples -= 128.0
    return (_shares(names) / np.float32(full_scale)) @ samples


def _interleave(frame: Any) -> Any:
    import av

    (packed,) = av.AudioResampler(format=frame.format.packed).resample(frame)
    return packed


def _shares(names: list[str]) -> np.ndarray:
    if "FL" not in names or "FR" not in names:
        return np.full(len(names), 1.0 / len(names), np.float32)
    known = {"FL": _LEFT_RIGHT, "FR": _LEFT_RIGHT, "FC": _CENTRE, "LFE": 0.0, "LFE2": 0.0}
    return np.array([known.get(name, _SURROUND) for name in names], np.float32)


def resample(samples: np.ndarray, rate_hz: int, new_rate_hz: int) -> np.ndarray:
    """Resample float32 [n] mono audio; the first sample stays at time 0."""
    if rate_hz == new_rate_hz or not len(samples):
        return samples
    import av

    frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    frame.sample_rate = rate_hz
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=new_rate_hz)
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    out = [part.to_ndarray()[0] for part in parts]
    return np.concatenate(out) if out else np.zeros(0, np.float32)


def levels_dbfs(samples: np.ndarray, rate_hz: int) -> tuple[float, float]:
    """Return (RMS of the loudest second, peak) of float32 [n] audio in dB of full scale."""
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    window = min(rate_hz, len(samples))
    if window == 0:
        return FLOOR_DBFS, FLOOR_DBFS
    loudest = float((energy[window:] - energy[:-window]).max()) / window
    return _decibel(loudest, 10.0), _decibel(float(np.abs(samples).max()), 20.0)


def _decibel(value: float, factor: float) -> float:
    return max(FLOOR_DBFS, factor * float(np.log10(value))) if value > 0.0 else FLOOR_DBFS


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
