"""Histograms of the numbers that filters compare: plain numbers, no drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nano4m_audio.config.curate import Verdict
from nano4m_audio.filters import LISTED, Filter
from nano4m_audio.report.explorer import explore
from nano4m_audio.report.inputs import ReportInputs

_BINS = 24
#: At most this many classes are named in a caption.
_SHOWN = 10


@dataclass(frozen=True)
class Histogram:
    """Counts of kept and dropped clips in bins of equal width; ``threshold`` None: there is none
    but those of single classes, and ``off`` where these have none either."""

    name: str
    edges: list[float]
    kept: list[int]
    dropped: list[int]
    threshold: float | None
    caption: str = ""
    off: bool = False
    key: str = ""

    @property
    def n(self) -> int:
        return sum(self.kept) + sum(self.dropped)


@dataclass(frozen=True)
class Scores:
    """The histograms, and what their sliders need (see ``explorer``)."""

    histograms: list[Histogram]
    explorer: Mapping[str, Any]


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


def collect(inputs: ReportInputs) -> Scores:
    """The histograms, and the data of a slider for each that has clips."""
    found = histograms(inputs)
    return Scores(found, explore(inputs, {h.key: (h.edges[0], h.edges[-1]) for h in found if h.n}))


def histograms(inputs: ReportInputs) -> list[Histogram]:
    """One histogram per filter, of all clips that have its number; kept: passed all filters."""
    out = []
    settings = Verdict.model_validate(inputs.config["verdict"])
    for row in LISTED:
        scored = [
            (float(value), clip.accepted)
            for clip in inputs.clips
            if (value := clip.verdict[row.column]) is not None
        ]
        off = not settings.is_on(row)
        if off and row.default is None and not scored:
            continue  # nobody asked for it
        threshold = settings.threshold(row)
        # A fraction is shown on its whole range, so that an empty middle is seen.
        shown = [*(row.limits if row.limits == (0, 1) else ()), *(v for v, _ in scored)]
        edges = bin_edges(shown if threshold is None else [*shown, threshold]) if scored else []
        kept = count_bins([v for v, ok in scored if ok], edges) if scored else []
        dropped = count_bins([v for v, ok in scored if not ok], edges) if scored else []
        out.append(
            Histogram(
                row.title, edges, kept, dropped, threshold, _caption(row, settings), off, row.key
            )
        )
    return out


def _caption(row: Filter, settings: Verdict) -> str:
    """What is counted, on which side of the line clips are kept, and where not every class is."""
    caption, side = f"{row.number}{row.in_unit}", "from" if row.side == "min" else "up to"
    general = settings.threshold(row)
    if general is not None:
        caption += f"; kept {side} the line"
    own = {name: settings.threshold(row, name) for name in settings.per_class}
    other = {name: limit for name, limit in own.items() if limit != general}
    listed = [
        f"{name} {'at any value' if limit is None else f'{side} {limit:g}'}"
        for name, limit in [*other.items()][:_SHOWN]
    ]
    more = f" and {len(other) - _SHOWN} more classes" if len(other) > _SHOWN else ""
    verb = "" if general is not None else "kept "
    return caption + (f"; {verb}{', '.join(listed)}{more}" if other else "")
