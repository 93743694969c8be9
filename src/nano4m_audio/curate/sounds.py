"""How alike two sounds are: the correlation of their fingerprints at the best shift."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

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


class Sounds:
    """Audio fingerprints made ready to compare one with many, about 40 times as fast as singly.

    Takes about as much memory as the fingerprints do in float32.
    """

    def __init__(self, ids: Iterable[str], fingerprints: Mapping[str, Mapping[str, np.ndarray]]):
        self._fingerprints = fingerprints
        self._values: dict[str, np.ndarray] = {}
        self._energies: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for clip_id in ids:
            centred = _centred(fingerprints[clip_id]["audio"])
            self._values[clip_id] = centred.astype(np.float32)
            self._energies[clip_id] = _energy(centred), _energy(_between(centred))

    def exact(self, one: str, other: str) -> float:
        """``audio_similarity`` of two clips."""
        return audio_similarity(*(self._fingerprints[name]["audio"] for name in (one, other)))

    def compare(self, one: str, others: Sequence[str]) -> np.ndarray:
        """``audio_similarity`` of a clip with each of some others, to within TOLERANCE: [N]."""
        lengths = np.array([len(self._values[other]) for other in others])
        result = np.empty(len(others))
        for length in np.unique(lengths):
            places = np.flatnonzero(lengths == length)
            result[places] = self._compare_equally_long(one, [others[i] for i in places.tolist()])
        return result

    def _compare_equally_long(self, one: str, others: Sequence[str]) -> np.ndarray:
        a, b = self._values[one], np.stack([self._values[other] for other in others])
        n, length, _ = b.shape
        # Rows of a around which there is silence, so that a shift may reach beyond its ends.
        edge = _REACH + 1
        padded = np.pad(a, ((edge, edge + length), (0, 0)))
        shifted = np.stack([padded[i : i + length].ravel() for i in range(2 * edge)])
        # Row i: the products at the shift i - edge.
        products = shifted @ b.reshape(n, -1).T
        # Half a column later: the mean of two shifts, less what only one of them covers.
        last = padded[length : length + 2 * edge - 1] @ b[:, -1].T
        first = padded[: 2 * edge - 1] @ b[:, 0].T
        between = (products[1:] - last + products[:-1] - first) / 2
        energies = zip(*(self._energies[other] for other in others), strict=True)
        best = np.full(n, -1.0)
        for kind, energy in enumerate(map(np.stack, energies)):
            shifts, start, stop = _overlaps(len(a), length - kind)
            own = products[shifts + edge] if kind == 0 else between[shifts + edge - 1]
            correlation = _normalised(
                own.T,
                _of_stretch(self._energies[one][0], start, stop),
                _of_stretch(energy, start - shifts, stop - shifts),
                a.shape[1] * (stop - start),
            )
            best = np.maximum(best, correlation.max(axis=1, initial=-1.0))
        return best
