"""Join decoded audio frames to runs: jitter of time stamps is bridged, gaps are not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
#: The mean of stamps may be off by so much, and by no more than this share of a piece.
_MEAN_S, _SHARE = 0.0011, 0.45
#: Fewer pieces say nothing about the others.
_FEW_PIECES = 3


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
    #: Where its beginning lies by the mean of its stamps, and how far they scatter.
    level_s: float = 0.0
    spread_s: float = 0.0
    #: Samples of its first piece.
    first: int = 0

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

    ``start_s`` and ``level_s`` are as in a run; pieces begin ``first`` samples after the start, and
    every ``step`` samples from there.
    """

    start_s: float
    level_s: float
    rate_hz: int
    first: int
    step: int

    def moved(self, by_s: float) -> Beginning:
        """The same after another origin."""
        return replace(self, start_s=self.start_s + by_s, level_s=self.level_s + by_s)

    def lay(self, run: Run, tick_s: float) -> Run:
        """The run where it lies by the count of samples, if its stamps, which are multiples of
        ``tick_s``, agree with that."""
        if run.rate_hz != self.rate_hz:
            return run
        # Rounding is the same on average, so that the levels tell more than single stamps.
        exact = max(tick_s, run.spread_s) * self.rate_hz < 1.1
        first, step = (0, 1) if exact else (self.first, self.step)
        if not exact and step < _MEAN_S * self.rate_hz:
            return run  # pieces of any length: their stamps alone say where they lie
        passed = (run.level_s - self.level_s) * self.rate_hz
        # A decoder may leave out the beginning of the first piece, here as there.
        first -= 0 if exact else run.first
        n_before = first + round((passed - first) / step) * step
        off_s = abs(passed - n_before) / self.rate_hz
        tolerance_s = 0.5 / self.rate_hz if exact else min(_MEAN_S, _SHARE * step / self.rate_hz)
        if n_before < 0 or off_s > 1.01 * tolerance_s:
            return run
        start_s = self.start_s + n_before / self.rate_hz
        return Run(start_s, run.rate_hz, run.samples, n_before)


def beginning(pieces: Sequence[Piece]) -> Beginning | None:
    """What the first pieces of a file's sound say of all others; None where there are too few."""
    runs = join(pieces)
    first, *sizes = (piece.samples.shape[1] for piece in pieces)
    if len(sizes) < _FEW_PIECES or len(runs) != 1:
        return None
    return Beginning(runs[0].start_s, runs[0].level_s, runs[0].rate_hz, first, math.gcd(*sizes))


def join(pieces: Sequence[Piece]) -> list[Run]:
    """Join pieces to runs: a new one begins where the rate changes or the stamps move for good.

    Single late or early stamps, and stamps that scatter, are laid where the sound goes on. A step
    that lasts (a hole, an overlap, a clock that drifted away) is kept.
    """
    if not pieces:
        return []
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
        _run(pieces[first:end], begins[first:end], float(elapsed[first]))
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


def _run(pieces: Sequence[Piece], begins: np.ndarray, elapsed_s: float) -> Run:
    sides = max(piece.samples.shape[0] for piece in pieces)
    parts = [np.broadcast_to(p.samples, (sides, p.samples.shape[1])) for p in pieces]
    near = begins[np.abs(begins - np.median(begins)) < JOIN_S]
    return Run(
        _begin(begins) + elapsed_s,
        pieces[0].rate_hz,
        np.concatenate(parts, axis=1),
        level_s=float(near.mean() if len(near) else begins[0]) + elapsed_s,
        spread_s=float(np.ptp(np.quantile(begins, [0.05, 0.95]))),
        first=pieces[0].samples.shape[1],
    )
