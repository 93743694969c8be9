"""The class of a clip from its sound, its pictures, or everything but the caption.

Every class is scored by its whole caption, log P(all pieces and [EOS] | source), with the source
complete as the only input. The decoder never sees target tokens, so there is no teacher forcing:
pieces are predicted in parallel, each from its position alone. Asking for a position also tells the
model that the caption is at least that long, which would favour the longest captions; so piece t is
scored in a pass that asks for positions 0..t only, and its length is never known in advance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nano4m_audio.evaluate.common import BATCH_SIZE, ProbeInputs, ratio_metric
from nano4m_audio.nano4m.attention import Tokens
from nano4m_audio.nano4m.data import whole
from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.objective import own_table

TOP_K = (1, 3, 5)
PERMUTATIONS = 2000
SOURCES = {"audio": ("audio",), "rgb": ("rgb",), "all": ("rgb", "audio", "depth", "normals")}
UNIT = "accuracy"


@dataclass(frozen=True)
class Captions:
    """The class names in order, and the caption ids of each."""

    names: list[str]
    ids: list[list[int]]


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """Metrics ``<source>_top<k>`` (audio, rgb, all) and ``frequency_top<k>``, details per class.

    Chance is k/C. ``frequency`` always ranks classes by their number of training clips.
    """
    captions = class_captions(inputs)
    true = np.array([captions.names.index(name) for name in inputs.chosen.classes])
    metrics, p_values = [], {}
    predictions: dict[str, list[str]] = {}
    ranks: dict[str, np.ndarray] = {}
    for source, modalities in SOURCES.items():
        scores = score_source(inputs, modalities, captions.ids)
        ranks[source] = rank_of(scores, true)
        p_values[source] = permutation_p(scores.argmax(axis=1), true, inputs.seed)
        predictions[source] = [captions.names[i] for i in scores.argmax(axis=1)]
        note = f"whole captions scored from {', '.join(modalities)}; p = {p_values[source]:.2g}"
        metrics += _accuracies(source, ranks[source], captions, inputs, note)
    frequency = Counter(inputs.train.classes)
    prior = np.array([[frequency[name] for name in captions.names]], float)
    prior_rank = rank_of(np.repeat(prior, len(true), axis=0), true)
    note = "classes ranked by their number of training clips, whatever the clip"
    metrics += _accuracies("frequency", prior_rank, captions, inputs, note)
    return {
        "metrics": metrics,
        "p_values": p_values,
        "per_class": _per_class(ranks, true, captions),
        "clip_ids": inputs.chosen.clip_ids,
        "true": list(inputs.chosen.classes),
        "predictions": predictions,
        "permutations": PERMUTATIONS,
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
            seen = Tokens.of(_complete(inputs, modalities, clips, int(frame)))
            total[clips] += _caption_scores(inputs, seen, captions)
    return total / len(frames)


def _complete(
    inputs: ProbeInputs, modalities: Sequence[str], clips: np.ndarray, frame: int
) -> Packed:
    """All tokens of ``modalities`` of the clips, in config order, at one keyframe."""
    rows = inputs.data.rows(clips, np.full(len(clips), frame))
    chosen = [m for m, row in enumerate(inputs.settings.model.modalities) if row.name in modalities]
    widths = [rows[m].shape[1] for m in chosen]
    n, total = len(clips), sum(widths)
    return Packed(
        tokens=np.concatenate([rows[m] for m in chosen], axis=1).astype(np.int64).ravel(),
        positions=np.tile(np.concatenate([np.arange(w) for w in widths]), n),
        modalities=np.tile(np.repeat(chosen, widths), n),
        lengths=np.full(n, total),
    )


@torch.inference_mode()
def _caption_scores(
    inputs: ProbeInputs, seen: Tokens, captions: Sequence[Sequence[int]]
) -> np.ndarray:
    """Log probability of every caption for each sample, float64 [batch, C]; [SOS] is not scored."""
    model, m = inputs.model, inputs.modality("caption")
    table = own_table(model, m)
    encoded, batch = model.encode(seen), len(seen.lengths)
    scores = np.zeros((batch, len(captions)))
    for last in range(1, max(len(caption) for caption in captions)):
        blank = np.zeros((batch, last + 1), np.int64)
        asked = Tokens.of(whole(m, blank, np.full(batch, last + 1)))
        features = model.decode(encoded, seen, asked).view(batch, last + 1, -1)[:, last]
        log_p = (features @ table.T).log_softmax(dim=1).double().numpy()
        for c, caption in enumerate(captions):
            if last < len(caption):
                scores[:, c] += log_p[:, caption[last]]
    return scores


def rank_of(scores: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The 1-based rank of the true class in each row; ties go to the first class in order."""
    own = scores[np.arange(len(true)), true][:, None]
    earlier = np.arange(scores.shape[1]) < true[:, None]
    return 1 + (scores > own).sum(axis=1) + ((scores == own) & earlier).sum(axis=1)


def permutation_p(predicted: np.ndarray, true: np.ndarray, seed: int) -> float:
    """How often shuffled classes are hit at least as often as the real ones (one-sided)."""
    rng = np.random.default_rng([seed, 11])
    hits = (predicted == true).sum()
    shuffled = [(predicted == rng.permutation(true)).sum() for _ in range(PERMUTATIONS)]
    return float((1 + (np.array(shuffled) >= hits).sum()) / (1 + PERMUTATIONS))


def _accuracies(
    name: str, ranks: np.ndarray, captions: Captions, inputs: ProbeInputs, note: str
) -> list[dict[str, Any]]:
    n_classes = len(captions.names)
    ones = np.ones(len(ranks), np.int64)
    return [
        ratio_metric(
            f"{name}_top{k}",
            (ranks <= k).astype(np.int64),
            ones,
            inputs,
            chance=min(1.0, k / n_classes),
            unit=UNIT,
            note=note,
        )
        for k in TOP_K
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
