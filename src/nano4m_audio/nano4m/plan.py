"""What the masks of every sample of a batch are drawn from: concentrations, sources, drop-outs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nano4m_audio.nano4m.settings import MaskingConfig, Modality


@dataclass(frozen=True)
class Plan:
    """What every sample draws from: Dirichlet concentrations float64 [batch, M], and which
    modalities may be in the input, bool [batch, M]. ``source`` int64 [batch] is the modality that
    is the whole input, or -1, ``alone`` the one without any source, or -1."""

    input_alphas: np.ndarray
    target_alphas: np.ndarray
    allowed: np.ndarray
    source: np.ndarray
    alone: np.ndarray


def draw_plan(
    rng: np.random.Generator, modalities: Sequence[Modality], config: MaskingConfig, batch: int
) -> Plan:
    """Draw the component of the mixture, the dropped modalities, the single sources and those
    without a source."""
    shape = batch, len(modalities)
    inputs, targets = (np.array(config.alphas(side, modalities)) for side in ("input", "target"))
    if len(inputs) > 1:
        weights = np.array([c.weight for c in config.mixture])
        chosen = rng.choice(len(weights), batch, p=weights / weights.sum())
        inputs, targets = inputs[chosen], targets[chosen]
    else:
        inputs, targets = np.repeat(inputs, batch, axis=0), np.repeat(targets, batch, axis=0)
    allowed = inputs > 0  # [batch, M]
    if config.modality_dropout:
        dropped = np.where(allowed, rng.random(shape), -1)
        allowed &= dropped >= config.modality_dropout
        allowed[np.arange(batch), dropped.argmax(axis=1)] = True  # one always stays
    source = np.full(batch, -1)
    if config.single_source_prob:
        single = rng.random(batch) < config.single_source_prob
        source = np.where(single, one_of(rng, inputs > 0), -1)
    alone = np.full(batch, -1)
    if config.condition_dropout:
        without = rng.random(batch) < config.condition_dropout
        alone = np.where(without, one_of(rng, targets > 0), -1)
        source = np.where(without, -1, source)
    return Plan(inputs, targets, allowed, source, alone)


def one_of(rng: np.random.Generator, among: np.ndarray) -> np.ndarray:
    """The number of one of the true columns of each row, all alike: bool [batch, M] -> int64
    [batch]."""
    ranks = rng.integers(0, among.sum(axis=1))
    return (among.cumsum(axis=1) > ranks[:, None]).argmax(axis=1)
