"""What each modality says of each other: about the class, and about the clip itself.

The same targets of every clip are asked for without any source, given the complete source, given
that of another clip of the class, and given that of a clip of another class. Each difference is
paired by clip: without - own is the gain; other class - same class is what the source says of the
class; same class - own is what it says of the clip beyond its class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nano4m_audio.evaluate.baselines import run_unigrams
from nano4m_audio.evaluate.common import NATS, Measured, ProbeInputs, metric
from nano4m_audio.evaluate.fixed_targets import FixedTargets, Shown, difference, mean
from nano4m_audio.intervals import holm

#: The directions that are told first, and as curves over how much of the source is shown.
MAIN = (
    *(("audio", "caption"), ("rgb", "caption"), ("rgb", "audio"), ("audio", "rgb")),
    *(("semantic", "caption"), ("rgb", "semantic"), ("semantic", "audio")),
)
#: All other modalities together as a source.
ALL = "all"
SHARES = (0.25, 0.5, 0.75)
OWN, SAME, OTHER, NONE, COUNTS = "own", "same_class", "other_class", "none", "counts"
#: Each kind of information: a cross-entropy, and the lower one that the source brings it to.
#: ``beyond_counts`` is a gain that needs no model without input, and ``class_beyond_counts`` what
#: any source of the class tells.
KINDS = {
    "gain": (NONE, OWN),
    "beyond_counts": (COUNTS, OWN),
    "class": (OTHER, SAME),
    "class_beyond_counts": (COUNTS, SAME),
    "instance": (SAME, OWN),
}

#: Cross-entropies of every clip by condition, float64 [n, codebooks], NaN where not asked for.
Losses = dict[str, np.ndarray]


@dataclass(frozen=True)
class Direction:
    """From a source, one modality or several, to a target modality."""

    source: str
    target: str
    shown: tuple[int, ...]
    m: int


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """``directions``: for every source and target the cross-entropies and the three kinds of
    information, with intervals, p, and p corrected over all directions (Holm); sound also by
    codebook. ``curves``: cross-entropy over how much of the source is shown. Metrics
    ``<source>_to_<target>`` and ``..._class_information`` of the main directions.

    A clip whose class has no other group takes no part in what is said of class and instance; how
    many there are is in ``no_partner``.
    """
    fixed = FixedTargets(inputs)
    own = np.arange(len(inputs.data))
    same, other = partners(inputs.chosen.classes, inputs.groups, fixed.numbers)
    sources = {OWN: own, SAME: same, OTHER: other}
    wanted = directions([modality.name for modality in inputs.data.modalities])
    found = _losses(fixed, wanted, sources)
    without = _without(fixed)
    for direction, losses in found.items():
        losses.update(without[direction.m])
    rows = [_row(inputs, direction, losses) for direction, losses in found.items()]
    _correct(rows)
    main = [direction for direction in wanted if (direction.source, direction.target) in MAIN]
    lonely = sorted({c for c, s in zip(inputs.chosen.classes, same, strict=True) if s < 0})
    return {
        "metrics": _metrics(inputs, found),
        "directions": rows,
        "curves": [_curve(fixed, direction, found[direction]) for direction in main],
        "no_partner": {"clips": int((same < 0).sum()), "classes": lonely},
        "always_shown": fixed.begun,
    }


def directions(names: Sequence[str]) -> list[Direction]:
    """Every ordered pair of modalities, and all others to each: the main ones first."""
    every = range(len(names))
    found = [
        Direction(names[s], names[t], (s,), t) for t in reversed(every) for s in every if s != t
    ]
    if len(names) > 2:
        found += [Direction(ALL, names[t], tuple(s for s in every if s != t), t) for t in every]
    order = {pair: i for i, pair in enumerate(MAIN)}
    return sorted(found, key=lambda d: order.get((d.source, d.target), len(order)))


def partners(
    classes: Sequence[str], groups: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For every clip another one of its class, and one of another class, neither of its group:
    two int64 [n], -1 where there is none.

    The next such clip in a random circle, so that a clip stands in for few others.
    """
    labels = np.unique(np.array(classes), return_inverse=True)[1]
    circle = np.argsort(numbers, kind="stable")
    same, other = np.full(len(labels), -1), np.full(len(labels), -1)
    for label in np.unique(labels):
        members = circle[labels[circle] == label]
        for place, clip in enumerate(members):
            same[clip] = _next(members, place, groups[members] != groups[clip])
    for place, clip in enumerate(circle):
        fits = (labels[circle] != labels[clip]) & (groups[circle] != groups[clip])
        other[clip] = _next(circle, place, fits)
    return same, other


def _next(circle: np.ndarray, place: int, fits: np.ndarray) -> int:
    """The first clip after ``place`` in the circle that fits; -1: none."""
    found = np.flatnonzero(np.roll(fits, -place - 1))
    return int(circle[(place + 1 + found[0]) % len(circle)]) if len(found) else -1


