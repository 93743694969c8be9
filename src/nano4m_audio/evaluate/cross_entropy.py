"""Cross-entropy per modality under the run's last masking, beside uniform and unigram guesses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from nano4m_audio.evaluate.common import BATCH_SIZE, CLIPS_AT_ONCE, ProbeInputs, ratio_metric
from nano4m_audio.nano4m.attention import Tokens
from nano4m_audio.nano4m.data import Batch, TokenData
from nano4m_audio.nano4m.objective import token_losses

#: How often every clip is masked anew; more rounds, less noise from the masks.
ROUNDS = 4
UNIT = "nats/token"


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """Metrics ``<modality>`` and ``<modality>_unigram``.

    The masks depend on the seed alone. The interval is over clips; the unigram row is what token
    frequencies of the training clips reach on exactly the same targets.
    """
    modalities = inputs.settings.model.modalities
    masking = inputs.settings.masking.at(inputs.settings.optim.steps)
    batches = inputs.data.fixed_batches(BATCH_SIZE, masking, inputs.seed, ROUNDS)
    data = inputs.train.data, inputs.data
    unigram = [
        unigram_losses(*data, m, padded=masking.padded_captions) for m in range(len(modalities))
    ]
    shape = (len(modalities), len(inputs.data))
    sums, baseline, counts = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64)
    for batch in batches:
        clips = np.repeat(batch.clips, batch.targets.lengths)
        for m, losses in enumerate(_losses(inputs, batch)):
            chosen = batch.targets.modalities == m
            np.add.at(sums[m], clips[chosen], losses)
            np.add.at(baseline[m], clips[chosen], unigram[m][batch.targets.tokens[chosen]])
            np.add.at(counts[m], clips[chosen], 1)
    metrics, targets = [], {}
    for m, modality in enumerate(modalities):
        targets[modality.name] = int(counts[m].sum())
        if not targets[modality.name]:
            continue
        ids = modality.vocab_size
        if inputs.settings.loss == "unified":
            ids = inputs.settings.model.vocab_size
        chance = math.log(ids)
        note = f"{targets[modality.name]:,} targets; chance is log {ids:,}"
        metrics.append(
            ratio_metric(
                modality.name, sums[m], counts[m], inputs, chance=chance, unit=UNIT, note=note
            )
        )
        note = "token frequencies of the training clips, plus one, on the same targets"
        metrics.append(
            ratio_metric(
                f"{modality.name}_unigram",
                baseline[m],
                counts[m],
                inputs,
                chance=chance,
                unit=UNIT,
                note=note,
            )
        )
    return {"metrics": metrics, "targets": targets, "mask_rounds": ROUNDS}


@torch.inference_mode()
def _losses(inputs: ProbeInputs, batch: Batch) -> list[np.ndarray]:
    targets = Tokens.of(batch.targets)
    features = inputs.model(Tokens.of(batch.inputs), targets)
    losses = token_losses(inputs.model, features, targets, inputs.settings.loss)
    return [loss.double().numpy() for loss in losses]


def unigram_losses(
    train: TokenData, chosen: TokenData, m: int, *, padded: bool = False
) -> np.ndarray:
    """-log frequency of every id of modality ``m`` in the training clips, float64 [vocab_size].

    Add-one smoothing over the ids that occur in either set; other ids have infinite loss.
    ``padded`` counts the padding of short sequences too, for a model that is asked for it.
    """
    counts = _id_counts(train, m, padded)
    seen = (counts > 0) | (_id_counts(chosen, m, padded) > 0)
    smoothed = np.where(seen, counts + 1.0, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(smoothed.sum()) - np.log(smoothed)


def _id_counts(data: TokenData, m: int, padded: bool) -> np.ndarray:
    """How often each id occurs; a part of the clips at a time, as they may be mapped from disk."""
    modality, array, lengths = data.modalities[m], data.arrays[m], data.lengths[:, m]
    counts = np.zeros(modality.vocab_size, np.int64)
    for start in range(0, len(array), CLIPS_AT_ONCE):
        part = array[start : start + CLIPS_AT_ONCE]
        valid = np.arange(part.shape[2]) < lengths[start : start + CLIPS_AT_ONCE, None, None]
        counts += np.bincount(part[np.broadcast_to(valid, part.shape)], minlength=len(counts))
    if padded and modality.pad_id is not None:
        counts[modality.pad_id] += (modality.max_tokens - lengths).sum()
    return counts
