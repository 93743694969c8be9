"""How alike two sounds are: the correlation of their fingerprints at the best shift."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from nano4m_audio.curate.fingerprints import SOUND_HZ

#: Two cuts of the same footage are recognised up to this shift.
MAX_SHIFT_S = 3.0
_REACH = round(MAX_SHIFT_S * SOUND_HZ)
#: Least share of the shorter sound that must lie under the other one.
_OVERLAP = 0.6
#: Mean square below which a stretch of an audio fingerprint has nothing to compare (about 0.4 dB).
_STEADY = 1e-4
#: By how much ``Sounds.compare`` may be off: it calculates in single precision.
TOLERANCE = 1e-4


def audio_similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of audio fingerprints [T, B] and [U, B] at the best shift of up to 3 s: -1..1.

    Shifts go in half columns. Each band is compared with its own mean, so steady noise and equal
    loudness say nothing; 0 where one of them is silent or steady.
    """
    a, b = _centred(one), _centred(other)
    return max(_best_correlation(a, b), _best_correlation(a, _between(b)))


def _centred(fingerprint: np.ndarray) -> np.ndarray:
    values = np.asarray(fingerprint, np.float64)
    return values - values.mean(axis=0)


def _between(b: np.ndarray) -> np.ndarray:
    """The columns half a step later."""
    return (b[1:] + b[:-1]) / 2


def _best_correlation(a: np.ndarray, b: np.ndarray) -> float:
    n_fft = 1 << (len(a) + len(b)).bit_length()
    spectrum = np.fft.rfft(a, n_fft, axis=0) * np.fft.rfft(b, n_fft, axis=0).conj()
    products = np.fft.irfft(spectrum.sum(axis=1), n_fft)
    shifts, first, last = _overlaps(len(a), len(b))
    best = _normalised(
        products[shifts],
        _of_stretch(_energy(a), first, last),
        _of_stretch(_energy(b), first - shifts, last - shifts),
        a.shape[1] * (last - first),
    )
    return float(best.max(initial=-1.0))


def _overlaps(n_a: int, n_b: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shifts s at which enough lies over another: columns first..last of a, those less s of b."""
    shifts = np.arange(-_REACH, _REACH + 1)
    first, last = np.maximum(0, shifts), np.minimum(n_a, n_b + shifts)
    enough = last - first >= max(1.0, _OVERLAP * min(n_a, n_b))
    return shifts[enough], first[enough], last[enough]


def _energy(values: np.ndarray) -> np.ndarray:
    """Energy of all columns before each: float64 [T + 1]."""
    return np.concatenate([[0.0], np.cumsum((values**2).sum(axis=1))])


def _of_stretch(energy: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Energy [..., T + 1] between columns, for each of S stretches: [..., S]."""
    return energy[..., last] - energy[..., first]


def _normalised(
    products: np.ndarray, energy_a: np.ndarray, energy_b: np.ndarray, n_values: np.ndarray
) -> np.ndarray:
    """Correlations of stretches of ``n_values`` values; 0 where one of the two is steady."""
    steady = np.minimum(energy_a, energy_b) < _STEADY * n_values
    norm = np.sqrt(np.where(steady, 1.0, energy_a * energy_b))
    return np.where(steady, 0.0, products / norm)


@dataclass(frozen=True)
class _Equal:
    """The sounds of one length T: centred values float32 [N, T, B], their energies [N, T + 1], and
    those of the columns between [N, T]."""

    values: np.ndarray
    energy: np.ndarray
    between: np.ndarray


class Sounds:
    """Audio fingerprints made ready to compare one with many, far faster than one by one.

    Takes about as much memory as the fingerprints do in float32.
    """

    def __init__(self, ids: Iterable[str], fingerprints: Mapping[str, Mapping[str, np.ndarray]]):
        self._fingerprints = fingerprints
        members: dict[int, list[str]] = defaultdict(list)
        for clip_id in ids:
            members[len(fingerprints[clip_id]["audio"])].append(clip_id)
        self._place = {clip_id: (length, row) for length, group in members.items()
                       for row, clip_id in enumerate(group)}  # fmt: skip
        self._of_length = {length: self._ready(group) for length, group in members.items()}

    def _ready(self, ids: Sequence[str]) -> _Equal:
        shape = np.shape(self._fingerprints[ids[0]]["audio"])
        values = np.empty((len(ids), *shape), np.float32)
        energy, between = np.empty((len(ids), shape[0] + 1)), np.empty((len(ids), shape[0]))
        for row, clip_id in enumerate(ids):
            centred = _centred(self._fingerprints[clip_id]["audio"])
            values[row], energy[row] = centred, _energy(centred)
            between[row] = _energy(_between(centred))
        return _Equal(values, energy, between)

    def exact(self, one: str, other: str) -> float:
        """``audio_similarity`` of two clips."""
        return audio_similarity(*(self._fingerprints[name]["audio"] for name in (one, other)))

    def compare(self, one: str, others: Sequence[str]) -> np.ndarray:
        """``audio_similarity`` of a clip with each of some others, to within TOLERANCE: [N]."""
        places = np.array([self._place[other] for other in others]).reshape(-1, 2)
        result = np.empty(len(others))
        for length in np.unique(places[:, 0]).tolist():
            mine = places[:, 0] == length
            result[mine] = self._compare_equal(one, self._of_length[length], places[mine, 1])
        return result

    def _compare_equal(self, one: str, equal: _Equal, rows: np.ndarray) -> np.ndarray:
        own_length, own_row = self._place[one]
        own = self._of_length[own_length]
        a, b = own.values[own_row], equal.values[rows]
        n, length, bands = b.shape
        # Rows of a around which there is silence, so that a shift may reach beyond its ends.
        edge = _REACH + 1
        padded = np.zeros((len(a) + 2 * edge + length, bands), np.float32)
        padded[edge : edge + len(a)] = a
        shifted = sliding_window_view(padded.reshape(-1), length * bands)[
            : 2 * edge * bands : bands
        ]
        # Row i: the products at the shift i - edge.
        products = np.ascontiguousarray(shifted) @ b.reshape(n, -1).T
        # Half a column later: the mean of two shifts, less what only one of them covers.
        last = padded[length : length + 2 * edge - 1] @ b[:, -1].T
        first = padded[: 2 * edge - 1] @ b[:, 0].T
        between = (products[1:] - last + products[:-1] - first) / 2
        best = np.full(n, -1.0)
        for late, energies in enumerate((equal.energy, equal.between)):
            shifts, start, stop = _overlaps(len(a), length - late)
            correlation = _normalised(
                (between[shifts + edge - 1] if late else products[shifts + edge]).T,
                _of_stretch(own.energy[own_row], start, stop),
                _of_stretch(energies[rows], start - shifts, stop - shifts),
                bands * (stop - start),
            )
            best = np.maximum(best, correlation.max(axis=1, initial=-1.0))
        return best