def _losses(
    fixed: FixedTargets, wanted: Sequence[Direction], sources: Mapping[str, np.ndarray]
) -> dict[Direction, Losses]:
    """What every direction costs; a source is encoded once for all its targets."""
    by_source: dict[tuple[int, ...], list[Direction]] = {}
    for direction in wanted:
        by_source.setdefault(direction.shown, []).append(direction)
    found: dict[Direction, Losses] = {direction: {} for direction in wanted}
    for shown, some in by_source.items():
        losses = fixed.losses(Shown(shown), sources, [direction.m for direction in some])
        for direction in some:
            found[direction] = {name: losses[direction.m, name] for name in sources}
    return found


def _without(fixed: FixedTargets) -> list[Losses]:
    """What the targets of every modality cost without a source, and by the counts of the training
    clips. Without a source NaN where nothing is always there: a model needs some input."""
    every = range(len(fixed.data.modalities))
    clips = np.arange(len(fixed.data))
    own = clips if fixed.begun else np.full(len(clips), -1)
    losses = fixed.losses(Shown(), {NONE: own}, every)
    counted = [fixed.counted(m, run_unigrams(fixed.inputs, m)["unigram"]) for m in every]
    return [{NONE: losses[m, NONE], COUNTS: counted[m]} for m in every]


def _row(inputs: ProbeInputs, direction: Direction, losses: Losses) -> dict[str, Any]:
    row = {
        "source": direction.source,
        "target": direction.target,
        **_information(inputs, {name: x.mean(axis=1) for name, x in losses.items()}),
    }
    books = losses[OWN].shape[1]
    if books > 1:
        row["codebooks"] = [
            _information(inputs, {name: x[:, book] for name, x in losses.items()})
            for book in range(books)
        ]
    return row


def _information(inputs: ProbeInputs, losses: Losses) -> dict[str, Any]:
    """Mean cross-entropies, and what each kind of information is worth; ``losses`` are [n]."""
    means = {name: mean(values) for name, values in losses.items()}
    kinds = {
        kind: difference(losses[more] - losses[less], inputs)
        for kind, (more, less) in KINDS.items()
    }
    return {"cross_entropy": means, **kinds}


def _correct(rows: Sequence[dict[str, Any]]) -> None:
    """Add ``p_holm``: p corrected for asking in every direction, for each kind by itself."""
    for kind in KINDS:
        tested = [row[kind] for row in rows if row[kind]["p"] is not None]
        for cell, p in zip(tested, holm([cell["p"] for cell in tested]), strict=True):
            cell["p_holm"] = p
        for row in rows:
            row[kind].setdefault("p_holm", None)


def _metrics(inputs: ProbeInputs, found: Mapping[Direction, Losses]) -> list[dict[str, Any]]:
    """The main directions beside the same targets without a source, or counted where that is
    lower; what they say of the class; then these baselines."""
    out, baselines = [], {}
    for direction, by_book in found.items():
        if (direction.source, direction.target) not in MAIN:
            continue
        losses = {name: x.mean(axis=1) for name, x in by_book.items()}
        name, source = f"{direction.source}_to_{direction.target}", direction.source
        own = _measured(name, losses[OWN], f"the complete {source} of the clip is the input")
        told = _measured(
            f"{name}_class_information", losses[OTHER] - losses[SAME], f"{source} {_CLASS_NOTE}"
        )
        if own.counts.any():
            best = _strongest(direction.target, losses)
            out.append(metric(own, inputs, unit=NATS, chance=None, baseline=best))
            baselines[best.name] = metric(best, inputs, unit=NATS, chance=None)
        if told.counts.any():
            out.append(metric(told, inputs, unit=NATS, chance=0.0))
    return [*out, *baselines.values()]


_CLASS_NOTE = (
    "of a clip of another class, minus that of another clip of the class (never of the same "
    "group): 0 where it says nothing of the class"
)


def _strongest(target: str, losses: Losses) -> Measured:
    """The baseline with the lowest cross-entropy."""
    alone = _measured(f"{target}_alone", losses[NONE], "the same targets without a source")
    note = "token frequencies in the training clips, the same targets"
    counted = _measured(f"{target}_unigram", losses[COUNTS], note)
    return min((x for x in (alone, counted) if x.counts.any()), key=lambda x: x.value)


def _measured(name: str, values: np.ndarray, note: str) -> Measured:
    counts = np.isfinite(values).astype(np.int64)
    return Measured(name, np.where(counts > 0, values, 0.0), counts, note)


def _curve(fixed: FixedTargets, direction: Direction, losses: Losses) -> dict[str, Any]:
    """Cross-entropy with none, a part or all of the source shown: clips that have all of these."""
    own, m = {OWN: np.arange(len(fixed.data))}, direction.m
    parts = [fixed.losses(Shown(direction.shown, s), own, [m])[m, OWN] for s in SHARES]
    points = [x.mean(axis=1) for x in (losses[NONE], *parts, losses[OWN])]
    shares = (0.0, *SHARES, 1.0)
    kept = [(s, x) for s, x in zip(shares, points, strict=True) if np.isfinite(x).any()]
    inputs = fixed.inputs
    cells = [difference(x, inputs) for _, x in kept]
    return {
        "source": direction.source,
        "target": direction.target,
        "counts": mean(losses[COUNTS].mean(axis=1)),
        "shown": [share for share, _ in kept],
        **{key: [cell[key] for cell in cells] for key in ("value", "low", "high", "n")},
    }
