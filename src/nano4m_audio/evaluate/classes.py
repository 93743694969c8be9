"""The class of a clip from its sound, its pictures, or everything but the caption.

Every class is scored by its whole caption: log P(caption | source) of a decoder that may only write
one of the classes' captions, with the source complete as input. By the chain rule: where captions
part, the next piece is asked for by itself, given the source and the pieces before it, which the
encoder sees as it does in training, and only the pieces that lead to a caption compete. Nothing
else is asked for, as positions give the length away, and with it the class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nano4m_audio.evaluate.common import ACCURACY, BATCH_SIZE, Measured, ProbeInputs, metric
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.objective import own_table

TOP_K = (1, 3, 5)
SOURCES = {
    "audio": ("audio",),
    "rgb": ("rgb",),
    "all": tuple(name for name, row in MODALITIES.items() if row.kind != "text"),
}


@dataclass(frozen=True)
class Captions:
    """The class names in order, and the caption ids of each."""

    names: list[str]
    ids: list[list[int]]


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """Metrics ``<source>_top<k>`` (audio, rgb, all) and ``frequency_top<k>``, details per class.

    Chance is k/C: classes drawn blindly. ``frequency``, the baseline of all others, ranks classes
    by their number of training clips; where classes are unequal it is the harder guess.
    """
    captions = class_captions(inputs)
    true = np.array([captions.names.index(name) for name in inputs.chosen.classes])
    frequency = Counter(inputs.train.classes)
    prior = np.array([[frequency[name] for name in captions.names]], float)
    prior_rank = rank_of(np.repeat(prior, len(true), axis=0), true)
    note = "classes ranked by their number of training clips, whatever the clip"
    baselines = _measured("frequency", prior_rank, note)
    metrics: list[dict[str, Any]] = []
    predictions: dict[str, list[str]] = {}
    ranks: dict[str, np.ndarray] = {}
    for source, modalities in SOURCES.items():
        scores = score_source(inputs, modalities, captions.ids)
        ranks[source] = rank_of(scores, true)
        predictions[source] = [captions.names[i] for i in scores.argmax(axis=1)]
        own = _measured(
            source, ranks[source], f"whole captions scored from {', '.join(modalities)}"
        )
        metrics += _metrics(own, inputs, len(captions.names), baselines)
    metrics += _metrics(baselines, inputs, len(captions.names))
    return {
        "metrics": metrics,
        "per_class": _per_class(ranks, true, captions),
        "clip_ids": inputs.chosen.clip_ids,
        "true": list(inputs.chosen.classes),
        "predictions": predictions,
    }


def class_captions(inputs: ProbeInputs) -> Captions:
    """The most frequent caption of every class among the training and evaluated clips."""
    seen: dict[str, Counter[tuple[int, ...]]] = {}
    m = inputs.modality("caption")
    for clips in (inputs.train, inputs.chosen):
        rows, lengths = clips.data.arrays[m][:, 0].tolist(), clips.data.lengths[:, m].tolist()
        for name, row, length in zip(clips.classes, rows, lengths, strict=True):
            seen.setdefault(name, Counter())[tuple(row[:length])] += 1
    names = sorted(seen)
    best = [min((-count, caption) for caption, count in seen[name].items())[1] for name in names]
    return Captions(names, [list(caption) for caption in best])


def score_source(
    inputs: ProbeInputs, modalities: Sequence[str], captions: Sequence[Sequence[int]]
) -> np.ndarray:
    """Log probability of every caption given the complete ``modalities``: float64 [clips, C].

    With pictures among them, the mean over the keyframes.
    """
    pictures = any(inputs.data.arrays[inputs.modality(m)].shape[1] > 1 for m in modalities)
    frames = inputs.keyframe_numbers() if pictures else np.zeros(1, np.int64)
    total = np.zeros((len(inputs.data), len(captions)))
    for frame in frames:
        for start in range(0, len(inputs.data), BATCH_SIZE):
            clips = np.arange(start, min(start + BATCH_SIZE, len(inputs.data)))
            total[clips] += _caption_scores(inputs, modalities, clips, int(frame), captions)
    return total / len(frames)


@torch.inference_mode()
def _caption_scores(
    inputs: ProbeInputs,
    modalities: Sequence[str],
    clips: np.ndarray,
    frame: int,
    captions: Sequence[Sequence[int]],
) -> np.ndarray:
    """Log probability of every caption for each clip, float64 [clips, C]."""
    model, m = inputs.model, inputs.modality("caption")
    scores, one = np.zeros((len(clips), len(captions))), np.ones(len(clips), np.int64)
    for prefix, pieces in branches(captions):
        seen = inputs.tokens(_complete(inputs, modalities, clips, frame, prefix))
        asked = inputs.tokens(Packed(0 * one, len(prefix) * one, m * one, one))
        logits = model(seen, asked) @ own_table(model, m)[pieces].T
        log_p = logits.log_softmax(dim=1).cpu().double().numpy()
        for c, caption in enumerate(captions):
            if tuple(caption[: len(prefix)]) == prefix:
                scores[:, c] += log_p[:, pieces.index(caption[len(prefix)])]
    return scores


def branches(captions: Sequence[Sequence[int]]) -> list[tuple[tuple[int, ...], list[int]]]:
    """Where captions part: every common beginning with two or more next ids, and those ids."""
    following: dict[tuple[int, ...], set[int]] = {}
    for caption in captions:
        for end in range(1, len(caption)):
            following.setdefault(tuple(caption[:end]), set()).add(caption[end])
    return [(prefix, sorted(ids)) for prefix, ids in following.items() if len(ids) > 1]


def _complete(
    inputs: ProbeInputs,
    modalities: Sequence[str],
    clips: np.ndarray,
    frame: int,
    caption: Sequence[int],
) -> Packed:
    """All tokens of ``modalities`` at one keyframe, then the first ids of a caption."""
    rows = inputs.data.rows(clips, np.full(len(clips), frame))
    chosen = [m for m, row in enumerate(inputs.settings.model.modalities) if row.name in modalities]
    begun = np.tile(np.asarray(caption, np.int64), (len(clips), 1))
    parts = [*(rows[m] for m in chosen), begun]
    widths = [part.shape[1] for part in parts]
    return Packed(
        tokens=np.concatenate(parts, axis=1).astype(np.int64).ravel(),
        positions=np.tile(np.concatenate([np.arange(w) for w in widths]), len(clips)),
        modalities=np.tile(np.repeat([*chosen, inputs.modality("caption")], widths), len(clips)),
        lengths=np.full(len(clips), sum(widths)),
    )


def rank_of(scores: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The 1-based rank of the true class in each row; ties go to the first class in order."""
    own = scores[np.arange(len(true)), true][:, None]
    earlier = np.arange(scores.shape[1]) < true[:, None]
    return 1 + (scores > own).sum(axis=1) + ((scores == own) & earlier).sum(axis=1)


def _measured(name: str, ranks: np.ndarray, note: str) -> list[Measured]:
    """Whether the true class is among the first k, for every k."""
    ones = np.ones(len(ranks), np.int64)
    return [Measured(f"{name}_top{k}", (ranks <= k).astype(np.int64), ones, note) for k in TOP_K]


def _metrics(
    measured: Sequence[Measured],
    inputs: ProbeInputs,
    n_classes: int,
    baselines: Sequence[Measured | None] = (None,) * len(TOP_K),
) -> list[dict[str, Any]]:
    return [
        metric(own, inputs, unit=ACCURACY, chance=min(1.0, k / n_classes), baseline=baseline)
        for own, baseline, k in zip(measured, baselines, TOP_K, strict=True)
    ]


def _per_class(
    ranks: dict[str, np.ndarray], true: np.ndarray, captions: Captions
) -> list[dict[str, Any]]:
    rows = []
    for c, name in enumerate(captions.names):
        own = true == c
        hits = {f"{source}_top1": int((r[own] == 1).sum()) for source, r in ranks.items()}
        rows.append({"class": name, "n": int(own.sum()), **hits})
    return rows
