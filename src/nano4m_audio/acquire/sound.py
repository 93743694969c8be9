"""Audio of a clip: decoded audio frames placed at their true time, as mono samples and FLAC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nano4m_audio.acquire.runs import Beginning, Piece, Run, join

#: Digital silence is reported as this level, so that columns stay finite.
FLOOR_DBFS = -120.0
#: Where the mean of both sides is this much weaker than one of them they cancel each other, and the
#: stronger side is the mono sound. (One silent side costs 6 dB, unrelated sides cost 3 dB.)
CANCEL_DB = 9.0
#: No sound is this far above full scale: such a sample is damage.
_DAMAGE = 1e6
#: A sample this many times above full scale, or above the scale of 99 % of the samples where that
#: is larger (floats that hold integers), is damage too.
_ABSURD = 4.0
#: Sound of which more than this share is damaged in all channels is not used.
_TOO_MUCH = 0.2
#: So much sound before a clip is kept, for the filter that changes the rate.
_MARGIN_S = 0.05
_SQRT_HALF = 0.5**0.5
#: Share of a channel in its side: the centre and the surrounds fold into left and right 3 dB down
#: (ITU-R BS.775). The mono mix is the mean of both sides, so dialogue is kept.
_SIDES = {"FL": (1.0, 0.0), "FR": (0.0, 1.0), "FC": (_SQRT_HALF, _SQRT_HALF)}
_SIDES |= {"LFE": (0.0, 0.0), "LFE2": (0.0, 0.0)}
_USUAL = {
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
#: PyAV counts the planes of a frame up to the first empty slot, of which there are eight: a frame
#: with eight planes or more must not be asked for them, it would read past its end.
_SAFE_PLANES = 7
_FULL_SCALE = {"u8": 128.0, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63, "flt": 1.0, "dbl": 1.0}


@dataclass
class SoundTrack:
    """Decoded audio of one clip as runs; where no run lies there is silence.

    ``notes`` are the lines that ``render`` has to say about the sound. With ``begin``, how the
    file's sound begins, the sound is a part from the middle: it is laid to the sample, and what was
    only decoded to prepare for it is left out.
    """

    pieces: list[Piece] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    decoded_s: float = 0.0
    middle: bool = False
    begin: Beginning | None = None
    tick_s: float = 0.0
    _runs: list[Run] | None = None
    _n_damaged: int = 0
    _n_lost: int = 0

    def feed(self, frame: Any, time_s: float) -> None:
        """Append one decoded PyAV audio frame that begins at ``time_s``."""
        self._runs = None
        samples, damaged = channels(frame)
        if damaged is not None:
            self._n_damaged += int(damaged.sum())
            self._n_lost += int(damaged.all(axis=0).sum())
        sides = fold(samples, [channel.name for channel in frame.layout.channels])
        self.pieces.append(Piece(time_s, frame.sample_rate, sides))
        self.decoded_s += self.pieces[-1].length_s

    @property
    def runs(self) -> list[Run]:
        """What was fed, as unbroken runs of two sides (one when all of it is mono)."""
        if self._runs is None:
            self._runs = join(self.pieces)
            if self.middle:
                self._runs = self._middle(self._runs)
        return self._runs

    def _middle(self, runs: Sequence[Run]) -> list[Run]:
        """The runs laid by the file's first sound, without what lies before the clip."""
        laid = [self.begin.lay(run, self.tick_s) if self.begin else run for run in runs]
        before = [max(0, math.floor((-_MARGIN_S - run.start_s) * run.rate_hz)) for run in laid]
        return [
            run.without(n) for run, n in zip(laid, before, strict=True) if n < run.samples.shape[1]
        ]

    def render(self, n_samples: int, rate_hz: int, file_s: float = 0.0) -> np.ndarray:
        """Return float32 [n_samples] at ``rate_hz``; scaled down as a whole if it would clip.

        Time 0 is ``file_s`` after the origin of the file, to whose samples it is rounded.

        Damaged samples are replaced by silence. Raises ValueError when many are damaged.
        """
        sides = self._mended()
        mono, note = mono_mix(sides)
        if note:
            self.notes.append(note)
        out = np.zeros(n_samples, np.float32)
        for run, mixed in zip(self.runs, mono, strict=True):
            # Only every so many samples do both rates have one at the same moment.
            every = run.rate_hz // math.gcd(run.rate_hz, rate_hz)
            n_off = -run.n_before % every
            samples = resample(mixed[n_off:], run.rate_hz, rate_hz)
            begin_s = run.start_s - run.n_before / run.rate_hz + file_s
            n_before = (run.n_before + n_off) * rate_hz // run.rate_hz
            first = round(begin_s * rate_hz) + n_before - round(file_s * rate_hz)
            samples = samples[max(0, -first) :]
            first = max(0, first)
            samples = samples[: max(0, n_samples - first)]
            out[first : first + len(samples)] = samples
        peak = float(np.abs(out).max(initial=0.0))
        return out / np.float32(peak) if peak > 1.0 else out

    def _mended(self) -> list[np.ndarray]:
        """The samples of all runs with absurd ones silenced; notes how many were in all."""
        sides = [run.samples for run in self.runs]
        n_damaged, n_lost = self._n_damaged, self._n_lost
        if any(np.abs(run).max(initial=0.0) > _ABSURD for run in sides):
            loudness = np.abs(np.concatenate([run.ravel() for run in sides]))
            limit = _ABSURD * max(1.0, float(np.quantile(loudness, 0.99)))
            absurd = [np.abs(run) > limit for run in sides]
            sides = [np.where(a, np.float32(0.0), s) for a, s in zip(absurd, sides, strict=True)]
            n_damaged += sum(int(a.sum()) for a in absurd)
            n_lost += sum(int(a.all(axis=0).sum()) for a in absurd)
        n_all = sum(run.shape[1] for run in sides)
        if n_lost > _TOO_MUCH * n_all:
            raise ValueError(f"{n_lost} of {n_all} samples of the sound are not finite or absurd")
        if n_damaged:
            self.notes.append(f"sound samples that were not finite or absurd: {n_damaged} silenced")
        return sides


