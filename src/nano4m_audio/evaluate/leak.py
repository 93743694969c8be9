"""What leaks are worth: evaluated clips that have a near copy among the training clips, against the
others.

The split measured of each clip its nearest training clip, and how alike the two are in picture and
in sound. A clip is leaked where both are of one video or copies of each other (a split by clips
lets that happen), or where they are more alike, in picture and sound at once, than is usual for
clips of different videos: beyond the outer fence of Tukey (the third quartile and three times the
quartiles' distance, of Fisher's z, in which likeness near 1 has room), and where many copies would
make copies usual, beyond 0.99.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from nano4m_audio.evaluate.baselines import fit_counts
from nano4m_audio.evaluate.beside import nearest_train
from nano4m_audio.evaluate.classes import class_captions, rank_of, score_source
from nano4m_audio.evaluate.common import ACCURACY, NATS, Measured, ProbeInputs, metric
from nano4m_audio.evaluate.memorisation import GIVEN, score_rest, uniform_nats
from nano4m_audio.evaluate.two_samples import difference, split_sample
from nano4m_audio.intervals import Sample

#: Metric -> its title in the report.
TITLES = MappingProxyType(
    {
        "class": "Class from audio",
        "audio_rest": "Rest of the sound",
        "rgb_rest": "Rest of the picture",
    }
)
#: So alike in picture and sound are copies only.
COPY = 0.99
#: Fisher's z of 1 is infinite.
_MOST_ALIKE = 1 - 1e-9


@dataclass(frozen=True)
class Leaks:
    """Whether each clip is leaked, bool [n]; ``fence`` is the likeness that is still usual (None
    where nothing was measured), ``measured`` the number of clips with a nearest training clip."""

    leaked: np.ndarray
    fence: float | None
    measured: int

    @property
    def words(self) -> str:
        """How many are leaked, in words."""
        if not self.measured:
            return "no leak was looked for: the split names no nearest training clips"
        of = f"of {self.measured:,} clips"
        usual = f", or likeness above {self.fence:.3f}" if self.fence is not None else ""
        what = f"same video as a training clip, copy of one{usual}"
        if not self.leaked.any():
            return f"no leaked clips: none {of} ({what})"
        return f"leaked are {self.leaked.sum():,} {of} ({what})"


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """Metrics ``class``, ``audio_rest`` and ``rgb_rest`` of all clips, as far as the run has the
    modalities; where there are leaked clips also ``.._without`` them and ``.._effect``: by how much
    leaked clips do better than others. None without training clips."""
    if not len(inputs.train.clip_ids):
        return {"metrics": []}
    nearest = nearest_train(inputs.models.results, inputs.chosen.clip_ids)
    leaks = find_leaks(nearest)
    rows: list[dict[str, Any]] = []
    known = [_class(inputs)] if {"audio", "caption"}.issubset(inputs.names) else []
    known += [_rest(inputs, name) for name in GIVEN if name in inputs.names]
    for own, other, unit, chance in known:
        rows += _rows(inputs, leaks, own, other, unit, chance)
    clips = zip(inputs.chosen.clip_ids, nearest, leaks.leaked.tolist(), strict=True)
    return {
        "metrics": rows,
        "found": leaks.words,
        "leaked": [{"clip_id": clip, **facts} for clip, facts, leaked in clips if leaked],
    }


def find_leaks(nearest: Sequence[Mapping[str, Any]]) -> Leaks:
    """Which clips are leaked, from what ``nearest_train`` says of each."""
    alike = np.array([_likeness(facts) for facts in nearest], float)
    same = np.array([bool(facts["same_group"]) for facts in nearest], bool)
    known = np.isfinite(alike)
    measured = int((known | same).sum())
    if not (usual := known & ~same).any():
        return Leaks(same, None, measured)
    z = np.arctanh(alike.clip(-_MOST_ALIKE, _MOST_ALIKE))
    low, high = np.quantile(z[usual], [0.25, 0.75])
    fence = min(high + 3 * (high - low), np.arctanh(COPY))
    return Leaks(same | (known & (z > fence)), float(np.tanh(fence)), measured)


def _likeness(facts: Mapping[str, Any]) -> float:
    """A copy is alike in both picture and sound: the smaller of the two, NaN if not measured."""
    values = facts["picture"], facts["sound"]
    return float("nan") if None in values else float(min(values))


#: A metric, its baseline, unit and chance level.
_Known = tuple[Measured, Measured, str, float]


def _class(inputs: ProbeInputs) -> _Known:
    """Whether the class is named from the sound, as in the probe of classes."""
    captions = class_captions(inputs)
    true = np.array([captions.names.index(name) for name in inputs.chosen.classes])
    ranks = rank_of(score_source(inputs, ("audio",), captions.ids), true)
    prior = np.array([[inputs.train.classes.count(name) for name in captions.names]], float)
    guess = rank_of(np.repeat(prior, len(true), axis=0), true)
    ones = np.ones(len(true), np.int64)
    note = "class from the sound, first guess"
    own = Measured("class", (ranks == 1).astype(np.int64), ones, note)
    other = Measured("frequency", (guess == 1).astype(np.int64), ones, "the most frequent class")
    return own, other, ACCURACY, 1 / len(captions.names)


def _rest(inputs: ProbeInputs, name: str) -> _Known:
    """Cross-entropy of the rest of the sequences, as in the probe of memorisation."""
    m = inputs.modality(name)
    counted = fit_counts(inputs.train.data, inputs.train_groups, m)
    found = score_rest(inputs, inputs.data, np.arange(len(inputs.data)), m, counted)
    ones = np.ones(len(found.loss), np.int64)
    note = f"{GIVEN[name]:.0%} of the tokens given, the rest asked for"
    own = Measured(f"{name}_rest", found.loss, ones, note)
    other = Measured(f"{name}_rest_unigram", found.counted_loss, ones, "counts of training clips")
    return own, other, NATS, uniform_nats(inputs, m)


def _rows(
    inputs: ProbeInputs, leaks: Leaks, own: Measured, other: Measured, unit: str, chance: float
) -> list[dict[str, Any]]:
    """One metric of all clips, without the leaked ones, and the effect of these."""
    whole = Measured(own.name, own.sums, own.counts, f"{own.note}; {leaks.words}")
    title = TITLES.get(own.name, own.name)
    rows = [
        {"title": title, **metric(whole, inputs, unit=unit, chance=chance, baseline=other)},
        metric(other, inputs, unit=unit, chance=chance),
    ]
    if not leaks.leaked.any() or leaks.leaked.all():
        return rows
    kept = ~leaks.leaked
    rest = Measured(f"{own.name}_without", own.sums * kept, own.counts * kept, "without leaked")
    sign = 1 if unit == ACCURACY else -1
    pair = split_sample(Sample(sign * own.sums, own.counts, inputs.groups), leaks.leaked)
    note = "by how much leaked clips do better than the others; above 0, leaks flatter the model"
    effect = difference(f"{own.name}_effect", pair, inputs, unit=unit, note=note)
    return [
        *rows,
        {
            "title": f"{title}, without leaked clips",
            **metric(rest, inputs, unit=unit, chance=chance),
        },
        {"title": f"{title}, effect of leaks", **effect},
    ]
