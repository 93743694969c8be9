"""Judges of sounds and pictures: who names them, what is a hit, and beside what it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import comb
from typing import Any

import numpy as np

from nano4m_audio.backends.resnet import hits
from nano4m_audio.curate.score import class_cosines, tagger_columns
from nano4m_audio.evaluate.common import ACCURACY, Measured, ProbeInputs, metric
from nano4m_audio.media import windows

#: How many classes may be named until one is the right one.
AMONG_OURS, AMONG_IMAGENET = (1, 3), (1, 5)
#: The source of what is decoded from the clips' own tokens.
REAL = "real"
#: k -> whether each class is among the first k that were named, bool [things, classes].
Hits = Mapping[int, np.ndarray]


@dataclass(frozen=True)
class Words:
    """What the judges call a class: labels of AudioSet, texts that a picture of it resembles or is
    mistaken for, numbers of ImageNet."""

    audioset: Sequence[str] = ()
    prompts: Sequence[str] = ()
    negatives: Sequence[str] = ()
    imagenet: Sequence[int] = ()

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> Words:
        """From what the config says of a class; the rest of it is nothing to judges."""
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in details.items() if key in known})


@dataclass(frozen=True)
class Cast:
    """The evaluated clips, int64 [n] places in ``inputs.chosen``, with the numbers [n] of their
    classes among ``classes``, in order."""

    inputs: ProbeInputs
    clips: np.ndarray
    classes: Mapping[str, Words]
    true: np.ndarray

    @property
    def groups(self) -> np.ndarray:
        """The group of each clip, int64 [n]."""
        return self.inputs.groups[self.clips]


@dataclass(frozen=True)
class Judge:
    """Who names things. ``ids`` int64 [C]: the numbers of the classes that it knows; ``chance`` by
    k: how often k blind guesses hit each of them, float64 [C]; ``how``: what counts as a hit."""

    name: str
    ids: np.ndarray
    chance: Mapping[int, np.ndarray]
    how: str
    name_things: Callable[[np.ndarray], Hits]


def tagger(cast: Cast, rate_hz: int) -> Judge | None:
    """The tagger that filters clips, as a judge of sounds [n, samples] at ``rate_hz``."""
    models = cast.inputs.models
    if "score.audio" not in models:
        return None
    model = models.load("score.audio")
    columns = tagger_columns(dict[str, Any](cast.classes), model.labels)

    def name_things(sounds: np.ndarray) -> Hits:
        scores = model.tag(at_rate(sounds, rate_hz, model.sample_rate_hz))
        return _first(np.stack([scores[:, own].max(1) for own in columns.values()], axis=1))

    return _of_ours(cast, "tag", columns, "the tagger's scores", name_things)


def scorer(cast: Cast) -> Judge | None:
    """The scorer that filters clips, as a judge of pictures uint8 [n, H, W, 3]."""
    models = cast.inputs.models
    if "score.visual" not in models:
        return None
    model = models.load("score.visual")
    known: dict[str, Any] = {
        name: entry
        for name, entry in cast.classes.items()
        if entry.prompts and (model.classes is None or name in model.classes)
    }
    texts = [text for entry in known.values() for text in (*entry.prompts, *entry.negatives)]

    def name_things(pictures: np.ndarray) -> Hits:
        of_texts = model.embed_images(pictures) @ model.embed_texts(texts).T
        return _first(class_cosines(of_texts, known.values()))

    return _of_ours(cast, "prompt", known, "likeness with its prompts", name_things)


def _of_ours(
    cast: Cast,
    name: str,
    known: Mapping[str, Any],
    by: str,
    name_things: Callable[[np.ndarray], Hits],
) -> Judge | None:
    """A judge that chooses among the classes that it knows; None if it knows none."""
    ids = _numbers(cast, known)
    chance = {k: np.full(len(ids), min(1.0, k / max(1, len(ids)))) for k in AMONG_OURS}
    return (
        Judge(name, ids, chance, f"of {len(ids)} classes by {by}", name_things) if known else None
    )


def _numbers(cast: Cast, names: Mapping[str, Any]) -> np.ndarray:
    return np.array([list(cast.classes).index(name) for name in names], np.int64)


def _first(scores: np.ndarray) -> Hits:
    ranks = class_ranks(scores)
    return {k: ranks <= k for k in AMONG_OURS}


def class_ranks(scores: np.ndarray) -> np.ndarray:
    """The 1-based rank of every class by scores [n, C]. Ties count against: who gives all classes
    the same score names none."""
    return (scores[:, None, :] >= scores[:, :, None]).sum(axis=2)


def classifier(cast: Cast) -> Judge | None:
    """A classifier of ImageNet as a judge of pictures uint8 [n, H, W, 3]: a hit is any of the
    ImageNet classes that mean the class."""
    models = cast.inputs.models
    known = {name: c.imagenet for name, c in cast.classes.items() if c.imagenet}
    if "evaluate.image_classifier" not in models or not known:
        return None
    model = models.load("evaluate.image_classifier")

    def name_things(pictures: np.ndarray) -> Hits:
        shares = model.classify(pictures)
        return {
            k: np.stack(
                [hits(shares, [own] * len(shares), k) > 0 for own in known.values()], axis=1
            )
            for k in AMONG_IMAGENET
        }

    sizes = [len(set(own)) for own in known.values()]
    chance = {k: blind(sizes, model.n_classes, k) for k in AMONG_IMAGENET}
    how = f"of {model.n_classes:,} ImageNet classes, one that means the class"
    return Judge("imagenet", _numbers(cast, known), chance, how, name_things)


def blind(own: Sequence[int], of: int, k: int) -> np.ndarray:
    """How often ``k`` different guesses out of ``of`` hit one of so many own ones, float64."""
    return np.array([1 - comb(of - n, k) / comb(of, k) for n in own])


def at_rate(sounds: np.ndarray, rate_hz: int, wanted_hz: int) -> np.ndarray:
    """Sounds [n, samples] as whole windows at another rate, filled up with silence."""
    resampled = windows.resample(sounds, wanted_hz, rate_hz)
    return windows.fit_length(resampled, windows.window_samples(wanted_hz))


def agreement(
    cast: Cast, judge: Judge, target: str, named: Mapping[str, Hits], how: str
) -> list[dict[str, Any]]:
    """For every k how often things are named as their clip's class: made ones by source, with real
    ones of other classes as baseline, then the clips' own ones and that baseline by themselves.

    ``ceiling`` and ``floor`` of a row are the last two. Clips of classes that the judge does not
    know take no part.
    """
    real = named[REAL]
    place = {c: i for i, c in enumerate(judge.ids.tolist())}
    part = np.flatnonzero(np.isin(cast.true, judge.ids))
    own = np.array([place[c] for c in cast.true[part].tolist()], np.int64)
    rows: list[dict[str, Any]] = []
    for k, chances in judge.chance.items() if len(part) else ():
        rate, end = float(chances[own].mean()), f"{judge.name}_top{k}"
        rule = f"a hit is the clip's class among the first {k} {judge.how}"
        ceiling = _measured(
            cast, part, f"real_{target}_{end}", real[k][part, own], f"own tokens, decoded; {rule}"
        )
        rows_of_others = others(real[k][part], own)
        floor = None if rows_of_others is None else _measured(
            cast, part, f"other_{target}_{end}", rows_of_others,
            "own tokens of clips of other classes, decoded: how often they pass for this one",
        )  # fmt: skip
        for source in (s for s in named if s != REAL):
            name, note = f"{source}_to_{target}_{end}", f"from {source} alone, {how}; {rule}"
            mine = _measured(cast, part, name, named[source][k][part, own], note)
            row = metric(mine, cast.inputs, unit=ACCURACY, chance=rate, baseline=floor)
            rows.append({**row, "ceiling": ceiling.value, "floor": floor and floor.value})
        beside = [ceiling, *([floor] if floor else [])]
        rows += [metric(each, cast.inputs, unit=ACCURACY, chance=rate) for each in beside]
    return rows


def others(real: np.ndarray, own: np.ndarray) -> np.ndarray | None:
    """How often things of other classes are named as each clip's class, float64 [n]; None with one
    class alone. ``real`` bool [n, C] are hits, ``own`` int64 [n] the columns of the clips."""
    if len(np.unique(own)) < 2:
        return None
    return np.array([real[own != c, c].mean() for c in own])


def _measured(cast: Cast, part: np.ndarray, name: str, values: np.ndarray, note: str) -> Measured:
    """One value for each clip that takes part."""
    clips = cast.clips[part]
    sums, counts = np.zeros(len(cast.inputs.chosen)), np.zeros(len(cast.inputs.chosen), np.int64)
    sums[clips], counts[clips] = values, 1
    return Measured(name, sums, counts, note)


def count_by_class(
    cast: Cast,
    judge: Judge,
    target: str,
    named: Mapping[str, Hits],
    per_class: list[dict[str, Any]],
) -> None:
    """Add to the row of each class how many things of it are named right at once."""
    for place, c in enumerate(judge.ids.tolist()):
        for source, each in named.items():
            name = f"real_{target}" if source == REAL else f"{source}_to_{target}"
            per_class[c][f"{name}_{judge.name}_top1"] = int(each[1][cast.true == c, place].sum())
