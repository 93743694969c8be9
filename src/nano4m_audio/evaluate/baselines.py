"""What a model must beat: how often an id occurs at its position, whatever the clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nano4m_audio.nano4m.data import TokenData

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


def fit_counts(data: TokenData, groups: np.ndarray, m: int, *, padded: bool = False) -> CountModel:
    """Fit a smoothed count model to modality ``m`` of the training clips.

    The smoothing is the one with the least cross-entropy on groups of clips that are held out of
    the counts in turns, so the model never sees an evaluated clip and is not fooled by rare ids.
    ``padded`` counts the padding of short sequences, for a run that is asked for it.
    """
    folds = np.unique(groups, return_inverse=True)[1] % FOLDS
    held = [position_counts(data, m, np.flatnonzero(folds == f), padded) for f in np.unique(folds)]
    total = np.sum(held, axis=0)
    smoothing = _choose(held, total) if len(held) > 1 else Smoothing()
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


def _choose(held: list[np.ndarray], total: np.ndarray) -> Smoothing:
    """The smoothing of codebooks first, then that of positions, by held-out cross-entropy."""
    smoothing = min(
        (Smoothing(period, uniform) for period in PERIODS for uniform in UNIFORM_STRENGTHS),
        key=lambda s: sum(_codebook_loss(part, total - part, s) for part in held),
    )
    sums = dict.fromkeys(POSITION_STRENGTHS, 0.0)
    for part in held:
        fitted = total - part
        codebooks, where = _of_codebooks(fitted, smoothing), np.nonzero(part)
        prior, own, seen = (
            codebooks[where[0] % smoothing.period, where[1]],
            fitted[where],
            fitted.sum(1),
        )
        for strength in POSITION_STRENGTHS:
            p = (own + strength * prior) / (seen[where[0]] + strength)
            sums[strength] -= float(part[where] @ np.log(p))
    position = min(sums, key=lambda strength: (sums[strength], -strength))
    return Smoothing(smoothing.period, smoothing.uniform, position)


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
