"""A metric that is the difference of two samples of clips, such as training and other clips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nano4m_audio.evaluate.common import ProbeInputs, verdict
from nano4m_audio.intervals import Sample, count_groups, difference_interval, difference_p

#: What is subtracted from what; every clip of both samples counts.
Pair = tuple[Sample, Sample]


def difference(
    name: str,
    pair: Pair,
    inputs: ProbeInputs,
    *,
    unit: str,
    note: str,
    baseline: tuple[str, Pair] | None = None,
) -> dict[str, Any]:
    """A metric in the form of common.metric: the mean of the first sample minus that of the second.

    Its chance level is 0, two samples alike. ``p`` is that of a permutation of groups. With a
    baseline, ``gain`` is by how much the difference is smaller than that of the baseline on the
    same clips.
    """
    low, high = _interval(pair, inputs)
    row = {
        "name": name,
        "value": pair[0].mean - pair[1].mean,
        "n": sum(int((s.counts > 0).sum()) for s in pair),
        "groups": sum(count_groups(s.counts, s.groups) for s in pair),
        "low": low,
        "high": high,
        "p": difference_p(*pair, inputs.seed),
        "chance": 0.0,
        "unit": unit,
        "note": note,
    }
    if baseline is None:
        return row
    return {**row, "baseline": _compared(pair, *baseline, inputs)}


def _compared(pair: Pair, name: str, other: Pair, inputs: ProbeInputs) -> Mapping[str, Any]:
    first, second = (
        Sample(theirs.sums - own.sums, own.counts, own.groups)
        for own, theirs in zip(pair, other, strict=True)
    )
    low, high = _interval((first, second), inputs)
    comparison = {
        "name": name,
        "value": other[0].mean - other[1].mean,
        "gain": first.mean - second.mean,
        "low": low,
        "high": high,
        "p": difference_p(first, second, inputs.seed),
        "beyond_chance": True,
    }
    return {**comparison, "verdict": verdict(comparison, 1 - inputs.confidence)}


def _interval(pair: Pair, inputs: ProbeInputs) -> tuple[float | None, float | None]:
    first, second = pair
    options = inputs.confidence, inputs.bootstrap, inputs.seed
    low, high = difference_interval(first, second, *options) or (None, None)
    # Where all groups of each sample are the same, how far the difference may be off is not known.
    return (None, None) if low == high else (low, high)


def split_sample(sample: Sample, chosen: np.ndarray) -> Pair:
    """The clips of a sample where ``chosen`` (bool, one per clip), and the others."""
    return tuple(  # type: ignore[return-value]
        Sample(sample.sums[part], sample.counts[part], sample.groups[part])
        for part in (chosen, ~chosen)
    )
