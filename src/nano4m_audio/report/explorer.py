"""What the page needs to say, while sliders move, which clips other thresholds would keep.

Written is every decodable clip that no other filter than those with a slider is against: its value
for each of them, its class, source and truth. A threshold is compared as ``Filter.fails`` does it,
both sides as float32, and a clip is kept where all filters let it pass, however many sliders were
moved. Therefore the count before the first move is the report's own, and every later one is what a
new run would find (before copies are removed). Should a recorded verdict contradict the config's
thresholds, its filter has no slider.

Clips of equal class, source and truth follow each other, so that these are counts. Up to ``EXACT``
clips, values are float32 and every clip has its id. Above, a value is the place of the clip among
some two hundred edges, a byte: the slider stops at edges only, the config's own thresholds are
edges, and at an edge the comparison is exact. Ids are those of the clips next to the thresholds.
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
#: Steps of a slider where a value is a byte.
_BINS = 200
#: Where not every clip has its id: those on each side of a threshold, of all classes together, and
#: at least of every class.
_NAMED, _FEWEST_NAMED = 400, 2
#: What is known of a clip, as a number: nothing that counts, that it should stay, or go.
_TRUTHS = {"keep": 1, "reject": 2}


@dataclass(frozen=True)
class Rows:
    """The clips in their order; ``runs``: class, source and truth of clips that follow each other
    and how many they are, [m, 4]; ``classes``: the class of every clip (a place in the list)."""

    clips: Sequence[Clip]
    runs: np.ndarray
    classes: np.ndarray


def explore(inputs: ReportInputs, spans: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """The values of the page's sliders, ready for JSON, for the filters of these keys.

    ``spans`` are the ends of each slider. Filters that cannot be explored are not in ``filters``.
    """
    settings = Verdict.model_validate(inputs.config["verdict"])
    decoded = [clip for clip in inputs.clips if clip.verdict["clip_key"]]
    classes = sorted({clip.class_name for clip in decoded})
    sources = sorted({clip.source for clip in decoded})
    truth, good = _truths(inputs)
    filters = [f for f in FILTERS if f.key in spans and _agrees(decoded, f, settings)]
    rows = _rows(decoded, filters, classes, sources, truth)
    exact = len(decoded) <= EXACT
    found, named = {}, set[int]()
    for f in filters:
        about = _described(f, settings, classes, spans[f.key])
        values = _values(rows.clips, f)
        if exact:
            written: dict[str, Any] = {"values": pack(values.astype("<f4"))}
        else:
            written = _binned(f, values, about)
            named |= _nearest(f, values, rows, [settings.threshold(f, name) for name in classes])
        found[f.key] = {**about, **written}
    ids: Any = [clip.clip_id for clip in rows.clips]
    return {
        "decodable": len(decoded),
        "kept": sum(clip.accepted for clip in decoded),
        "classes": classes,
        "sources": sources,
        "good": good,
        "runs": rows.runs.ravel().tolist(),
        "ids": ids if exact else {i: ids[i] for i in sorted(named)},
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


def _rows(
    decoded: Sequence[Clip],
    filters: Sequence[Filter],
    classes: Sequence[str],
    sources: Sequence[str],
    truth: Mapping[str, int],
) -> Rows:
    known = {row.reason for row in filters}
    of_class = {name: i for i, name in enumerate(classes)}
    of_source = {name: i for i, name in enumerate(sources)}
    kinds = sorted(
        (of_class[c.class_name], of_source[c.source], truth.get(c.clip_id, 0), i)
        for i, c in enumerate(decoded)
        if known.issuperset(c.verdict["reasons"])
    )
    table = np.array(kinds, np.int64).reshape(-1, 4)
    runs, counts = np.unique(table[:, :3], axis=0, return_counts=True)
    return Rows(
        [decoded[i] for i in table[:, 3].tolist()],
        np.concatenate([runs, counts[:, None]], axis=1),
        table[:, 0],
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
        "threshold": getattr(settings, row.key),
        "own": own,
        "axis": list(span),
        "low": max(low, row.limits[0]),
        "high": min(high, row.limits[1]),
        "limits": list(row.limits),
    }


def _binned(row: Filter, values: np.ndarray, about: Mapping[str, Any]) -> dict[str, Any]:
    """The edges, and the place of every value among them. Bin k of "min" lies from edge k-1 to
    below edge k; of "max" above edge k-1 to edge k."""
    wide = (about["high"] - about["low"]) / _BINS
    grid = [round(about["low"] + i * wide, 6) for i in range(_BINS + 1)]
    own = [about["threshold"], *about["own"].values()]
    edges = sorted({*grid, *(limit for limit in own if limit is not None)})
    sharp = np.array(edges, np.float32)
    place = np.searchsorted(sharp, values, side="right" if row.side == "min" else "left")
    # No number passes nothing, wherever the search put it.
    place[np.isnan(values)] = 0 if row.side == "min" else len(edges)
    return {"edges": edges, "bins": pack(place.astype("u1" if len(edges) < 256 else "<u2"))}


def _nearest(
    row: Filter, values: np.ndarray, rows: Rows, limits: Sequence[float | None]
) -> set[int]:
    """The clips next to the threshold of their class, on both sides, which no other filter is
    against."""
    alone = [set(clip.verdict["reasons"]) <= {row.reason} for clip in rows.clips]
    known = np.flatnonzero(np.array(alone, bool) & np.isfinite(values))
    most, found = max(_FEWEST_NAMED, _NAMED // max(len(limits), 1)), set[int]()
    for place, limit in enumerate(limits):
        if limit is None:
            continue
        mine = known[rows.classes[known] == place]
        far = values[mine] - limit
        for side in (far < 0, far >= 0):
            order = np.argsort(np.abs(far[side]), kind="stable")[:most]
            found.update(mine[side][order].tolist())
    return found
