"""Histograms of scores, the split and its leak: plain numbers, no drawing."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nano4m_audio.filters import LISTED
from nano4m_audio.report.inputs import Clip

SPLITS = ("train", "val", "test")
_BINS = 24
_POINTS = 2000


@dataclass(frozen=True)
class Histogram:
    """Counts of kept and dropped clips in bins of equal width; ``threshold`` None: filter off."""

    name: str
    edges: list[float]
    kept: list[int]
    dropped: list[int]
    threshold: float | None
    caption: str = ""

    @property
    def n(self) -> int:
        return sum(self.kept) + sum(self.dropped)


def nice_step(span: float, bins: int) -> float:
    """The smallest of 1, 2, 2.5, 5 x 10^k that covers ``span`` in at most ``bins`` bins."""
    raw = span / bins
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * (1 - 1e-9))


def bin_edges(values: Sequence[float], bins: int = _BINS) -> list[float]:
    """Round edges of equal width around the values."""
    low, high = min(values), max(values)
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    step = nice_step(high - low, bins)
    first = math.floor(low / step + 1e-9)
    last = max(first + 1, math.ceil(high / step - 1e-9))
    return [round(i * step, 10) for i in range(first, last + 1)]


def count_bins(values: Sequence[float], edges: Sequence[float]) -> list[int]:
    """How many values fall into each bin; the last bin includes its upper edge."""
    width = (edges[-1] - edges[0]) / (len(edges) - 1)
    counts = [0] * (len(edges) - 1)
    for value in values:
        # Scores are stored as float32: the tolerance puts 0.3 into the bin that begins at 0.3.
        place = math.floor((value - edges[0]) / width + 1e-6)
        counts[min(max(place, 0), len(counts) - 1)] += 1
    return counts


def score_histograms(clips: Sequence[Clip], verdict: Mapping[str, Any]) -> list[Histogram]:
    """One histogram per score, of all clips that have it; kept means that all filters passed."""
    out = []
    for row in LISTED:
        scored = [(float(v), c.accepted) for c in clips if (v := c.verdict[row.column]) is not None]
        threshold = verdict.get(row.key)
        # A fraction is shown on its whole range, so that an empty middle is seen.
        shown = [*(row.limits if row.limits == (0, 1) else ()), *(v for v, _ in scored)]
        edges = bin_edges(shown if threshold is None else [*shown, threshold]) if scored else []
        kept = count_bins([v for v, ok in scored if ok], edges) if scored else []
        dropped = count_bins([v for v, ok in scored if not ok], edges) if scored else []
        caption = row.number + (f" [{row.unit}]" if row.unit not in ("", "share") else "")
        if threshold is not None:
            caption += f"; kept {'from' if row.side == 'min' else 'up to'} the line"
        out.append(Histogram(row.title, edges, kept, dropped, threshold, caption))
    return out


def split_tables(clips: Sequence[Clip], classes: Sequence[str]) -> dict[str, Any]:
    """Class x split and source x split over the clips that are in a split, with totals, and the
    groups and videos that cross splits."""
    rows = [c for c in clips if c.split.get("split")]
    by_class = Counter((c.class_name, c.split["split"]) for c in rows)
    by_source = Counter((c.split["source"], c.split["split"]) for c in rows)
    names = [*classes, *sorted({c.class_name for c in rows} - set(classes))]
    return {
        "classes": [_split_row(name, by_class) for name in names],
        "sources": [_split_row(name, by_source) for name in sorted({s for s, _ in by_source})],
        "total": _total_row(rows),
        "groups": len({c.split["group"] for c in rows}),
        "crossing_groups": _crossing((c.split["group"], c.split["split"]) for c in rows),
        "crossing_videos": _crossing((c.video_id, c.split["split"]) for c in rows),
    }


def _split_row(name: str, counts: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    cells = [counts[name, split] for split in SPLITS]
    return {"name": name, "counts": cells, "sum": sum(cells)}


def _total_row(rows: Sequence[Clip]) -> dict[str, Any]:
    cells = [sum(c.split["split"] == split for c in rows) for split in SPLITS]
    return {"name": "all", "counts": cells, "sum": len(rows)}


def _crossing(pairs: Any) -> list[str]:
    splits = defaultdict(set)
    for name, split in pairs:
        splits[name].add(split)
    return sorted(name for name, found in splits.items() if len(found) > 1)


def leak(clips: Sequence[Clip], split: Mapping[str, Any]) -> dict[str, Any] | None:
    """The training clip most like each test clip: points (picture, sound), and confirmed copies.

    None when nothing was measured. At most 2,000 points are kept for drawing, evenly picked.
    """
    rows = [
        c
        for c in clips
        if c.split.get("split") == "test"
        and c.split["nearest_picture"] is not None
        and c.split["nearest_sound"] is not None
    ]
    if not rows:
        return None
    limits = split.get("duplicates", {})
    picture_min, sound_min = limits.get("picture_min", 0.9), limits.get("sound_min", 0.88)
    pictures = [float(c.split["nearest_picture"]) for c in rows]
    sounds = [float(c.split["nearest_sound"]) for c in rows]
    pairs = list(zip(pictures, sounds, strict=True))
    copies = [
        c for c, (p, s) in zip(rows, pairs, strict=True) if p >= picture_min and s >= sound_min
    ]
    order = sorted(range(len(rows)), key=lambda i: (-min(pairs[i]), rows[i].clip_id))
    return {
        "n": len(rows),
        "picture_min": picture_min,
        "sound_min": sound_min,
        "points": pairs[:: max(1, math.ceil(len(pairs) / _POINTS))],
        "copies": [c.clip_id for c in copies],
        "copies_n": len(copies),
        "picture": _plain_histogram("Nearest picture", pictures, picture_min),
        "sound": _plain_histogram("Nearest sound", sounds, sound_min),
        "closest": [
            (rows[i].clip_id, rows[i].split["nearest_train"], *pairs[i]) for i in order[:3]
        ],
    }


def _plain_histogram(name: str, values: list[float], limit: float) -> Histogram:
    edges = bin_edges([*values, limit, 1.0])
    counts = count_bins(values, edges)
    return Histogram(name, edges, counts, [0] * len(counts), limit)
