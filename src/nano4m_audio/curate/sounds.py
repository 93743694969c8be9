"""How alike two sounds are: the correlation of their fingerprints at the best shift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from nano4m_audio.curate.fingerprints import SOUND_HZ

#: Two cuts of the same footage are recognised up to this shift.
MAX_SHIFT_S = 3.0
REACH = round(MAX_SHIFT_S * SOUND_HZ)
#: Least share of the shorter sound that must lie under the other one.
_OVERLAP = 0.6
#: Mean square below which a stretch of an audio fingerprint has nothing to compare (about 0.4 dB).
STEADY = 1e-4
#: By how much ``similarities`` may be off: they are calculated in single precision.
TOLERANCE = 1e-4


def audio_similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of audio fingerprints [T, B] and [U, B] at the best shift of up to 3 s: -1..1.

    Shifts go in half columns. Each band is compared with its own mean, so steady noise and equal
    loudness say nothing; 0 where one of them is silent or steady.
    """
    a, b = centred(one), centred(other)
    return max(_best_correlation(a, b), _best_correlation(a, between(b)))


def centred(fingerprint: np.ndarray) -> np.ndarray:
    values = np.asarray(fingerprint, np.float64)
    return values - values.mean(axis=0)


def between(b: np.ndarray) -> np.ndarray:
    """The columns half a step later."""
    return (b[1:] + b[:-1]) / 2


def _best_correlation(a: np.ndarray, b: np.ndarray) -> float:
    n_fft = 1 << (len(a) + len(b)).bit_length()
    spectrum = np.fft.rfft(a, n_fft, axis=0) * np.fft.rfft(b, n_fft, axis=0).conj()
    products = np.fft.irfft(spectrum.sum(axis=1), n_fft)
    shifts, first, last = overlaps(len(a), len(b))
    best = _normalised(
        products[shifts],
        _of_stretch(energy(a), first, last),
        _of_stretch(energy(b), first - shifts, last - shifts),
        a.shape[1] * (last - first),
    )
    return float(best.max(initial=-1.0))


def overlaps(n_a: int, n_b: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shifts s at which enough lies over another: columns first..last of a, those less s of b."""
    shifts = np.arange(-REACH, REACH + 1)
    first, last = np.maximum(0, shifts), np.minimum(n_a, n_b + shifts)
    enough = last - first >= max(1.0, _OVERLAP * min(n_a, n_b))
    return shifts[enough], first[enough], last[enough]


def energy(values: np.ndarray) -> np.ndarray:
    """Energy of all columns before each: float64 [T + 1]."""
    return np.concatenate([[0.0], np.cumsum((values**2).sum(axis=1))])


def _of_stretch(energy: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Energy [..., T + 1] between columns, for each of S stretches: [..., S]."""
    return energy[..., last] - energy[..., first]


def _normalised(
    products: np.ndarray, energy_a: np.ndarray, energy_b: np.ndarray, n_values: np.ndarray
) -> np.ndarray:
    """Correlations of stretches of ``n_values`` values; 0 where one of the two is steady."""
    steady = np.minimum(energy_a, energy_b) < STEADY * n_values
    norm = np.sqrt(np.where(steady, 1.0, energy_a * energy_b))
    return np.where(steady, 0.0, products / norm)


def similarities(one: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """``audio_similarity`` of a fingerprint with each of N, to within TOLERANCE: float64 [N]."""
    a, result = centred(one), np.empty(len(others))
    lengths = np.array([len(other) for other in others])
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        equal = np.stack([others[row] for row in rows.tolist()]).astype(np.float64)
        result[rows] = _of_equal_length(a, equal - equal.mean(axis=1, keepdims=True))
    return result


def _of_equal_length(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlations of centred a [T, B] with each of b [N, U, B] at the best shift: [N]."""
    n, length, bands = b.shape
    # Rows of a around which there is silence, so that a shift may reach beyond its ends.
    edge = REACH + 1
    padded = np.zeros((len(a) + 2 * edge + length, bands), np.float32)
    padded[edge : edge + len(a)] = a
    shifted = sliding_window_view(padded.reshape(-1), length * bands)[: 2 * edge * bands : bands]
    small = b.astype(np.float32)
    # Row i: the products at the shift i - edge.
    products = np.ascontiguousarray(shifted) @ small.reshape(n, -1).T
    # Half a column later: the mean of two shifts, less what only one of them covers.
    last = padded[length : length + 2 * edge - 1] @ small[:, -1].T
    first = padded[: 2 * edge - 1] @ small[:, 0].T
    late = (products[1:] - last + products[:-1] - first) / 2
    best, own = np.full(n, -1.0), energy(a)
    halfway = (b[:, 1:] + b[:, :-1]) / 2
    for half, values in enumerate((b, halfway)):
        shifts, start, stop = overlaps(len(a), length - half)
        energies = np.zeros((n, length - half + 1))
        np.cumsum((values**2).sum(axis=2), axis=1, out=energies[:, 1:])
        correlation = _normalised(
            (late[shifts + edge - 1] if half else products[shifts + edge]).T,
            _of_stretch(own, start, stop),
            _of_stretch(energies, start - shifts, stop - shifts),
            bands * (stop - start),
        )
        best = np.maximum(best, correlation.max(axis=1, initial=-1.0))
    return best
