"""How many candidates became tokens, and what stopped the others: sums that must add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nano4m_audio.config.curate import Verdict
from nano4m_audio.filters import CATALOGUE, FILTERS
from nano4m_audio.report.inputs import COMPLETE, FETCH_STOPS, STOPS, Clip, ReportInputs
from nano4m_audio.report.listing import notes, read_listing


class FunnelError(RuntimeError):
    """The counts do not add up: a clip was lost without a reason."""


@dataclass(frozen=True)
class Step:
    """One stop of the funnel: how many arrive, how many go on, and why the others do not."""

    stop: str
    name: str
    arriving: int
    lost: int
    reasons: list[tuple[str, int]]
    off: bool

    @property
    def left(self) -> int:
        return self.arriving - self.lost


@dataclass(frozen=True)
class ReasonCount:
    """A reason: clips that it stopped, clips that show it at all, clips that show only it."""

    reason: str
    meaning: str
    first: int
    any: int
    alone: int


@dataclass(frozen=True)
class ClassRow:
    """The candidates of a class: those lost, by the headings of their stops, and the complete."""

    name: str
    candidates: int
    lost: dict[str, int]
    complete: int


@dataclass(frozen=True)
class Funnel:
    """The funnel, what it cannot count, the same by class with the total last, and all reasons."""

    steps: list[Step]
    notes: list[str]
    classes: list[ClassRow]
    reasons: list[ReasonCount]


def collect(inputs: ReportInputs) -> Funnel:
    """Count every candidate. Raises FunnelError when the counts do not add up."""
    clips, config = inputs.clips, inputs.config
    return Funnel(
        steps(clips, config["verdict"]),
        notes(clips, read_listing(inputs.results), config["decode"])
        + own_thresholds(config["verdict"]["per_class"]),
        by_class(clips, config["classes"]),
        reason_counts(clips),
    )


def own_thresholds(per_class: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """One sentence where classes have thresholds of their own."""
    own = [
        f"{name} ({', '.join(f'{key} {_limit(v)}' for key, v in limits.items())})"
        for name, limits in per_class.items()
        if limits
    ]
    return [f"Thresholds of their own: {'; '.join(own)}."] if own else []


def _limit(value: float | None) -> str:
    return "off" if value is None else f"{value:g}"


def steps(clips: Sequence[Clip], verdict: Mapping[str, Any]) -> list[Step]:
    """The funnel by first reason. Raises FunnelError when it does not end at the complete clips."""
    lost = Counter(clip.stop for clip in clips)
    first = Counter((clip.stop, clip.reasons[0]) for clip in clips if clip.reasons)
    settings = Verdict.model_validate(dict(verdict))
    off = {row.reason for row in FILTERS if not settings.is_on(row)}
    arriving, out = len(clips), []
    for stop, (passed, _) in _stops(clips).items():
        here = [(reason, n) for (where, reason), n in first.items() if where == stop]
        why = sorted(here, key=lambda x: (-x[1], x[0]))
        step = Step(stop, passed, arriving, lost[stop], why, stop in off)
        if sum(n for _, n in why) != step.lost:
            raise FunnelError(
                f"{stop}: {step.lost} clips stop here, {sum(n for _, n in why)} say why"
            )
        out.append(step)
        arriving = step.left
    if arriving != lost[COMPLETE] or sum(lost.values()) != len(clips):
        raise FunnelError(
            f"{len(clips)} candidates less {len(clips) - arriving} stopped ones are not the "
            f"{lost[COMPLETE]} complete clips"
        )
    return out


def _stops(clips: Sequence[Clip]) -> dict[str, tuple[str, str]]:
    """All stops; those of fetching where it lost something."""
    fetched = any(clip.stop in FETCH_STOPS for clip in clips)
    return {**FETCH_STOPS, **STOPS} if fetched else STOPS


def reason_counts(clips: Sequence[Clip]) -> list[ReasonCount]:
    """Every reason that occurs, in the order in which the pipeline can notice it."""
    stopped = [clip.reasons for clip in clips if clip.reasons]
    first = Counter(reasons[0] for reasons in stopped)
    any_ = Counter(reason for reasons in stopped for reason in set(reasons))
    alone = Counter(reasons[0] for reasons in stopped if len(set(reasons)) == 1)
    order = [r for r in CATALOGUE if r in any_] + sorted(set(any_) - set(CATALOGUE))
    return [ReasonCount(r, CATALOGUE.get(r, ""), first[r], any_[r], alone[r]) for r in order]


def by_class(clips: Sequence[Clip], classes: Sequence[str]) -> list[ClassRow]:
    """Class x stop counts and their total. Every class of the config has a row, also an empty one.

    Raises FunnelError when a row does not add up to its candidates.
    """
    counts = Counter((clip.class_name, clip.stop) for clip in clips)
    totals = Counter(clip.class_name for clip in clips)
    stops = _stops(clips)
    used = [stop for stop in stops if any(clip.stop == stop for clip in clips)]
    rows = []
    for name in [*classes, *sorted(set(totals) - set(classes))]:
        lost = {stops[stop][1]: counts[name, stop] for stop in used}
        complete = counts[name, COMPLETE]
        if totals[name] != sum(lost.values()) + complete:
            raise FunnelError(f"class {name!r}: the stops do not add up to its candidates")
        rows.append(ClassRow(name, totals[name], lost, complete))
    lost = {stops[stop][1]: sum(row.lost[stops[stop][1]] for row in rows) for stop in used}
    return [*rows, ClassRow("all classes", len(clips), lost, sum(row.complete for row in rows))]
