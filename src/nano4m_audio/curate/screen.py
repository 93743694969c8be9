"""Which of many sounds may be like a given one: a bound that costs a tenth of the comparison.

Sounds are cut into blocks of four columns. The product of two sounds is that of their block means,
and that of what is left within the blocks, which is at most the product of the two lengths (Cauchy
and Schwarz). No sound is turned away that the full comparison would not turn away, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from nano4m_audio.curate.sounds import REACH, STEADY, between, centred, energy, overlaps

_BLOCK = 4
#: Single precision may be off by this much; also of STEADY.
_SLACK = 1e-3
_EDGE = REACH + 1


@dataclass(frozen=True)
class _Equal:
    """N sounds of one length T, float32.

    ``blocks`` [N, ceil(T / 4) * B + 1]: twice the block means, and the length of the rest;
    ``ends`` [N, 2 * B]: the first and the last column; ``energies``: of all columns before each
    [N, T + 1], and of all columns between two before each [N, T].
    """

    blocks: np.ndarray
    ends: np.ndarray
    energies: tuple[np.ndarray, np.ndarray]


class Screen:
    """Sounds made ready. Takes a third of the memory of their fingerprints [T, B] in float32."""

    def __init__(self, sounds: Sequence[np.ndarray]) -> None:
        members: dict[int, list[int]] = defaultdict(list)
        for number, sound in enumerate(sounds):
            members[len(sound)].append(number)
        self._sounds = sounds
        self._lengths = np.array([len(sound) for sound in sounds])
        self._row = np.empty(len(sounds), np.int64)
        self._of_length: dict[int, _Equal] = {}
        for length, numbers in members.items():
            self._row[numbers] = np.arange(len(numbers))
            self._of_length[length] = _ready([sounds[number] for number in numbers])

    def may_reach(self, one: int, others: np.ndarray, least: float) -> np.ndarray:
        """Whether ``audio_similarity`` of sound ``one`` with each of some may be ``least`` or more;
        numbers of sounds int64 [N] -> bool [N]. ``least`` is positive."""
        a, lengths = centred(self._sounds[one]), self._lengths[others]
        result = np.empty(len(others), bool)
        for length in np.unique(lengths).tolist():
            own = lengths == length
            equal, rows = self._of_length[length], self._row[others[own]]
            result[own] = _may_reach(a, equal, rows, length, least)
        return result


def _ready(sounds: Sequence[np.ndarray]) -> _Equal:
    length, bands = np.shape(sounds[0])
    n, n_blocks = len(sounds), -(-length // _BLOCK)
    blocks = np.empty((n, n_blocks * bands + 1), np.float32)
    ends = np.empty((n, 2 * bands), np.float32)
    energies = np.empty((n, length + 1), np.float32), np.empty((n, length), np.float32)
    padded = np.zeros((n_blocks * _BLOCK, bands))
    for row, sound in enumerate(sounds):
        values = centred(sound)
        padded[:length] = values
        means = padded.reshape(n_blocks, _BLOCK, bands).sum(axis=1) / np.sqrt(_BLOCK)
        blocks[row, :-1] = means.ravel()
        blocks[row, -1] = np.sqrt(max(0.0, (values**2).sum() - (means**2).sum()))
        ends[row] = np.concatenate([values[0], values[-1]])
        energies[0][row], energies[1][row] = energy(values), energy(between(values))
    return _Equal(blocks, ends, energies)


def _may_reach(
    a: np.ndarray, equal: _Equal, rows: np.ndarray, length: int, least: float
) -> np.ndarray:
    """Bounds of the products at every shift, compared with the energies that they are divided by;
    the same sums as in ``sounds.similarities``."""
    blocks, edges = _shifted(a, length)
    products = equal.blocks[rows] @ blocks.T
    late = products[:, 1:] + products[:, :-1] - equal.ends[rows] @ edges.T
    late /= 2
    own, found = energy(a), np.zeros(len(rows), bool)
    for half, energies in enumerate(equal.energies):
        shifts, start, stop = overlaps(len(a), length - half)
        if not len(shifts):
            continue
        first = int(shifts[0]) + _EDGE - half
        bound = (late if half else products)[:, first : first + len(shifts)]
        before = energies[rows]
        theirs = before[:, stop - shifts] - before[:, start - shifts]
        ours = own[stop] - own[start]
        steady = (1 - _SLACK) * STEADY * a.shape[1] * (stop - start)
        needed = theirs * (np.square(least - _SLACK) * ours).astype(np.float32)
        passes = (bound > 0) & (bound * bound >= needed) & (theirs >= steady) & (ours >= steady)
        found |= passes.any(axis=1)
    return found


def _shifted(a: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Sound a [T, B] under one of ``length`` columns, at every shift from -_EDGE to REACH.

    Float32 [S, ceil(length / 4) * B + 1], as ``_Equal.blocks``, and [S - 1, 2 * B]: the columns
    that only one of two neighbouring shifts has over the other sound's first and last.
    """
    bands, n_blocks, n = a.shape[1], -(-length // _BLOCK), 2 * _EDGE
    padded = np.zeros((len(a) + n + length + _BLOCK, bands))
    padded[_EDGE : _EDGE + len(a)] = a
    sums, total = np.zeros((len(padded) + 1, bands)), np.zeros(len(padded) + 1)
    np.cumsum(padded, axis=0, out=sums[1:])
    np.cumsum((padded**2).sum(axis=1), out=total[1:])
    means = (sums[_BLOCK:] - sums[:-_BLOCK]) / np.sqrt(_BLOCK)
    # A last block that is not full must not see what the other sound has not.
    at = np.arange(n)
    last = (sums[at + length] - sums[at + (n_blocks - 1) * _BLOCK]) / np.sqrt(_BLOCK)
    rest = total[at + length] - total[at] - (last**2).sum(axis=1)
    rest -= _every_block((means**2).sum(axis=1), n, n_blocks - 1).sum(axis=1)
    blocks = np.empty((n, n_blocks * bands + 1), np.float32)
    blocks[:, : -1 - bands] = _every_block(means, n, n_blocks - 1).reshape(n, -1)
    blocks[:, -1 - bands : -1] = last
    blocks[:, -1] = np.sqrt(np.maximum(rest, 0))
    edges = np.concatenate([padded[: n - 1], padded[length : length + n - 1]], axis=1)
    return blocks, edges.astype(np.float32)


def _every_block(values: np.ndarray, n: int, n_blocks: int) -> np.ndarray:
    """Row i: the values [T, ...] at i, i + 4, i + 8 ...: [n, n_blocks, ...], a view."""
    step = values.strides[0]
    shape = n, n_blocks, *values.shape[1:]
    return as_strided(values, shape, (step, _BLOCK * step, *values.strides[1:]), writeable=False)
