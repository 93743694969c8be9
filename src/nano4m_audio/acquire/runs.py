"""Join decoded audio frames to runs: jitter of time stamps is bridged, gaps are not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Containers round stamps to the millisecond.
ROUNDING_S = 0.0011
#: Stamps this close to where the sound goes on are rounding.
JOIN_S = 0.010
#: Sound this far from where it should go on is a jump; smaller steps may be jitter.
_JUMP_S = 0.1
#: A step counts when the stamps of this much sound after it agree, or, where they scatter, when the
#: middle of this much more does.
_NEAR_S, _AHEAD_S = 0.2, 1.0


@dataclass
class Piece:
    """Float32 [sides, n] samples of one decoded frame, stamped with ``time_s``."""

    time_s: float
    rate_hz: int
    samples: np.ndarray

    @property
    def length_s(self) -> float:
        return self.samples.shape[1] / self.rate_hz


@dataclass
class Run:
    """Unbroken float32 [sides, n] audio at one rate, from ``start_s`` after the clip's origin.

    ``n_before`` samples of the same sound lie before it: what was left out, or not decoded. They
    decide where the samples of another rate fall.
    """

    start_s: float
    rate_hz: int
    samples: np.ndarray
    n_before: int = 0

    @property
    def end_s(self) -> float:
        return self.start_s + self.samples.shape[1] / self.rate_hz

    def without(self, n: int) -> Run:
        """The same without its first ``n`` samples."""
        start_s = self.start_s + n / self.rate_hz
        return Run(start_s, self.rate_hz, self.samples[:, n:], self.n_before + n)


@dataclass(frozen=True)
class Beginning:
    """How the sound of a file begins: by it a part from the middle is laid to the sample, although
    its stamps are rounded.

    ``start_s`` is relative to the origin of the part; pieces begin ``first`` samples after it, and
    every ``step`` samples from there.
    """

    start_s: float
    rate_hz: int
    first: int
    step: int
    tick_s: float

    def lay(self, run: Run) -> Run:
        """The run where it lies by the count of samples, if its stamps agree with that."""
        pieces = ((run.start_s - self.start_s) * self.rate_hz - self.first) / self.step
        n_before = self.first + round(pieces) * self.step
        start_s = self.start_s + n_before / self.rate_hz
        # Both stamps are rounded by half a tick or cut by one.
        tolerance_s = max(1.1 * self.tick_s, 1 / self.rate_hz)
        sure = run.rate_hz == self.rate_hz and n_before >= 0
        sure = sure and 2 * tolerance_s < self.step / self.rate_hz
        if not sure or abs(run.start_s - start_s) > tolerance_s:
            return run
        return Run(start_s, run.rate_hz, run.samples, n_before)


def beginning(pieces: Sequence[Piece], tick_s: float) -> Beginning | None:
    """What the first pieces of a file's sound say of all others; None where there are too few."""
    runs = join(pieces)
    sizes = [piece.samples.shape[1] for piece in pieces]
    usual = [size for size in set(sizes) if sizes.count(size) > 1]
    if not usual or len(runs) != 1:
        return None
    first = 0 if sizes[0] in usual else sizes[0]
    return Beginning(runs[0].start_s, runs[0].rate_hz, first, math.gcd(*usual), tick_s)


def join(pieces: Sequence[Piece]) -> list[Run]:
    """Join pieces to runs: a new one begins where the rate changes or the stamps move for good.

    Single late or early stamps, and stamps that scatter, are laid where the sound goes on. A step
    that lasts (a hole, an overlap, a clock that drifted away) is kept.
    """
    lengths = np.array([piece.length_s for piece in pieces])
    elapsed = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    # Where the sound would have begun by the stamp of each piece: constant in unbroken sound.
    begins = np.array([piece.time_s for piece in pieces]) - elapsed
    starts: list[int] = []
    level = 0.0
    for i, begin in enumerate(begins):
        if not i:
            level = _level(begins, elapsed, 0)
        elif abs(begin - level) >= JOIN_S and _moved(begins, elapsed, i, level):
            level = _level(begins, elapsed, i)
        elif pieces[i].rate_hz == pieces[i - 1].rate_hz:
            continue
        starts.append(i)
    return [
        _run(pieces[first:end], _begin(begins[first:end]) + float(elapsed[first]))
        for first, end in zip(starts, [*starts[1:], len(pieces)], strict=True)
    ]


def _begin(begins: np.ndarray) -> float:
    """The first begin where it is no more than rounded, otherwise the median."""
    middle = float(np.median(begins))
    return float(begins[0]) if abs(begins[0] - middle) <= ROUNDING_S else middle


def _ahead(elapsed: np.ndarray, i: int, length_s: float) -> int:
    return int(np.searchsorted(elapsed, elapsed[i] + length_s))


def _level(begins: np.ndarray, elapsed: np.ndarray, i: int) -> float:
    """Where the sound from piece i on begins, by what its next stamps agree upon.

    Where they scatter it is the middle of a longer stretch, of which a quarter may be far off.
    """
    near = begins[i : max(i + 4, _ahead(elapsed, i, _NEAR_S))]
    if np.ptp(near) < JOIN_S / 2:
        return float(np.median(near))
    ahead = begins[i : _ahead(elapsed, i, _AHEAD_S)]
    jumps = np.flatnonzero(np.abs(ahead - ahead[0]) >= _JUMP_S)
    low, high = np.quantile(ahead[: jumps[0] if len(jumps) else None], [0.25, 0.75])
    return float(low + high) / 2


def _moved(begins: np.ndarray, elapsed: np.ndarray, i: int, level: float) -> bool:
    """Does the sound from piece i on lie elsewhere than ``level`` says, and piece i with it?"""
    off = abs(begins[i] - level)
    if off >= _JUMP_S:
        return bool((np.abs(begins[i + 1 : _ahead(elapsed, i, _AHEAD_S)] - level) >= _JUMP_S).all())
    new = _level(begins, elapsed, i)
    return abs(new - level) >= JOIN_S and abs(begins[i] - new) < off


def _run(pieces: Sequence[Piece], start_s: float) -> Run:
    sides = max(piece.samples.shape[0] for piece in pieces)
    parts = [np.broadcast_to(p.samples, (sides, p.samples.shape[1])) for p in pieces]
    return Run(start_s, pieces[0].rate_hz, np.concatenate(parts, axis=1))
