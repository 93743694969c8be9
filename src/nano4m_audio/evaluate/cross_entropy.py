"""Cross-entropy per modality under the run's last masking, beside counts of the training clips."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nano4m_audio.evaluate.baselines import CountModel, run_unigrams
from nano4m_audio.evaluate.common import BATCH_SIZE, NATS, Measured, ProbeInputs, metric
from nano4m_audio.evaluate.contexts import (
    ContextModel,
    class_context,
    class_of,
    fit_contexts,
    shifted,
    token_before,
)
from nano4m_audio.evaluate.masks import Asked, draw_masks
from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.objective import token_losses
from nano4m_audio.nano4m.settings import Modality

#: How many masks ask each clip for each modality; more masks, less noise from them.
MASKS = 4
MODEL = "model"
#: Count models that know no more than the model does, and those that are told more.
FAIR, TOLD = ("unigram", "per_codebook", "pooled", "bigram"), ("class", "previous", "frame")


@dataclass(frozen=True)
class Counted:
    """The count models of a modality. ``bigram`` knows the token before of the same codebook,
    ``frame`` those before within its frame, where codebooks are interleaved, ``told`` the class."""

    unigrams: dict[str, CountModel]
    bigram: ContextModel
    told: ContextModel
    frame: ContextModel | None


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """Metrics ``<modality>`` and that of its strongest baseline, such as ``<modality>_unigram``;
    ``baselines``: all of them by modality and codebook.

    Every clip is asked for every modality under ``MASKS`` fixed masks; its value is the mean over
    their targets, and the metric the mean over clips. All baselines are counts of the training
    clips, asked for exactly the same targets.
    """
    modalities = inputs.settings.model.modalities
    names = sorted(set(inputs.train.classes))
    classes = class_of(inputs.chosen.classes, names)
    counted = [_counted(inputs, m, names) for m in range(len(modalities))]
    sums = [_Sums(len(inputs.data), modality.span_stride or 1) for modality in modalities]
    for asked in draw_masks(inputs.data, inputs.settings.masking, inputs.seed, MASKS, BATCH_SIZE):
        losses = _losses(inputs, asked)
        samples = np.repeat(np.arange(len(asked.clips)), asked.targets.lengths)
        for m, models in enumerate(counted):
            of_m = asked.targets.modalities == m
            used = asked.used[samples[of_m], m]
            places = np.flatnonzero(of_m)[used]
            clips = asked.clips[samples[places]]
            others = _count_losses(models, modalities[m], m, asked, places, classes[clips])
            sums[m].add(clips, asked.targets.positions[places], {MODEL: losses[m][used], **others})
    metrics: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for m, models in enumerate(counted):
        if sums[m].counts.any():
            metrics += _metrics(inputs, m, models, sums[m])
            rows += _table(inputs, m, sums[m])
    targets = {row.name: int(s.counts.sum()) for row, s in zip(modalities, sums, strict=True)}
    return {"metrics": metrics, "baselines": rows, "targets": targets, "masks": MASKS}


class _Sums:
    """Sums of losses by what predicts, and numbers of targets, both [n, codebooks]."""

    def __init__(self, clips: int, books: int) -> None:
        self.shape, self.losses = (clips, books), dict[str, np.ndarray]()
        self.counts = np.zeros(self.shape, np.int64)

    def add(self, clips: np.ndarray, positions: np.ndarray, losses: Mapping[str, Any]) -> None:
        where = clips, positions % self.shape[1]
        np.add.at(self.counts, where, 1)
        for name, values in losses.items():
            np.add.at(self.losses.setdefault(name, np.zeros(self.shape)), where, values)

    def means(self, book: int | None = None) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Every clip's mean loss, 0 where it was not asked, and whether it was, int64 [n]."""
        chosen = slice(None) if book is None else slice(book, book + 1)
        counts = self.counts[:, chosen].sum(axis=1)
        each = np.maximum(counts, 1)
        means = {name: x[:, chosen].sum(axis=1) / each for name, x in self.losses.items()}
        return means, (counts > 0).astype(np.int64)


def _counted(inputs: ProbeInputs, m: int, names: list[str]) -> Counted:
    """Fit all count models of a modality to the training clips."""
    data, stride = inputs.train.data, inputs.settings.model.modalities[m].span_stride or 1
    unigrams = run_unigrams(inputs, m)
    padded = inputs.settings.masking.padded_captions
    known = data, inputs.train_groups, m, unigrams["unigram"]
    classes = class_context(class_of(inputs.train.classes, names))
    every = sorted({stride, data.modalities[m].max_tokens})
    return Counted(
        unigrams,
        fit_contexts(*known, token_before(stride), [stride], padded),
        fit_contexts(*known, classes, every, padded),
        fit_contexts(*known, token_before(1, stride), [stride]) if stride > 1 else None,
    )


