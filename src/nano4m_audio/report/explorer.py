"""What the page needs to say, while a slider moves, which clips another threshold would keep.

One filter moves at a time and the others stay, so a clip matters to a filter only if it passes all
others: these *cells* are written, each with its value, class, source and truth. A threshold is
compared with them as ``Filter.fails`` does it, both sides as float32. Therefore the count before
the first move is the report's own, and every later one is what a new run would find (before copies
are removed). Should a recorded verdict contradict the config's thresholds, its filter is left out.

Up to ``EXACT`` clips, a cell is one clip with its float32 value. Above, clips of equal class,
source and truth between the same two of some hundred edges are one cell with a count. The slider
stops at edges only, the config's own thresholds are edges, and at an edge the comparison is exact.
"""

from __future__ import annotations

import base64
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nano4m_audio.config.curate import Verdict
from nano4m_audio.filters import FILTERS, Filter
from nano4m_audio.report.inputs import Clip, ReportInputs
from nano4m_audio.report.truth import expected_of, read_truth

#: Up to this many decodable clips, every one is written.
EXACT = 10_000
#: Bytes of base64 that the cells of all filters may take together, and the first number of bins.
_BUDGET, _BINS, _FEWEST_BINS = 850_000, 512, 16
#: What is known of a clip, as a number: nothing that counts, that it should stay, or go.
_TRUTHS = {"keep": 1, "reject": 2}
#: No reason: the clip passes all filters.
_NONE = 255


@dataclass(frozen=True)
class Cells:
    """Parallel arrays of the decodable clips that fail at most one filter.

    ``fails``: uint8, the place of that filter in ``FILTERS`` or 255. ``classes``, ``sources``:
    uint16, places in lists of names. ``truth``: uint8 (0 unknown, 1 to keep, 2 to reject).
    """

    clips: Sequence[Clip]
    fails: np.ndarray
    classes: np.ndarray
    sources: np.ndarray
    truth: np.ndarray


