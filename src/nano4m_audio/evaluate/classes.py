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
#: What the class is told from; sources with a modality that the run has not are left out, and all
#: are those of the run.
SOURCES = {
    "audio": ("audio",),
    "semantic": ("semantic",),
    "rgb": ("rgb",),
    "depth": ("depth",),
    "normals": ("normals",),
    "pictures": tuple(name for name, row in MODALITIES.items() if row.kind == "image"),
    "audio_rgb": ("audio", "rgb"),
    "all": tuple(n for n, row in MODALITIES.items() if row.kind != "text" and not row.optional),
}


@dataclass(frozen=True)
class Captions:
    """The class names in order, and the caption ids of each."""

    names: list[str]
    ids: list[list[int]]


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """Metrics ``<source>_top<k>`` for each of SOURCES and ``frequency_top<k>``, details per class.

    Chance is k/C: classes drawn blindly. ``frequency``, the baseline of all others, ranks classes
    by their number of training clips; where classes are unequal it is the harder guess.
    ``first_token_<source>_top<k>`` ranks only the piece that a caption begins with. "confusion" are
    clips [true][guessed] in the order of "classes", "wrong" the clips named wrong.
    """
    captions = class_captions(inputs)
    true = np.array([captions.names.index(name) for name in inputs.chosen.classes])
    pieces, piece_of = np.unique([caption[1] for caption in captions.ids], return_inverse=True)
    frequency = Counter(inputs.train.classes)
    prior = np.array([[frequency[name] for name in captions.names]] * len(true), float)
    note = "classes ranked by their number of training clips, whatever the clip"
    baselines = _measured("frequency", rank_of(prior, true), note)
    piece_prior = prior @ np.eye(len(pieces))[piece_of]
    first_note = "first pieces ranked by their number of training clips, whatever the clip"
    piece_rank = rank_of(piece_prior, piece_of[true])
    piece_baselines = _measured("frequency_first_token", piece_rank, first_note)
    metrics, first_metrics = [], []
    scores: dict[str, np.ndarray] = {}
    for source, modalities in known_sources(inputs).items():
        scores[source], first = _source_scores(inputs, modalities, captions.ids, pieces.tolist())
        given = ", ".join(modalities)
        own = _measured(
            source, rank_of(scores[source], true), f"whole captions scored from {given}"
        )
        metrics += _metrics(own, inputs, len(captions.names), baselines)
        ranks = rank_of(first, piece_of[true])
        own = _measured(f"first_token_{source}", ranks, _first_note(captions, pieces, piece_of))
        first_metrics += _metrics(own, inputs, len(pieces), piece_baselines)
    metrics += _metrics(baselines, inputs, len(captions.names))
    first_metrics += _metrics(piece_baselines, inputs, len(pieces))
    guesses = {source: found.argmax(axis=1) for source, found in scores.items()}
    return {
        "metrics": [*metrics, *first_metrics],
        "per_class": _per_class({s: rank_of(x, true) for s, x in scores.items()}, true, captions),
        "classes": captions.names,
        "confusion": {source: confusion(true, guess, len(captions.names)).tolist()
                      for source, guess in guesses.items()},
        "wrong": [row for source in scores for row in _wrong(inputs, source, scores[source], true,
                                                             captions.names)],
        "clip_ids": inputs.chosen.clip_ids,
        "true": list(inputs.chosen.classes),
        "predictions": {source: [captions.names[i] for i in guess]
                        for source, guess in guesses.items()},
    }  # fmt: skip


def known_sources(inputs: ProbeInputs) -> dict[str, tuple[str, ...]]:
    """Those of SOURCES that the run was trained with."""
    names = inputs.names
    found = {source: own for source, own in SOURCES.items() if set(names).issuperset(own)}
    if "all" in found:
        found["all"] = tuple(name for name in names if MODALITIES[name].kind != "text")
    return found


def confusion(true: np.ndarray, guess: np.ndarray, n_classes: int) -> np.ndarray:
    """Clips of every true class (rows) that were named each class, int64 [C, C]."""
    counts = np.bincount(true * n_classes + guess, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes)


def _wrong(
    inputs: ProbeInputs, source: str, scores: np.ndarray, true: np.ndarray, names: Sequence[str]
) -> list[dict[str, Any]]:
    """The clips named wrong from a source, the surest first, with the probabilities of the guess
    and of the truth among the classes."""
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    guess = p.argmax(axis=1)
    rows = [
        {
            "source": source,
            "clip_id": inputs.chosen.clip_ids[i],
            "true": names[true[i]],
            "guessed": names[guess[i]],
            "probability": float(p[i, guess[i]]),
            "probability_of_true": float(p[i, true[i]]),
        }
        for i in np.flatnonzero(guess != true)
    ]
    return sorted(rows, key=lambda row: (-row["probability"], row["clip_id"]))


def _first_note(captions: Captions, pieces: np.ndarray, piece_of: np.ndarray) -> str:
    """What the probe of first pieces asks, and which classes it cannot tell apart."""
    note = f"{len(pieces)} first pieces of captions ranked at position 1, as the paper meant to"
    alike = [np.array(captions.names)[piece_of == p].tolist() for p in range(len(pieces))]
    shared = [" and ".join(names) for names in alike if len(names) > 1]
    return f"{note}; not told apart: {'; '.join(shared)}" if shared else note


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
    return _source_scores(inputs, modalities, captions, [])[0]


def _source_scores(
    inputs: ProbeInputs,
    modalities: Sequence[str],
    captions: Sequence[Sequence[int]],
    pieces: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Log probability of every caption [clips, C], and of every one of ``pieces`` at position 1
    among themselves [clips, pieces]: float64, the mean over the keyframes."""
    pictures = any(inputs.data.arrays[inputs.modality(m)].shape[1] > 1 for m in modalities)
    frames = inputs.keyframe_numbers() if pictures else np.zeros(1, np.int64)
    total = np.zeros((len(inputs.data), len(captions)))
    first = np.zeros((len(inputs.data), len(pieces)))
    parts = branches(captions)
    for frame in frames:
        for start in range(0, len(inputs.data), BATCH_SIZE):
            clips = np.arange(start, min(start + BATCH_SIZE, len(inputs.data)))
            for prefix, ids in parts:
                log_p = _next_piece(inputs, modalities, clips, int(frame), prefix, ids)
                for c, caption in enumerate(captions):
                    if tuple(caption[: len(prefix)]) == prefix:
                        total[clips, c] += log_p[:, ids.index(caption[len(prefix)])]
                if len(prefix) == 1 and list(ids) == list(pieces):
                    first[clips] += log_p
    return total / len(frames), first / len(frames)


@torch.inference_mode()
def _next_piece(
    inputs: ProbeInputs,
    modalities: Sequence[str],
    clips: np.ndarray,
    frame: int,
    prefix: Sequence[int],
    pieces: Sequence[int],
) -> np.ndarray:
    """Log probability of each of ``pieces`` after a caption's beginning, among themselves: float64
    [clips, pieces]."""
    model, m = inputs.model, inputs.modality("caption")
    one = np.ones(len(clips), np.int64)
    seen = inputs.tokens(_complete(inputs, modalities, clips, frame, prefix))
    asked = inputs.tokens(Packed(0 * one, len(prefix) * one, m * one, one))
    logits = model(seen, asked) @ own_table(model, m)[list(pieces)].T
    return logits.log_softmax(dim=1).cpu().double().numpy()


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