def _count_losses(
    models: Counted, modality: Modality, m: int, asked: Asked, places: np.ndarray, classes: Any
) -> dict[str, np.ndarray]:
    """What each count model loses on the targets at ``places``; ``classes`` int64 [n] of each."""
    ids, positions = asked.targets.tokens[places], asked.targets.positions[places]
    samples = np.repeat(np.arange(len(asked.clips)), asked.targets.lengths)[places]
    stride = modality.span_stride or 1
    seen = np.full((len(asked.clips), modality.max_tokens), -1, np.int64)
    _fill(seen, asked.inputs, m)
    inputs_only = shifted(seen, stride)[samples, positions]
    _fill(seen, asked.targets, m)
    out = {name: model.of(positions, ids) for name, model in models.unigrams.items()}
    out["bigram"] = models.bigram.of(positions, inputs_only, ids)
    out["class"] = models.told.of(positions, classes, ids)
    out["previous"] = models.bigram.of(positions, shifted(seen, stride)[samples, positions], ids)
    if models.frame:
        before = shifted(seen, 1, stride)[samples, positions]
        out["frame"] = models.frame.of(positions, before, ids)
    return out


def _fill(table: np.ndarray, packed: Packed, m: int) -> None:
    """Write the ids of modality ``m`` to their places, [batch, max_tokens]."""
    samples = np.repeat(np.arange(len(packed.lengths)), packed.lengths)
    of_m = packed.modalities == m
    table[samples[of_m], packed.positions[of_m]] = packed.tokens[of_m]


def _metrics(inputs: ProbeInputs, m: int, models: Counted, sums: _Sums) -> list[dict[str, Any]]:
    """The metric of a modality, and its strongest baseline of those that know no more than it."""
    modality, chance = inputs.settings.model.modalities[m], math.log(_ids(inputs, m))
    means, asked = sums.means()
    known = [name for name in FAIR if name in means]
    # Which of those that differ by less than anybody reports is chance: then the simplest.
    best = min(known, key=lambda name: round(means[name].sum() / asked.sum(), 3))
    note = f"{_words(best, modality, models)}; on the same targets"
    baseline = Measured(f"{modality.name}_{best}", means[best], asked, note)
    note = (
        f"{sums.counts.sum():,} targets under {MASKS} masks a clip; chance is log "
        f"{_ids(inputs, m):,}; the baseline is the lowest of {len(known)}"
    )
    measured = Measured(modality.name, means[MODEL], asked, note)
    return [
        metric(measured, inputs, unit=NATS, chance=chance, baseline=baseline),
        metric(baseline, inputs, unit=NATS, chance=chance),
    ]


def _ids(inputs: ProbeInputs, m: int) -> int:
    """How many ids compete for a target."""
    model = inputs.settings.model
    per_modality = inputs.settings.objective.per_modality_vocab
    return model.modalities[m].vocab_size if per_modality else model.vocab_size


def _table(inputs: ProbeInputs, m: int, sums: _Sums) -> list[dict[str, Any]]:
    """Model and all baselines, the means over clips: of the modality, then of each codebook."""
    name, books = inputs.settings.model.modalities[m].name, sums.shape[1]
    rows: list[dict[str, Any]] = []
    for book in (None, *(range(books) if books > 1 else ())):
        means, asked = sums.means(book)
        if asked.any():
            values = {key: float(x.sum() / asked.sum()) for key, x in means.items()}
            codebook = None if book is None else book + 1
            head = {"target": name, "codebook": codebook, "n": int(asked.sum())}
            rows.append({**head, "uniform": math.log(_ids(inputs, m)), **values})
    return rows


def _words(name: str, modality: Modality, models: Counted) -> str:
    """What a baseline knows."""
    if name == "bigram":
        own = " of the same codebook" if modality.span_stride else ""
        return (
            f"frequencies in the training clips after the token before{own}, where it is an input"
        )
    if name == "pooled":
        return "token frequencies in the training clips"
    if name == "per_codebook":
        return "token frequencies of the codebook in the training clips"
    note = "token frequencies of the position in the training clips"
    if (period := models.unigrams[name].smoothing.period) > 1:
        note += f", smoothed by every {period}{'nd' if period == 2 else 'th'} position"
        note += " (its codebook)" if period == modality.span_stride else ""
    return note


@torch.inference_mode()
def _losses(inputs: ProbeInputs, asked: Asked) -> list[np.ndarray]:
    """Cross-entropy of every target, one float64 vector per modality, in packed order."""
    targets = inputs.tokens(asked.targets)
    features = inputs.model(inputs.tokens(asked.inputs), targets)
    losses = token_losses(inputs.model, features, targets, inputs.settings.objective)
    return [loss.cpu().double().numpy() for loss in losses]
