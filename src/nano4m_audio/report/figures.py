"""Figures as small inline SVG: drawn in CSS variables, so they follow the page into dark mode.

Every figure is 340 units wide and is shown at about that many pixels, so that its text is legible
on a phone; wide screens put several beside each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from nano4m_audio.fetch.plan import Bin
from nano4m_audio.report.fetch import answers
from nano4m_audio.report.metrics import MetricRow
from nano4m_audio.report.runs import Curves
from nano4m_audio.report.scores import Histogram, nice_step
from nano4m_audio.report.training import Study

WIDTH = 340
#: Dashes that tell the lines of a chart apart.
_DASHES = ("none", "6 3", "2 3", "9 3 2 3")
Point = tuple[float, float]


def _number(value: float) -> str:
    """A coordinate with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def _tag(tag: str, content: str = "", /, **attributes: str | float) -> Markup:
    parts = []
    for name, value in attributes.items():
        text = value if isinstance(value, str) else _number(value)
        parts.append(f' {name.rstrip("_").replace("_", "-")}="{escape(text)}"')
    return Markup(f"<{tag}{''.join(parts)}>{content}</{tag}>")


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "tick") -> Markup:
    return _tag("text", escape(text), x=x, y=y, text_anchor=anchor, class_=kind)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return _tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _svg(height: float, title: str, parts: Sequence[str], **more: str) -> Markup:
    content = _tag("title", escape(title)) + Markup("").join(Markup(p) for p in parts)
    box = f"0 0 {WIDTH} {_number(height)}"
    return _tag("svg", content, viewBox=box, role="img", class_="figure", **more)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers in low..high."""
    if high <= low:
        return [low]
    step = nice_step(high - low, most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def label(value: float) -> str:
    """A tick label: 0, 0.25, 1,000, 20k, 1e-6."""
    if value and abs(value) < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-")
    if abs(value) >= 10_000:
        return f"{value / 1000:,.6g}k"
    return f"{value:,.6g}".replace("-", "\N{MINUS SIGN}")


def _axes(
    x: _Scale,
    y: _Scale,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    named: Callable[[float], str] = label,
) -> list[Markup]:
    """Horizontal grid lines ``named`` at their left, the base line, and labels below it."""
    left, right, bottom = x.start, x.end, y.start
    parts = []
    for tick in y_ticks:
        parts.append(_line(left, y(tick), right, y(tick), "grid"))
        parts.append(_text(left - 5, y(tick) + 4, named(tick), "end"))
    parts.append(_line(left, bottom, right, bottom, "axis"))
    return parts + [_text(x(t), bottom + 16, label(t), "middle") for t in x_ticks]


class _Scale:
    """Maps data linearly to coordinates."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.start, self.end = low, start, end
        self.per_unit = (end - start) / ((high - low) or 1)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) * self.per_unit


def histogram(data: Histogram) -> Markup:
    """Stacked bars of kept and dropped clips with the threshold as a line."""
    top, bottom, left, right = 20, 128, 30, WIDTH - 8
    edges = data.edges
    tallest = max(map(sum, zip(data.kept, data.dropped, strict=True)))
    x, y = _Scale(edges[0], edges[-1], left, right), _Scale(0, tallest or 1, bottom, top)
    whole = [t for t in ticks(0, tallest, 3) if t and t == int(t)]
    parts = _axes(x, y, ticks(edges[0], edges[-1], 6), whole)
    for i, counts in enumerate(zip(data.kept, data.dropped, strict=True)):
        x0, width = x(edges[i]) + 0.6, max(0.8, x(edges[i + 1]) - x(edges[i]) - 1.2)
        base: float = bottom
        for count, kind in zip(counts, ("kept", "dropped"), strict=True):
            if count:
                tall = max(1.6, bottom - y(count))
                name = _tag("title", f"{_span(edges, i)}: {count} {kind}")  # shown on hovering
                parts.append(
                    _tag("rect", name, x=x0, y=base - tall, width=width, height=tall, class_=kind)
                )
                base -= tall
    if data.threshold is not None:
        parts += _threshold(x(data.threshold), top, bottom, data.threshold)
    ends = f"{left} {right}"  # where a script may draw a line of its own
    title = f"{data.name}: histogram of {data.n} clips"
    return _svg(150, title, parts, data_axis=ends) + _numbers(data)


