"""Cross-entropy per modality under the run's last masking, beside counts that ignore the clip."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from nano4m_audio.evaluate.baselines import CountModel, fit_counts
from nano4m_audio.evaluate.common import BATCH_SIZE, NATS, Measured, ProbeInputs, metric
from nano4m_audio.evaluate.masks import Asked, draw_masks
from nano4m_audio.nano4m.objective import token_losses
from nano4m_audio.nano4m.settings import Modality

#: How many masks ask each clip for each modality; more masks, less noise from them.
MASKS = 4


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """Metrics ``<modality>`` and ``<modality>_unigram``.

    Every clip is asked for every modality under ``MASKS`` fixed masks; its value is the mean over
    their targets, and the metric the mean over clips. The unigram row is what the ids' frequencies
    by position and codebook in the training clips reach on exactly the same targets.
    """
    modalities = inputs.settings.model.modalities
    masking = inputs.settings.masking
    counted = [
        fit_counts(inputs.train.data, inputs.train_groups, m, padded=masking.padded_captions)
        for m in range(len(modalities))
    ]
    shape = (len(modalities), len(inputs.data))
    own, counts, other = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape)
    for asked in draw_masks(inputs.data, masking, inputs.seed, MASKS, BATCH_SIZE):
        losses = _losses(inputs, asked)
        samples = np.repeat(np.arange(len(asked.clips)), asked.targets.lengths)
        for m, model in enumerate(counted):
            of_m = asked.targets.modalities == m
            used = asked.used[samples[of_m], m]
            places = np.flatnonzero(of_m)[used]
            clips = asked.clips[samples[places]]
            np.add.at(own[m], clips, losses[m][used])
            ids = asked.targets.positions[places], asked.targets.tokens[places]
            np.add.at(other[m], clips, model.losses[ids])
            np.add.at(counts[m], clips, 1)
    metrics = [
        row
        for m, model in enumerate(counted)
        if counts[m].any()
        for row in _rows(inputs, m, model, own[m], other[m], counts[m])
    ]
    targets = {name.name: int(n.sum()) for name, n in zip(modalities, counts, strict=True)}
    return {"metrics": metrics, "targets": targets, "masks": MASKS}


def _rows(
    inputs: ProbeInputs,
    m: int,
    model: CountModel,
    own: np.ndarray,
    other: np.ndarray,
    counts: np.ndarray,
) -> list[dict[str, Any]]:
    """The metric of a modality and its baseline, from sums over each clip's targets."""
    modality = inputs.settings.model.modalities[m]
    per_modality = inputs.settings.objective.per_modality_vocab
    ids = modality.vocab_size if per_modality else inputs.settings.model.vocab_size
    asked = (counts > 0).astype(np.int64)
    each = np.maximum(counts, 1)
    baseline = Measured(f"{modality.name}_unigram", other / each, asked, _counted(modality, model))
    note = f"{counts.sum():,} targets under {MASKS} masks a clip; chance is log {ids:,}"
    measured = Measured(modality.name, own / each, asked, note)
    chance = math.log(ids)
    return [
        metric(measured, inputs, unit=NATS, chance=chance, baseline=baseline),
        metric(baseline, inputs, unit=NATS, chance=chance),
    ]


def _counted(modality: Modality, model: CountModel) -> str:
    """What the count model knows, in words."""
    note = "token frequencies of the position in the training clips"
    if (period := model.smoothing.period) > 1:
        note += f", smoothed by every {period}{'nd' if period == 2 else 'th'} position"
        note += " (its codebook)" if period == modality.span_stride else ""
    return f"{note}; on the same targets"


@torch.inference_mode()
def _losses(inputs: ProbeInputs, asked: Asked) -> list[np.ndarray]:
    """Cross-entropy of every target, one float64 vector per modality, in packed order."""
    targets = inputs.tokens(asked.targets)
    features = inputs.model(inputs.tokens(asked.inputs), targets)
    losses = token_losses(inputs.model, features, targets, inputs.settings.objective)
    return [loss.cpu().double().numpy() for loss in losses]
