"""Fixed masks under which every clip is asked for every modality."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.settings import MaskingConfig

#: Masks are drawn for so many clips at once.
CLIPS_AT_ONCE = 512
#: A modality that nobody was asked for in the first so many rounds, and so many masks, is not
#: waited for: the run does not ask for it.
PATIENCE_ROUNDS, PATIENCE_MASKS = 50, 5000
MOST_ROUNDS = 5000


@dataclass(frozen=True)
class Asked:
    """Masked samples: their rows int64 [batch], and whose targets count, bool [batch, M]."""

    inputs: Packed
    targets: Packed
    clips: np.ndarray
    used: np.ndarray


def draw_masks(
    data: TokenData, masking: MaskingConfig, seed: int, wanted: int, batch_size: int
) -> Iterator[Asked]:
    """Masks of the run's own kind until every clip was asked for every modality ``wanted`` times.

    One mask asks for a few modalities only. The first ``wanted`` masks of a clip that ask for a
    modality count for it, so that these are drawn as in training, given that they ask for it. They
    depend on the seed and the clips alone.
    """
    for first in range(0, len(data), CLIPS_AT_ONCE):
        clips = np.arange(first, min(first + CLIPS_AT_ONCE, len(data)))
        found = np.zeros((len(clips), len(data.modalities)), np.int64)
        asked = np.arange(found.shape[1])
        patience = max(PATIENCE_ROUNDS, PATIENCE_MASKS // len(clips))
        for turn in range(MOST_ROUNDS):
            if turn == patience:
                asked = np.flatnonzero(found.any(axis=0))
            waiting = np.zeros(found.shape, bool)
            waiting[:, asked] = found[:, asked] < wanted
            rows = np.flatnonzero(waiting.any(axis=1))
            if not len(rows):
                break
            rng = np.random.default_rng([seed, 13, first, turn])
            batch = data.masked(clips[rows], masking, rng)
            used = waiting[rows] & (_target_counts(batch.targets, found.shape[1]) > 0)
            found[rows] += used
            kept = np.flatnonzero(used.any(axis=1))
            for start in range(0, len(kept), batch_size):
                k = kept[start : start + batch_size]
                yield Asked(
                    _take(batch.inputs, k), _take(batch.targets, k), clips[rows[k]], used[k]
                )


def _target_counts(targets: Packed, modalities: int) -> np.ndarray:
    """Targets of every sample in every modality, int64 [batch, M]."""
    samples = np.repeat(np.arange(len(targets.lengths)), targets.lengths)
    places = samples * modalities + targets.modalities
    counts = np.bincount(places, minlength=len(targets.lengths) * modalities)
    return counts.reshape(-1, modalities)


def _take(packed: Packed, samples: np.ndarray) -> Packed:
    """Some samples of a batch, in order."""
    kept = np.isin(np.repeat(np.arange(len(packed.lengths)), packed.lengths), samples)
    return Packed(
        packed.tokens[kept],
        packed.positions[kept],
        packed.modalities[kept],
        packed.lengths[samples],
    )