def attempts(bins: Sequence[Bin], bin_h: int) -> Markup:
    """Stacked bars of what was answered, by hour or day: ok, faults of videos, walls."""
    bottom, left, right = 128, 34, WIDTH - 8
    counts = [answers(row.kinds) for row in bins]
    hours = [(row.start - bins[0].start).total_seconds() / 3600 / bin_h for row in bins]
    tallest = max(sum(row.values()) for row in counts)
    x, y = _Scale(0, hours[-1] + 1, left, right), _Scale(0, tallest, bottom, 20)
    whole = [t for t in ticks(0, tallest, 3) if t and t == int(t)]
    parts = _axes(x, y, [t for t in ticks(0, hours[-1] + 1, 6) if t == int(t)], whole, short_count)
    for row, at, kinds in zip(bins, hours, counts, strict=True):
        base: float = bottom
        for (name, count), kind in zip(kinds.items(), ("kept", "dropped", "walls"), strict=True):
            if count:
                tall = max(1.6, bottom - y(count))
                title = _tag("title", f"{row.start:%Y-%m-%d %H:%M} UTC: {count} {name}")
                wide = max(0.8, x(1) - x(0) - 1.2)
                place = {"x": x(at) + 0.6, "y": base - tall, "width": wide, "height": tall}
                parts.append(_tag("rect", title, class_=kind, **place))
                base -= tall
    unit = "hours" if bin_h == 1 else "days"
    parts.append(_text(right, 160, f"{unit} since {bins[0].start:%Y-%m-%d %H:%M} UTC", "end"))
    rows = [
        (f"{row.start:%Y-%m-%d %H:%M}", *(f"{n:,}" for n in kinds.values()))
        for row, kinds in zip(bins, counts, strict=True)
    ]
    return _svg(166, f"Answers over {unit}", parts) + _opened(
        f"answers over {unit}", ("from (UTC)", *counts[0]), rows
    )


def _span(edges: Sequence[float], i: int) -> str:
    return f"{label(round(edges[i], 10))} to {label(round(edges[i + 1], 10))}"


def _numbers(data: Histogram) -> Markup:
    """The counts of the bins that are not empty, as a table to open."""
    split = any(data.dropped)
    rows = []
    for i, (kept, dropped) in enumerate(zip(data.kept, data.dropped, strict=True)):
        if kept or dropped:
            counts = (str(kept), str(dropped)) if split else (str(kept),)
            rows.append((_span(data.edges, i), *counts))
    return _opened(data.name, ("value", "kept", "dropped") if split else ("value", "clips"), rows)


