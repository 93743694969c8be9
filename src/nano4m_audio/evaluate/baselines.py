"""What a model must beat: how often an id occurs at its position, whatever the clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from nano4m_audio.nano4m.data import TokenData

if TYPE_CHECKING:
    from nano4m_audio.evaluate.common import ProbeInputs

#: Clips whose tokens are counted at once, as they may be mapped from disk.
CLIPS_AT_ONCE = 4096
#: Parts of the training clips that are held out in turns to choose the smoothing.
FOLDS = 3
#: Sequences may be made of so many interleaved codebooks.
PERIODS = (1, 2, 4, 8)
#: Strengths of smoothing to choose from, in tokens.
UNIFORM_STRENGTHS = tuple(10.0**k for k in range(-2, 6))
POSITION_STRENGTHS = (*(10.0**k for k in range(-1, 7)), 1e12)


@dataclass(frozen=True)
class Smoothing:
    """How counts become probabilities: every ``period``-th position shares a codebook; ids of a
    codebook are mixed with ``uniform`` tokens of equal ids, and those of a position with
    ``position`` tokens of its codebook."""

    period: int = 1
    uniform: float = 1.0
    position: float = POSITION_STRENGTHS[-1]


@dataclass(frozen=True)
class CountModel:
    """-log probability in nats of every id at every position, float32 [max_tokens, vocab_size]."""

    losses: np.ndarray
    smoothing: Smoothing

    def of(self, positions: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """The losses of these tokens, float32 [n]."""
        return self.losses[positions, ids]


def fit_counts(data: TokenData, groups: np.ndarray, m: int, *, padded: bool = False) -> CountModel:
    """Fit a smoothed count model to modality ``m`` of the training clips.

    The smoothing is the one with the least cross-entropy on groups of clips that are held out of
    the counts in turns, so the model never sees an evaluated clip and is not fooled by rare ids.
    ``padded`` counts the padding of short sequences, for a run that is asked for it.
    """
    return fit_unigrams(data, groups, m, padded=padded)["unigram"]


def fit_unigrams(
    data: TokenData, groups: np.ndarray, m: int, *, padded: bool = False
) -> dict[str, CountModel]:
    """Three such models, each of which knows more: ``pooled`` one distribution for all positions;
    ``per_codebook`` one each, for interleaved ones; ``unigram`` also the position."""
    folds = fold_numbers(groups)
    held = [position_counts(data, m, np.flatnonzero(folds == f), padded) for f in np.unique(folds)]
    total = np.sum(held, axis=0)
    stride = data.modalities[m].span_stride or 1
    chosen = {
        "pooled": Smoothing(),
        "per_codebook": Smoothing(period=stride),
        "unigram": Smoothing(),
    }
    if len(held) > 1:
        chosen = _choose(held, total, stride)
    if stride == 1:
        del chosen["per_codebook"]
    return {name: _fitted(total, smoothing) for name, smoothing in chosen.items()}


#: Fitted models by training clips, since several probes ask for the same ones.
_KNOWN: WeakKeyDictionary[TokenData, dict[Any, dict[str, CountModel]]] = WeakKeyDictionary()


def run_unigrams(inputs: ProbeInputs, m: int) -> dict[str, CountModel]:
    """``fit_unigrams`` of the training clips of a run, with its own way of padding."""
    padded, groups = inputs.settings.masking.padded_captions, inputs.train_groups
    known = _KNOWN.setdefault(inputs.train.data, {})
    key = m, padded, groups.tobytes()
    if key not in known:
        known[key] = fit_unigrams(inputs.train.data, groups, m, padded=padded)
    return known[key]


def fold_numbers(groups: np.ndarray) -> np.ndarray:
    """The part of the training clips that each clip is held out with, int64 [n]; whole groups."""
    return np.unique(groups, return_inverse=True)[1] % FOLDS


def _fitted(total: np.ndarray, smoothing: Smoothing) -> CountModel:
    losses = -np.log(_of_positions(total, _of_codebooks(total, smoothing), smoothing))
    return CountModel(losses.astype(np.float32), smoothing)


def position_counts(data: TokenData, m: int, clips: np.ndarray, padded: bool = False) -> np.ndarray:
    """How often each id occurs at each position of these clips: int64 [max_tokens, vocab_size]."""
    modality, array = data.modalities[m], data.arrays[m]
    shape = modality.max_tokens, modality.vocab_size
    counts = np.zeros(shape[0] * shape[1], np.int64)
    for start in range(0, len(clips), CLIPS_AT_ONCE):
        some = clips[start : start + CLIPS_AT_ONCE]
        part, lengths = array[some], data.lengths[some, m]
        positions = np.arange(part.shape[2])
        places = part.astype(np.int64) + positions * modality.vocab_size
        valid = np.broadcast_to(positions < lengths[:, None, None], part.shape)
        counts += np.bincount(places[valid], minlength=len(counts))
    table = counts.reshape(shape)
    if padded and modality.pad_id is not None:
        longer = data.lengths[clips, m] > np.arange(shape[0])[:, None]
        table[:, modality.pad_id] += (~longer).sum(axis=1)
    return table


def _choose(held: list[np.ndarray], total: np.ndarray, stride: int) -> dict[str, Smoothing]:
    """The smoothing of codebooks first, then that of positions, by held-out cross-entropy."""
    tried = {
        Smoothing(period, uniform): sum(
            _codebook_loss(part, total - part, Smoothing(period, uniform)) for part in held
        )
        for period in sorted({*PERIODS, stride})
        for uniform in UNIFORM_STRENGTHS
    }

    def best(*periods: int) -> Smoothing:
        return min((s for s in tried if s.period in periods), key=tried.__getitem__)

    smoothing = best(*PERIODS, stride)
    position = _position_strength(held, total, smoothing)
    return {
        "pooled": best(1),
        "per_codebook": best(stride),
        "unigram": Smoothing(smoothing.period, smoothing.uniform, position),
    }


def _position_strength(held: list[np.ndarray], total: np.ndarray, smoothing: Smoothing) -> float:
    sums = dict.fromkeys(POSITION_STRENGTHS, 0.0)
    for part in held:
        fitted = total - part
        codebooks, where = _of_codebooks(fitted, smoothing), np.nonzero(part)
        prior = codebooks[where[0] % smoothing.period, where[1]]
        own, seen = fitted[where], fitted.sum(1)
        for strength in POSITION_STRENGTHS:
            p = (own + strength * prior) / (seen[where[0]] + strength)
            sums[strength] -= float(part[where] @ np.log(p))
    return min(sums, key=lambda strength: (sums[strength], -strength))


def _codebook_loss(part: np.ndarray, fitted: np.ndarray, smoothing: Smoothing) -> float:
    counts = _by_codebook(part, smoothing.period)
    return -float((counts * np.log(_of_codebooks(fitted, smoothing))).sum())


def _by_codebook(counts: np.ndarray, period: int) -> np.ndarray:
    return np.stack([counts[c::period].sum(axis=0) for c in range(period)])


def _of_codebooks(counts: np.ndarray, smoothing: Smoothing) -> np.ndarray:
    """Probability of every id in every codebook, float64 [period, vocab_size]."""
    sums = _by_codebook(counts, smoothing.period)
    mixed = sums + smoothing.uniform / counts.shape[1]
    return mixed / (sums.sum(axis=1, keepdims=True) + smoothing.uniform)


def _of_positions(counts: np.ndarray, codebooks: np.ndarray, smoothing: Smoothing) -> np.ndarray:
    """Probability of every id at every position, float64 [positions, vocab_size]."""
    prior = codebooks[np.arange(len(counts)) % smoothing.period]
    sums = counts.sum(axis=1, keepdims=True)
    return (counts + smoothing.position * prior) / (sums + smoothing.position)
