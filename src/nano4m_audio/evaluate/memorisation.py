"""Memorisation: how much better the rest of a sequence is known of clips that were trained on.

The beginning of a sequence is the only input, and its rest is asked for in one pass: of training
clips, and of clips that the model never saw, as many of each class as far as there are. A model
that learns by heart knows the rest of the former better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from nano4m_audio.evaluate.baselines import CountModel, fit_counts
from nano4m_audio.evaluate.common import (
    ACCURACY,
    BATCH_SIZE,
    NATS,
    Measured,
    ProbeInputs,
    metric,
)
from nano4m_audio.evaluate.two_samples import difference
from nano4m_audio.intervals import Sample
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.objective import own_table, token_losses

#: Modality -> the share of its tokens that is given: of sounds the beginning, as in the paper's
#: 80-20 probe, of pictures a random half.
GIVEN = {"audio": 0.8, "rgb": 0.5}


@dataclass(frozen=True)
class Rest:
    """What is known of the rest of the sequences of each clip, float64 [clips]: its mean
    cross-entropy in nats, and how many of its ``asked`` targets have the true id as the most likely
    one; of the model and of the count model."""

    asked: int
    loss: np.ndarray
    hits: np.ndarray
    counted_loss: np.ndarray
    counted_hits: np.ndarray


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """Metrics ``<modality>_test``, ``_train``, ``_gap`` in nats and with ``_accuracy``, of the
    modalities of GIVEN that the run has.

    A gap above 0 is memorisation: cross-entropy of the evaluated clips minus that of training
    clips, and for accuracy the other way round. Baseline is a count model that was fitted to the
    same training clips, and knows these better, too. None without training clips.
    """
    if not len(inputs.train.clip_ids):
        return {"metrics": []}
    picked = pick_alike(inputs)
    given = {name: share for name, share in GIVEN.items() if name in inputs.names}
    metrics = [row for name in given for row in _rows(inputs, name, picked)]
    clips = {"evaluated": len(inputs.chosen.clip_ids), "train": len(picked)}
    return {"metrics": metrics, "compared": clips, "given": given}


def pick_alike(inputs: ProbeInputs) -> np.ndarray:
    """As many training clips as evaluated ones, of each class as many as far as there are: rows in
    ascending order, int64. They depend on the clips and the seed alone."""
    order = np.random.default_rng([inputs.seed, 41]).permutation(len(inputs.train.clip_ids))
    wanted = np.unique(np.asarray(inputs.chosen.classes), return_counts=True)
    left = dict(zip(wanted[0].tolist(), wanted[1].tolist(), strict=True))
    first: list[int] = []
    others: list[int] = []
    for row in order.tolist():
        name = inputs.train.classes[row]
        (first if left.get(name, 0) else others).append(row)
        left[name] = max(0, left.get(name, 0) - 1)
    number = len(inputs.chosen.clip_ids)
    return np.sort(np.array([*first, *others][:number], np.int64))


def _rows(inputs: ProbeInputs, name: str, picked: np.ndarray) -> list[dict[str, Any]]:
    """All metrics of one modality."""
    m = inputs.modality(name)
    counted = fit_counts(inputs.train.data, inputs.train_groups, m)
    everything = np.arange(len(inputs.data))
    groups = {"test": inputs.groups, "train": inputs.train_groups[picked]}
    rests = {
        "test": score_rest(inputs, inputs.data, everything, m, counted),
        "train": score_rest(inputs, inputs.train.data, picked, m, counted),
    }
    size = inputs.settings.model.modalities[m].vocab_size
    note = f"{_given_words(inputs, m)}; the rest in one pass"
    rows = []
    for suffix, base, unit, chance, fields in (
        ("", "unigram", NATS, uniform_nats(inputs, m), ("loss", "counted_loss")),
        ("_accuracy", "mode", ACCURACY, 1 / size, ("hits", "counted_hits")),
    ):
        samples = {
            side: [_sample(rest, field, groups[side]) for field in fields]
            for side, rest in rests.items()
        }
        for side, words in (("test", "evaluated"), ("train", "training")):
            label = f"{name}_{side}{suffix}"
            text = f"{note}; {len(groups[side]):,} {words} clips"
            here = replace(inputs, groups=groups[side])
            own, counts = samples[side]
            one = Measured(label, own.sums, own.counts, text)
            two = Measured(f"{label}_{base}", counts.sums, counts.counts, text)
            title = f"{_title(name, unit)} of {words} clips"
            both = [
                {"title": title, **metric(one, here, unit=unit, chance=chance, baseline=two)},
                metric(two, here, unit=unit, chance=chance),
            ]
            for row in both if side == "train" else ():
                del row["by_clip"]  # runs are compared over evaluated clips
            rows += both
        rows += _gaps(inputs, f"{name}{suffix}_gap", base, unit, samples)
    return rows


def uniform_nats(inputs: ProbeInputs, m: int) -> float:
    """The cross-entropy of a uniform guess over the ids that compete for a target."""
    own = inputs.settings.objective.per_modality_vocab
    sizes = inputs.settings.model.modalities[m].vocab_size, inputs.settings.model.vocab_size
    return math.log(sizes[0] if own else sizes[1])


def _title(name: str, unit: str) -> str:
    """The rest of what, in which measure."""
    measure = "cross-entropy" if unit == NATS else "accuracy"
    return f"Rest of the {MODALITIES[name].title.lower()}, {measure}"


def _sample(rest: Rest, field: str, groups: np.ndarray) -> Sample:
    """One field of all clips: hits count for each target, losses are means already."""
    each = rest.asked if "hits" in field else 1
    return Sample(getattr(rest, field), np.full(len(groups), each), groups)


def _gaps(
    inputs: ProbeInputs, name: str, base: str, unit: str, samples: dict[str, list[Sample]]
) -> list[dict[str, Any]]:
    """The gap of the model, and that of the count model."""
    order = ("test", "train") if unit == NATS else ("train", "test")
    own, other = ((samples[order[0]][i], samples[order[1]][i]) for i in (0, 1))
    words = {"test": "evaluated clips", "train": "training clips"}
    note = f"{words[order[0]]} minus {words[order[1]]}; above 0 is memorisation"
    label, title = f"{name}_{base}", f"{_title(name.partition('_')[0], unit)}: gap"
    own_gap = difference(name, own, inputs, unit=unit, note=note, baseline=(label, other))
    return [
        {"title": title, **own_gap},
        difference(label, other, inputs, unit=unit, note=f"{note}, by counts of training clips"),
    ]


def given_positions(inputs: ProbeInputs, m: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Which positions of ``rows`` sequences are given and which are asked for, both ascending:
    int64 [rows, given] and [rows, asked]. Row i has the same ones in every call."""
    modality = inputs.settings.model.modalities[m]
    share, stride = GIVEN[modality.name], modality.span_stride or 1
    width = modality.max_tokens
    first = min(max(1, int(share * width / stride + 1e-9)) * stride, width - stride)
    if modality.span_stride:
        order = np.tile(np.arange(width), (rows, 1))
    else:
        order = np.random.default_rng([inputs.seed, 43, m]).random((rows, width)).argsort(axis=1)
    return np.sort(order[:, :first], axis=1), np.sort(order[:, first:], axis=1)