def _opened(name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table to open: what hovering shows, for those who read, print or use a keyboard."""
    lines = [
        Markup("").join(_tag("td" if r else "th", escape(text), class_="n") for text in row)
        for r, row in enumerate([head, *rows])
    ]
    table = _tag("table", Markup("").join(_tag("tr", line) for line in lines))
    return _tag("details", _tag("summary", escape(f"numbers: {name}")) + table, class_="numbers")


def _dot(x: float, y: float, r: float, kind: str, name: str) -> Markup:
    """A point that says what it is when it is hovered over."""
    return _tag("circle", _tag("title", escape(name)), cx=x, cy=y, r=r, class_=kind)


def _threshold(at: float, top: float, bottom: float, value: float) -> list[Markup]:
    """A vertical line with its value on the side that has more room."""
    side, shift = ("end", -5) if at > WIDTH / 2 else ("start", 5)
    return [
        _line(at, top - 10, at, bottom, "threshold"),
        _text(at + shift, top - 4, f"threshold {label(value)}", side, "note"),
    ]


def scatter(points: Sequence[Point], x_min: float, y_min: float) -> Markup:
    """Test clips by likeness of their nearest training clip; the corner of copies is shaded."""
    top, bottom, left, right = 8, 128, 34, WIDTH - 8
    low = math.floor(min([0.0, *(s for _, s in points)]) * 5) / 5
    x_low = math.floor(min([x_min, *(p for p, _ in points)]) * 10) / 10
    x, y = _Scale(x_low, 1, left, right), _Scale(low, 1, bottom, top)
    wide, tall = right - x(x_min), y(y_min) - y(1)
    parts = [_tag("rect", x=x(x_min), y=y(1), width=wide, height=tall, class_="zone")]
    parts += _axes(x, y, ticks(x_low, 1, 6), ticks(low, 1, 4))
    parts += [
        _dot(x(min(p, 1)), y(min(s, 1)), 2.6, "dot", f"picture {label(p)}, sound {label(s)}")
        for p, s in ((round(p, 3), round(s, 3)) for p, s in points)
    ]
    return _svg(150, f"{len(points)} test clips and their nearest training clip", parts)


def _path(points: Sequence[Point], x: _Scale, y: _Scale, kind: str) -> Markup:
    d = "M" + "L".join(f"{_number(x(a))} {_number(y(b))}" for a, b in points)
    return _tag("path", d=d, class_=kind)


def curves(data: Curves, last_step: float) -> Markup:
    """Loss over steps: train as a thin line, val as a strong one that ends in its value."""
    values = [loss for _, loss in [*data.train, *data.val]]
    low, high = min(values), max(values)
    low, high = low - (high - low or 1) * 0.06, high + (high - low or 1) * 0.06
    x, y = _Scale(0, last_step, 34, WIDTH - 44), _Scale(low, high, 128, 10)
    parts = _axes(x, y, ticks(0, last_step, 4), ticks(low, high, 4))
    for series, kind in ((data.train, "train"), (data.val, "val")):
        if series:
            parts.append(_path(series, x, y, f"line {kind}"))
    end = (data.val or data.train)[-1]
    kind = "validation" if data.val else "training"
    name = f"{kind} loss at step {label(end[0])}: {end[1]:.3f}"
    parts += [
        _dot(x(end[0]), y(end[1]), 3, "end", name),
        _text(x(end[0]) + 7, y(end[1]) + 4, f"{end[1]:.2f}", "start", "value"),
    ]
    rows = [(label(step), f"{loss:.3f}") for step, loss in data.val or data.train]
    return _svg(150, f"Loss of {data.modality} over {label(last_step)} steps", parts) + _opened(
        f"loss of {data.modality}", ("step", f"{kind} loss"), rows
    )


def shown(curve: Mapping[str, Any]) -> Markup:
    """Cross-entropy over how much of a source is shown: a line with the interval of each value, and
    counts of the training clips as a dashed line."""
    points = list(zip(curve["shown"], curve["value"], strict=True))
    ends = [x for key in ("low", "high") for x in curve[key] if x is not None]
    values = [*curve["value"], *ends, *([] if curve["counts"] is None else [curve["counts"]])]
    pad = (max(values) - min(values) or 1) * 0.08
    x = _Scale(0, 1, 40, WIDTH - 44)
    y = _Scale(min(values) - pad, max(values) + pad, 128, 10)
    parts = _axes(x, y, [], ticks(y.low, max(values) + pad, 4))
    parts += [_text(x(share), 144, f"{100 * share:.0f} %", "middle") for share, _ in points]
    if curve["counts"] is not None:
        dashed = _line(x.start, y(curve["counts"]), x.end, y(curve["counts"]), "line train")
        parts.append(_tag("g", dashed, stroke_dasharray="4 3"))
    for share, low, high in zip(curve["shown"], curve["low"], curve["high"], strict=True):
        if low is not None:
            parts.append(_line(x(share), y(low), x(share), y(high), "interval thin"))
    parts.append(_path(points, x, y, "line val"))
    parts += [
        _dot(x(share), y(value), 3, "end", f"{100 * share:.0f} % shown: {value:.3f}")
        for share, value in points
    ]
    rows = [
        (f"{100 * at:.0f} %", f"{value:.3f}", "" if low is None else f"{low:.3f} to {high:.3f}")
        for (at, value), low, high in zip(points, curve["low"], curve["high"], strict=True)
    ]
    parts.append(_text(x.end + 8, y(points[-1][1]) + 4, f"{points[-1][1]:.2f}", "start", "value"))
    title = f"Cross-entropy of {curve['target']} over how much of {curve['source']} is shown"
    head = ("shown", "nats per token", "interval")
    return _svg(150, title, parts) + _opened(
        f"{curve['target']} from {curve['source']}", head, rows
    )


def study(data: Study) -> Markup:
    """Last validation loss over model or data size on a logarithmic axis, one line per setting."""
    places = sorted({x for points in data.series.values() for x, _ in points})
    losses = [loss for points in data.series.values() for _, loss in points]
    pad = (max(losses) - min(losses) or 1) * 0.12
    right = WIDTH - (8 if len(data.series) == 1 else 110)
    x = _Scale(math.log(places[0]), math.log(places[-1]), 44, right)
    y = _Scale(min(losses) - pad, max(losses) + pad, 150, 10)
    parts = _axes(x, y, [], ticks(y.low, max(losses) + pad, 4))
    parts += [_text(x(math.log(p)), 166, short_count(p), "middle") for p in places]
    taken: list[float] = []
    for i, (name, points) in enumerate(data.series.items()):
        line = [(math.log(p), loss) for p, loss in points]
        dashes = str(_DASHES[i % len(_DASHES)])
        parts.append(_tag("g", _path(line, x, y, "line val"), stroke_dasharray=dashes))
        parts += [
            _dot(x(math.log(p)), y(loss), 3, "end", f"{name}: {loss:.3f} at {short_count(p)}")
            for p, loss in points
        ]
        if len(data.series) > 1:
            at = _free(y(line[-1][1]) + 4, taken)
            parts.append(_text(x(line[-1][0]) + 8, at, name, "start", "note"))
    parts.append(_text(right, 182, data.axis, "end"))
    rows = [
        (name, short_count(p), f"{loss:.3f}")
        for name, points in data.series.items()
        for p, loss in points
    ]
    title = f"Validation loss over {data.axis}, {len(losses)} runs"
    return _svg(188, title, parts) + _opened(title, ("setting", data.axis, "loss"), rows)


def short_count(value: float) -> str:
    """950, 7.3k, 95.8M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def _free(at: float, taken: list[float]) -> float:
    """The nearest place at or below ``at`` that is a line away from those that are taken."""
    while any(abs(at - other) < 13 for other in taken):
        at += 1
    taken.append(at)
    return at


def learning_rate(points: Sequence[Point]) -> Markup:
    """Learning rate over steps."""
    last, high = max(p[0] for p in points), max(p[1] for p in points)
    x, y = _Scale(0, last, 34, WIDTH - 44), _Scale(0, high * 1.06 or 1, 128, 10)

    def named(rate: float) -> str:
        return f"{rate:.0e}".replace("e-0", "e\N{MINUS SIGN}") if rate else "0"

    axes = _axes(x, y, ticks(0, last, 4), ticks(0, high, 3), named)
    parts = [*axes, _path(points, x, y, "line val")]
    return _svg(150, "Learning rate over steps", parts)


def widest(rows: Sequence[MetricRow]) -> float:
    """The right end of the strips of these metrics: a round share that holds every value."""
    values = [
        float(side[key])
        for row in rows
        if row.unit == "accuracy"
        for side in (row.ours, row.baseline, row.paper)
        if side
        for key in ("value", "high", "chance")
        if side.get(key) is not None
    ]
    most = max(values, default=1.0)
    return min(1.0, math.ceil(most * 10 + 1e-9) / 10)


def _in_words(row: MetricRow) -> str:
    """The values of a strip; the table of the metrics has them, too."""
    sides = [("this run", row.ours, "value"), ("chance", row.ours, "chance")]
    sides += [("simplest guess", row.baseline, "value"), ("paper", row.paper, "value")]
    return ", ".join(
        f"{name} {100 * side[key]:.1f} %"
        for name, side, key in sides
        if side and side.get(key) is not None
    )


def strip(row: MetricRow, most: float) -> Markup:
    """One metric on a line from 0 to ``most``: value with interval, chance tick, paper diamond."""
    ours, paper = row.ours or {}, row.paper or {}
    x = _Scale(0, most, 7, WIDTH - 60)
    parts = [_line(x.start, 12, x.end, 12, "track")]
    if ours.get("chance") is not None:
        parts.append(_line(x(ours["chance"]), 4, x(ours["chance"]), 20, "chance"))
    if row.baseline:
        guess = x(row.baseline["value"])
        parts.append(_line(guess, 6, guess, 18, "guess"))
    if paper.get("value") is not None:
        d = f"M{_number(x(paper['value']))} 6l6 6l-6 6l-6 -6Z"
        parts.append(_tag("path", d=d, class_="paper"))
    if ours.get("low") is not None:
        parts.append(_line(x(ours["low"]), 12, x(ours["high"]), 12, "interval"))
    parts.append(_dot(x(ours["value"]), 12, 4.5, "ours", _in_words(row)))
    parts.append(_text(WIDTH - 4, 16, f"{100 * ours['value']:.1f} %", "end", "value"))
    paper_too = ", chance and paper" if paper else " and chance"
    return _svg(24, f"{row.title}: value, interval{paper_too}", parts)