def channels(frame: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a PyAV audio frame as float32 [channels, n], nominally within -1..1.

    Samples that are no sound (not finite, or 120 dB above full scale) become 0; the second array
    (bool [channels, n], None when there are none) tells which.
    """
    n_channels = frame.layout.nb_channels
    if frame.format.is_planar and n_channels > _SAFE_PLANES:
        frame = _interleave(frame)
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, n_channels).T
    kind = frame.format.name.removesuffix("p")
    full_scale = _FULL_SCALE[kind]
    if kind == "dbl":
        samples = np.clip(samples, -2 * _DAMAGE, 2 * _DAMAGE)  # fits float32; NaN stays
    samples = samples.astype(np.float32, order="C", copy=False)
    if full_scale == 1.0:
        # One comparison finds infinities and, as it is false for them, NaNs.
        if np.abs(samples).max(initial=0.0) <= _DAMAGE:
            return samples, None
        damaged = ~(np.abs(samples) <= _DAMAGE)
        return np.where(damaged, np.float32(0.0), samples), damaged
    if kind == "u8":
        samples -= 128.0
    return samples * np.float32(1.0 / full_scale), None


def _interleave(frame: Any) -> Any:
    import av

    (packed,) = av.AudioResampler(format=frame.format.packed).resample(frame)
    return packed


def fold(samples: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Fold float32 [channels, n] to its left and right side [2, n]; one channel stays [1, n].

    Six and eight channels without names are taken for 5.1 and 7.1, which are written in one order;
    other channels without a known place go to the two sides by turns.
    """
    n_channels = len(names)
    if "FL" not in names:
        names = _USUAL.get(n_channels, names)
    if n_channels == 1:
        return samples
    if "FL" in names and "FR" in names:
        shares = np.array([_SIDES.get(name) or _surround(name) for name in names], np.float32)
    else:
        shares = np.zeros((n_channels, 2), np.float32)
        shares[::2, 0] = shares[1::2, 1] = 2.0 / n_channels
    return samples if n_channels == 2 and shares[0, 0] == shares[1, 1] == 1 else shares.T @ samples


def _surround(name: str) -> tuple[float, float]:
    left, right = "L" in name, "R" in name
    return (0.5 if left == right else left) * _SQRT_HALF, (
        0.5 if left == right else right
    ) * _SQRT_HALF


def mono_mix(sides: Sequence[np.ndarray]) -> tuple[list[np.ndarray], str]:
    """Mix runs of float32 [1 or 2, n] to mono [n]: the mean of both sides, or the stronger side
    of all where the mean would cancel. The second value says so, and is empty otherwise."""
    means = [run[0] if len(run) == 1 else (run[0] + run[1]) * np.float32(0.5) for run in sides]
    if all(len(run) == 1 for run in sides):
        return means, ""
    left, right, mean = (
        sum(float(np.dot(run, run)) for run in runs)
        for runs in ([r[0] for r in sides], [r[-1] for r in sides], means)
    )
    if max(left, right) <= mean * 10 ** (CANCEL_DB / 10):
        return means, ""
    # Of two sides that only differ by coding noise it is always the same one.
    side, name = (0, "left") if left >= 0.8 * right else (-1, "right")
    return [run[side] for run in sides], f"left and right cancel: the {name} side is the mono sound"


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
