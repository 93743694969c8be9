"""The split by class and source, and how new the test clips are: plain numbers, no drawing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nano4m_audio.audit.checks import crossing
from nano4m_audio.report.inputs import Clip, ReportInputs
from nano4m_audio.report.listing import read_listing, videos_unknown
from nano4m_audio.report.scores import Histogram, bin_edges, count_bins

SPLITS = ("train", "val", "test")
_POINTS = 2000


@dataclass(frozen=True)
class SplitRow:
    """Clips in train, val and test."""

    name: str
    counts: list[int]

    @property
    def sum(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class Leak:
    """The training clip most like each test clip: ``points`` of (picture, sound), evenly picked,
    the ids of confirmed copies, and histograms of both with the limits of a copy."""

    n: int
    picture_min: float
    sound_min: float
    points: list[tuple[float, float]]
    copies: list[str]
    picture: Histogram
    sound: Histogram


@dataclass(frozen=True)
class Split:
    """Class x split and source x split over the clips that are in a split, and the groups and
    videos that cross splits. ``videos_unknown`` says how many clips have no known video."""

    classes: list[SplitRow]
    sources: list[SplitRow]
    total: SplitRow
    groups: int
    crossing_groups: list[str]
    crossing_videos: list[str]
    videos_unknown: str
    leak: Leak | None


def collect(inputs: ReportInputs) -> Split:
    """Every class of the config has a row, also an empty one."""
    rows = [clip for clip in inputs.clips if clip.split.get("split")]
    classes = inputs.config["classes"]
    return Split(
        classes=_count(((c.class_name, c.split["split"]) for c in rows), classes),
        sources=_count((c.split["source"], c.split["split"]) for c in rows),
        total=_count((("all", c.split["split"]) for c in rows), ["all"])[0],
        groups=len({c.split["group"] for c in rows}),
        crossing_groups=crossing((c.split["group"], c.split["split"]) for c in rows),
        crossing_videos=crossing((c.video_id, c.split["split"]) for c in rows),
        videos_unknown=videos_unknown(read_listing(inputs.results)),
        leak=find_leak(rows, inputs.config["split"]["duplicates"]),
    )


def _count(pairs: Iterable[tuple[str, str]], first: Sequence[str] = ()) -> list[SplitRow]:
    """One row per name of the (name, split) pairs: those of ``first``, then others by name."""
    counts = Counter(pairs)
    names = [*first, *sorted({name for name, _ in counts} - set(first))]
    return [SplitRow(name, [counts[name, split] for split in SPLITS]) for name in names]


def find_leak(clips: Sequence[Clip], limits: Mapping[str, Any]) -> Leak | None:
    """What was measured of the test clips, with the limits of a copy; None for nothing."""
    found = [
        (float(c.split["nearest_picture"]), float(c.split["nearest_sound"]), c.clip_id)
        for c in clips
        if c.split.get("split") == "test"
        and c.split["nearest_picture"] is not None
        and c.split["nearest_sound"] is not None
    ]
    if not found:
        return None
    picture_min, sound_min = limits["picture_min"], limits["sound_min"]
    return Leak(
        n=len(found),
        picture_min=picture_min,
        sound_min=sound_min,
        points=[(p, s) for p, s, _ in found[:: math.ceil(len(found) / _POINTS)]],
        copies=[name for p, s, name in found if p >= picture_min and s >= sound_min],
        picture=_histogram("Nearest picture", [p for p, _, _ in found], picture_min),
        sound=_histogram("Nearest sound", [s for _, s, _ in found], sound_min),
    )


def _histogram(name: str, values: list[float], limit: float) -> Histogram:
    edges = bin_edges([*values, limit, 1.0])
    counts = count_bins(values, edges)
    return Histogram(name, edges, counts, [0] * len(counts), limit)
