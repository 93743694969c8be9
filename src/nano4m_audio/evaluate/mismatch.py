"""Whether a run was trained on what it is asked for: few complete modalities as the only input.

The same targets are asked for given one, two, ... complete other modalities. Beside it: in how many
of the run's own training samples the input came from so few, by drawing masks as in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nano4m_audio.evaluate.baselines import run_unigrams
from nano4m_audio.evaluate.common import NATS, Measured, ProbeInputs, metric
from nano4m_audio.evaluate.fixed_targets import FixedTargets, Shown, difference, mean
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.settings import MaskingConfig

#: Training samples that are drawn, so many at once: small batches, as masks may change by step.
SAMPLES, AT_ONCE = 4096, 64
#: A sample comes from so many modalities as hold this share of its input.
MOST = 0.95


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """``targets``: cross-entropy of each modality given 1, 2, ... others, and what training showed
    when it asked for it; ``training``: shares of all training samples.

    Metrics ``<target>_from_one``, beside counts of the training clips on the same targets.
    """
    fixed = FixedTargets(inputs)
    names = [modality.name for modality in inputs.data.modalities]
    drawn = draw_shares_of_training(inputs.train.data, inputs.settings.masking, inputs.seed)
    rows, metrics = [], []
    for m, name in enumerate(names):
        by_number = _by_number(fixed, m)
        counts = fixed.counted(m, run_unigrams(inputs, m)["unigram"]).mean(axis=1)
        rows.append({"target": name, **_row(inputs, m, by_number, counts, *drawn)})
        if len(by_number) and np.isfinite(counts).any():
            metrics += _metrics(inputs, name, by_number[0], counts)
    return {"metrics": metrics, "targets": rows, "training": training(*drawn)}


def _by_number(fixed: FixedTargets, m: int) -> list[np.ndarray]:
    """What each clip's targets cost given 1, 2, ... all other modalities, float64 [n] each.

    The others stand in a circle; each clip starts at one of them and is shown one more each time,
    so that its inputs are nested, and every modality is shown equally often.
    """
    others = [k for k in range(len(fixed.data.modalities)) if k != m]
    clips = np.arange(len(fixed.data))
    starts = np.empty(len(clips), np.int64)
    starts[np.argsort(fixed.numbers, kind="stable")] = clips % max(len(others), 1)
    out = []
    for number in range(1, len(others) + 1):
        losses = np.full(len(clips), np.nan)
        for start in range(len(others) if number < len(others) else 1):
            mine = clips if number == len(others) else np.flatnonzero(starts == start)
            shown = tuple(sorted(np.roll(others, -start)[:number].tolist()))
            source = np.full(len(clips), -1)
            source[mine] = mine
            found = fixed.losses(Shown(shown), {"own": source}, [m])[m, "own"]
            losses[mine] = found[mine].mean(axis=1)
        out.append(losses)
    return out


def draw_shares_of_training(
    data: TokenData, masking: MaskingConfig, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of every modality in the inputs and in the targets of ``SAMPLES`` training samples,
    drawn as the run draws them from its first step to its last: two int64 [samples, M]."""
    inputs, targets = [], []
    batches = -(-SAMPLES // AT_ONCE)
    for i in range(batches):
        batch = data.batch(i, AT_ONCE, masking.at((i + 0.5) / batches), seed)
        inputs.append(_counts(batch.inputs, len(data.modalities)))
        targets.append(_counts(batch.targets, len(data.modalities)))
    return np.concatenate(inputs), np.concatenate(targets)


def _counts(packed: Packed, modalities: int) -> np.ndarray:
    samples = np.repeat(np.arange(len(packed.lengths)), packed.lengths)
    places = samples * modalities + packed.modalities
    counts = np.bincount(places, minlength=len(packed.lengths) * modalities)
    return counts.reshape(-1, modalities)


def number_of_sources(inputs: np.ndarray) -> np.ndarray:
    """The fewest modalities that hold ``MOST`` of a sample's input, int64 [samples]; ``inputs``
    are tokens [samples, M]."""
    largest = np.cumsum(-np.sort(-inputs, axis=1), axis=1)
    return (largest < MOST * inputs.sum(axis=1, keepdims=True)).sum(axis=1) + 1


def training(inputs: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Shares of the samples by their number of sources; ``single_to_single``: one modality holds
    ``MOST`` of the input, and another one of the targets."""
    sources = number_of_sources(inputs)
    single = sources == 1
    to_one = number_of_sources(targets) == 1
    other = inputs.argmax(axis=1) != targets.argmax(axis=1)
    return {
        "samples": len(inputs),
        "by_number": _shares(sources, inputs.shape[1]),
        "single_source": float(single.mean()),
        "single_to_single": float((single & to_one & other).mean()),
    }


def _shares(sources: np.ndarray, modalities: int) -> list[float]:
    """The share of samples with 1, 2, ... sources."""
    counts = np.bincount(sources, minlength=modalities + 1)[1:]
    return (counts / max(len(sources), 1)).tolist()


def _row(
    inputs: ProbeInputs,
    m: int,
    by_number: Sequence[np.ndarray],
    counts: np.ndarray,
    given: np.ndarray,
    asked: np.ndarray,
) -> dict[str, Any]:
    """One target modality: cross-entropies, and the training samples that ask for it."""
    mine = given[asked[:, m] > 0]
    few, all_others = (by_number[0], by_number[-1]) if by_number else (counts, counts)
    itself = mine[:, m] > (1 - MOST) * mine.sum(axis=1)
    return {
        "counts": mean(counts),
        "by_number": [mean(losses) for losses in by_number],
        "one_minus_all": difference(few - all_others, inputs),
        "training": {
            "asked": len(mine) / len(given),
            "by_number": _shares(number_of_sources(mine), given.shape[1]),
            "from_others": float((~itself).mean()) if len(mine) else None,
        },
    }


def _metrics(
    inputs: ProbeInputs, name: str, losses: np.ndarray, counts: np.ndarray
) -> list[dict[str, Any]]:
    asked = np.isfinite(losses).astype(np.int64)
    note = "given one complete other modality, a different one from clip to clip"
    own = Measured(f"{name}_from_one", np.nan_to_num(losses), asked, note)
    note = "token frequencies of the position in the training clips, the same targets"
    baseline = Measured(f"{name}_unigram", np.nan_to_num(counts), asked, note)
    return [
        metric(own, inputs, unit=NATS, chance=None, baseline=baseline),
        metric(baseline, inputs, unit=NATS, chance=None),
    ]