def _given_words(inputs: ProbeInputs, m: int) -> str:
    given, asked = given_positions(inputs, m, 1)
    width = given.shape[1] + asked.shape[1]
    which = "the first" if inputs.settings.model.modalities[m].span_stride else "random"
    return f"{which} {given.shape[1]} of {width} tokens given"


@torch.inference_mode()
def score_rest(
    inputs: ProbeInputs, data: TokenData, clips: np.ndarray, m: int, counted: CountModel
) -> Rest:
    """The rest of the sequences of ``clips`` [n] of ``data`` in modality ``m``, from what is given
    of them alone; of pictures the mean over the keyframes."""
    array = data.arrays[m]
    frames = data.spread_keyframes(inputs.keyframes) if array.shape[1] > 1 else np.zeros(1, int)
    tokens = array[clips][:, frames].reshape(len(clips) * len(frames), -1).astype(np.int64)
    given, asked = given_positions(inputs, m, len(tokens))
    true = np.take_along_axis(tokens, asked, axis=1)
    table, parts = own_table(inputs.model, m), []
    for start in range(0, len(tokens), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        seen = _packed(np.take_along_axis(tokens[rows], given[rows], axis=1), given[rows], m)
        targets = inputs.tokens(_packed(true[rows], asked[rows], m))
        features = inputs.model(inputs.tokens(seen), targets)
        losses = token_losses(inputs.model, features, targets, inputs.settings.objective)[m]
        best = (features @ table.T).argmax(dim=1)
        parts.append(np.stack([losses.cpu().double().numpy(), best.cpu().numpy()]))
    loss, best = np.concatenate(parts, axis=1)
    likeliest = counted.losses.argmin(axis=1)

    def by_clip(values: np.ndarray) -> np.ndarray:
        return np.asarray(values, float).reshape(len(clips), -1).sum(axis=1)

    each = true.size // len(clips)
    return Rest(
        each,
        by_clip(loss) / each,
        by_clip(best == true.ravel()),
        by_clip(counted.losses[asked, true]) / each,
        by_clip(likeliest[asked] == true),
    )


def _packed(tokens: np.ndarray, positions: np.ndarray, m: int) -> Packed:
    """Sequences of one modality, int64 [rows, n] each."""
    rows, n = tokens.shape
    flat = tokens.ravel(), positions.ravel()
    return Packed(*flat, np.full(rows * n, m), np.full(rows, n))