def explore(inputs: ReportInputs, spans: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """The values of the page's sliders, ready for JSON, for the filters of these keys.

    ``spans`` are the ends of each slider. Filters that cannot be explored are not in ``filters``.
    """
    settings = Verdict.model_validate(inputs.config["verdict"])
    decoded = [clip for clip in inputs.clips if clip.verdict["clip_key"]]
    classes = sorted({clip.class_name for clip in decoded})
    sources = sorted({clip.source for clip in decoded})
    truth, good = _truths(inputs)
    cells = _cells(decoded, classes, sources, truth)
    rows = [f for f in FILTERS if f.key in spans and _agrees(decoded, f, settings)]
    exact = len(decoded) <= EXACT
    values = {f.key: _values(cells.clips, f) for f in rows}
    found = {f.key: _described(f, settings, classes, spans[f.key]) for f in rows}
    if exact:
        for f in rows:
            found[f.key]["values"] = pack(values[f.key].astype("<f4"))
    else:
        shape = (len(classes), len(sources))
        for key, written in _binned(rows, values, cells, shape, found).items():
            found[key].update(written)
    shared = {
        "ids": [clip.clip_id for clip in cells.clips],
        "fails": pack(cells.fails.astype("u1")),
        "class": pack(cells.classes.astype("<u2")),
        "source": pack(cells.sources.astype("<u2")),
        "truth": pack(cells.truth.astype("u1")),
    }
    return {
        "decodable": len(decoded),
        "kept": sum(clip.accepted for clip in decoded),
        "classes": classes,
        "sources": sources,
        "good": good,
        "clips": shared if exact else None,
        "filters": found,
    }


def pack(numbers: np.ndarray) -> str:
    """The bytes of an array as base64."""
    return base64.b64encode(numbers.tobytes()).decode()


def _truths(inputs: ReportInputs) -> tuple[dict[str, int], int | None]:
    """Clip id -> truth, and how many candidates should be kept (None: no truth is known). No filter
    can tell a copy from its original, so copies count as unknown."""
    if inputs.truth_csv is None:
        return {}, None
    table, found = read_truth(inputs.truth_csv), {}
    for clip in inputs.clips:
        row = table.get(posixpath.normpath(clip.path))
        if row and not row["duplicate_of"]:
            found[clip.clip_id] = _TRUTHS.get(expected_of(row), 0)
    return found, sum(word == _TRUTHS["keep"] for word in found.values())


def _cells(
    decoded: Sequence[Clip],
    classes: Sequence[str],
    sources: Sequence[str],
    truth: Mapping[str, int],
) -> Cells:
    clips = [clip for clip in decoded if len(clip.verdict["reasons"]) <= 1]
    place = {row.reason: i for i, row in enumerate(FILTERS)}
    of_class = {name: i for i, name in enumerate(classes)}
    of_source = {name: i for i, name in enumerate(sources)}
    reasons = [clip.verdict["reasons"] for clip in clips]
    return Cells(
        clips,
        np.array([place[found[0]] if found else _NONE for found in reasons], np.int64),
        np.array([of_class[clip.class_name] for clip in clips], np.int64),
        np.array([of_source[clip.source] for clip in clips], np.int64),
        np.array([truth.get(clip.clip_id, 0) for clip in clips], np.int64),
    )


def _agrees(decoded: Sequence[Clip], row: Filter, settings: Verdict) -> bool:
    """Whether every recorded verdict is the one that the config's thresholds give."""
    limits = {name: settings.threshold(row, name) for name in {c.class_name for c in decoded}}
    for clip in decoded:
        value = clip.verdict[row.column]
        limit = None if value is None and row.may_be_unknown else limits[clip.class_name]
        if row.fails(value, limit) != (row.reason in clip.verdict["reasons"]):
            return False
    return True


def _values(clips: Sequence[Clip], row: Filter) -> np.ndarray:
    """float32 of every clip. One that a model cannot give passes every threshold; one that should
    be there and is not passes none."""
    missing = np.nan
    if row.may_be_unknown:
        missing = np.inf if row.side == "min" else -np.inf
    found = (clip.verdict[row.column] for clip in clips)
    return np.array([missing if value is None else value for value in found], np.float32)


def _described(
    row: Filter, settings: Verdict, classes: Sequence[str], span: tuple[float, float]
) -> dict[str, Any]:
    """Everything about a filter but its values. ``own``: thresholds of single classes by place."""
    own = {
        str(i): settings.per_class[name][row.key]
        for i, name in enumerate(classes)
        if row.key in settings.per_class.get(name, {})
    }
    limits = [limit for limit in own.values() if limit is not None]
    low, high = min([span[0], *limits]), max([span[1], *limits])
    return {
        "title": row.title,
        "side": row.side,
        "reason": FILTERS.index(row),
        "threshold": getattr(settings, row.key),
        "own": own,
        "axis": list(span),
        "low": max(low, row.limits[0]),
        "high": min(high, row.limits[1]),
        "limits": list(row.limits),
    }


def _binned(
    rows: Sequence[Filter],
    values: Mapping[str, np.ndarray],
    cells: Cells,
    shape: tuple[int, int],
    found: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """The cells of all filters, each in so many bins that all of them together fit the budget."""
    bins = dict.fromkeys((row.key for row in rows), _BINS)
    out: dict[str, dict[str, Any]] = {}
    for row in rows:
        out[row.key] = _bin(row, values[row.key], cells, shape, found[row.key], _BINS)
    while sum(len(o["cells"]) for o in out.values()) > _BUDGET:
        largest = max(rows, key=lambda row: len(out[row.key]["cells"]))
        key = largest.key
        if bins[key] <= _FEWEST_BINS:
            break
        bins[key] //= 2
        out[key] = _bin(largest, values[key], cells, shape, found[key], bins[key])
    return out


def _bin(
    row: Filter,
    values: np.ndarray,
    cells: Cells,
    shape: tuple[int, int],
    about: Mapping[str, Any],
    bins: int,
) -> dict[str, Any]:
    """Counts of (class, source, truth, bin), one varint each: the step to the next flat index, and
    in its two lowest bits the count less one; 3 stands for a count of four or more, which follows
    as a varint less four. Bin k of "min" lies from edge k-1 to below edge k; of "max" above edge
    k-1 to edge k."""
    wide = (about["high"] - about["low"]) / bins
    grid = [round(about["low"] + i * wide, 6) for i in range(bins + 1)]
    own = [about["threshold"], *about["own"].values()]
    edges = sorted({*grid, *(limit for limit in own if limit is not None)})
    sharp = np.array(edges, np.float32)
    chosen = np.isin(cells.fails, (_NONE, FILTERS.index(row)))
    value = values[chosen]
    place = np.searchsorted(sharp, value, side="right" if row.side == "min" else "left")
    # No number passes nothing, wherever the search put it.
    place[np.isnan(value)] = 0 if row.side == "min" else len(edges)
    _, sources = shape
    flat = cells.classes[chosen] * sources + cells.sources[chosen]
    flat = (flat * len({0, *_TRUTHS.values()}) + cells.truth[chosen]) * (len(edges) + 1) + place
    places, counts = np.unique(flat, return_counts=True)
    written = bytearray()
    for step, n in zip(np.diff(places, prepend=0).tolist(), counts.tolist(), strict=True):
        written += _varint(4 * step + min(n - 1, 3))
        if n > 3:
            written += _varint(n - 4)
    return {"edges": edges, "cells": base64.b64encode(bytes(written)).decode()}


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more follow."""
    if number < 128:
        return bytes((number,))
    return bytes((number & 127 | 128,)) + _varint(number >> 7)
