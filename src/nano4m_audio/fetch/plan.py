"""What a fetch has to do, what it did, and what a video answered: values and texts for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from nano4m_audio.config import sources
from nano4m_audio.fetch.breaker import Opening, openings
from nano4m_audio.fetch.faults import named, table
from nano4m_audio.fetch.history import Retry, due
from nano4m_audio.fetch.ledger import Attempt

#: A larger share of answers that the table does not know is an alarm.
MAX_UNKNOWN = 0.02
#: In this order kinds are shown.
KINDS = ("ok", "permanent", "long", "transient", "address", "config")
#: A longer time is counted by days.
_MOST_HOURS = 72
_UNKNOWN_TEXTS = 20


@dataclass(frozen=True)
class Wanted:
    """A video: its segments with their classes, and those of them that are not there."""

    video_id: str
    classes: Mapping[str, str]
    missing: frozenset[str]


@dataclass(frozen=True)
class Counts:
    """Numbers of segments: listed = there + due + later + given_up."""

    listed: int = 0
    there: int = 0
    due: int = 0
    later: int = 0
    given_up: int = 0


@dataclass(frozen=True)
class Plan:
    """What is due now, and how long it takes at ``rate_per_hour`` videos an hour."""

    videos: int
    videos_due: int
    rate_per_hour: float
    asked: int
    total: Counts
    classes: dict[str, Counts]

    @property
    def hours(self) -> float:
        return self.videos_due / self.rate_per_hour

    @property
    def gone_share(self) -> float | None:
        """Of the segments of which the outcome is known, those that cannot be had."""
        known = self.total.there + self.total.given_up
        return self.total.given_up / known if known else None

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("class", "listed", "there", "due", "later", "given up")]
        counts = [*sorted(self.classes.items()), ("all", self.total)]
        rows += [(name, *(f"{n:,}" for n in (c.listed, c.there, c.due, c.later, c.given_up)))
                 for name, c in counts]  # fmt: skip
        wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join([row[0].ljust(wide[0]), *(cell.rjust(w) for cell, w in
                 zip(row[1:], wide[1:], strict=True))]) for row in rows]  # fmt: skip
        lines.append(
            f"{self.videos_due:,} of {self.videos:,} videos are due: about {duration(self.hours)} "
            f"at {self.rate_per_hour:g} videos an hour"
        )
        if self.gone_share is None:
            lines.append("nothing is known of them yet; of AudioSet and VGGSound about "
                         "three quarters are still to be had")  # fmt: skip
        else:
            lines.append(f"{self.gone_share:.1%} of the segments with a known outcome were given "
                         f"up ({self.asked:,} videos asked for so far)")  # fmt: skip
        return "\n".join(lines)


def make_plan(
    wanted: Iterable[Wanted],
    ledger: Mapping[str, Sequence[Attempt]],
    now: datetime,
    rate_per_hour: float,
    retry: Retry = "",
) -> Plan:
    """Count what ``history.due`` decides of every video and its segments."""
    found: Counter[tuple[str, str]] = Counter()
    videos = videos_due = asked = 0
    for video in wanted:
        videos += 1
        looks = ledger.get(video.video_id, ())
        asked += bool(looks)
        decision = due(looks, now, retry, missing=video.missing)
        state = {"now": "due", "later": "later", "never": "given_up"}[decision.ask]
        videos_due += bool(video.missing) and decision.ask == "now"
        for clip_id, class_name in video.classes.items():
            found[class_name, state if clip_id in video.missing else "there"] += 1
    by_class: dict[str, dict[str, int]] = {}
    for (class_name, state), n in found.items():
        counts = by_class.setdefault(class_name, {"listed": 0})
        counts[state], counts["listed"] = n, counts["listed"] + n
    total = Counter[str]()
    for counts in by_class.values():
        total.update(counts)
    classes = {name: Counts(**counts) for name, counts in by_class.items()}
    return Plan(videos, videos_due, rate_per_hour, asked, Counts(**total), classes)


def explain(video_id: str, looks: Sequence[Attempt], now: datetime) -> str:
    """All attempts of a video, what they mean, when it is asked for again, and what helps."""
    if not looks:
        return f"{video_id}: it was not asked for yet"
    lines = [f"{video_id}: asked for {len(looks)} time{'s' if len(looks) > 1 else ''}"]
    for look in looks:
        status = f" HTTP {look.http_status}" if look.http_status else ""
        said = f"{look.name} ({look.kind}){status}{': ' if look.raw else ''}{look.raw}"
        lines.append(f"  {look.attempt}. {_minute(look.started_at)} {said}")
        lines += [f"     warning: {text}" for text in look.warnings]
    lines.append(due(looks, now).why)
    if looks[-1].kind != "ok":
        lines.append(f"advice: {named(looks[-1].name).advice}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Bin:
    """The answers of an hour or a day, by kind."""

    start: datetime
    kinds: dict[str, int]


@dataclass(frozen=True)
class Summary:
    """The health of all that was asked for. Shares are of all answers."""

    asked: int
    videos: int
    asked_per_hour: float
    kinds: dict[str, int]
    names: dict[str, int]
    eta_h: float | None
    bin_h: Literal[1, 24]
    bins: list[Bin]
    openings: list[Opening]
    unknown_texts: list[tuple[str, int]]
    versions: dict[str, int]

    def share(self, kind_or_name: str) -> float:
        """The share of a kind or name among all answers; 0 where nothing was asked."""
        n = self.kinds.get(kind_or_name, self.names.get(kind_or_name, 0))
        return n / self.asked if self.asked else 0.0

    @property
    def healthy(self) -> bool:
        """Whether the table knows what the site answers."""
        return self.share("unknown") <= MAX_UNKNOWN

    @property
    def health(self) -> str:
        """One line."""
        line = f"{self.asked_per_hour:,.0f} asked an hour"
        for kind, name in (("ok", "ok"), ("address", "walls"), ("unknown", "unknown")):
            line += f", {self.share(kind):.1%} {name}"
        if self.eta_h is not None:
            line += f", {duration(self.eta_h)} to go"
        if not self.healthy:
            line += (f": more than {MAX_UNKNOWN:.0%} of the answers are new to a table of "
                     f"{table().checked}")  # fmt: skip
        return line


def summarise(
    attempts: Sequence[Attempt],
    breaker: sources.Breaker,
    *,
    videos_due: int | None = None,
    rate_per_hour: float | None = None,
) -> Summary:
    """Count the ledger's rows. What is due takes as long as at the speed of the last hour, or, if
    that is not known, at ``rate_per_hour``."""
    rows = sorted(attempts, key=lambda row: row.ended_at)
    speed = _speed(rows)
    per_hour = speed or rate_per_hour
    eta_h = videos_due / per_hour if videos_due is not None and per_hour else None
    bin_h, bins = _bins(rows)
    sessions = {row.session for row in rows}
    opened = [o for session in sorted(sessions) for o in openings(breaker, rows, session)]
    unknown = Counter(row.raw for row in rows if row.name == "unknown")
    return Summary(
        asked=len(rows),
        videos=len({row.video_id for row in rows}),
        asked_per_hour=speed,
        kinds=_counted(row.kind for row in rows),
        names=_counted(row.name for row in rows),
        eta_h=eta_h,
        bin_h=bin_h,
        bins=bins,
        openings=sorted(opened, key=lambda opening: opening.at),
        unknown_texts=unknown.most_common(_UNKNOWN_TEXTS),
        versions=_counted(row.yt_dlp for row in rows if row.yt_dlp),
    )


def duration(hours: float) -> str:
    """A time in words: 20 min, 3.5 h, 12 days."""
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.3g} h" if hours < 48 else f"{hours / 24:,.3g} days"


def _speed(rows: Sequence[Attempt]) -> float:
    """Videos asked for in the last hour with answers; 0 when there are too few to say."""
    if len(rows) < 2:
        return 0.0
    end = rows[-1].ended_at
    recent = [row.started_at for row in rows if row.started_at > end - timedelta(hours=1)]
    hours = (end - min(recent)).total_seconds() / 3600 if recent else 0.0
    return len(recent) / hours if len(recent) > 1 and hours > 0 else 0.0


def _bins(rows: Sequence[Attempt]) -> tuple[Literal[1, 24], list[Bin]]:
    """The answers by hour, or by day; hours without any are left out."""
    if not rows:
        return 1, []
    span_h = (rows[-1].ended_at - rows[0].ended_at).total_seconds() / 3600
    bin_h: Literal[1, 24] = 1 if span_h <= _MOST_HOURS else 24
    found: dict[datetime, Counter[str]] = {}
    for row in rows:
        start = row.ended_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        start = start.replace(hour=0) if bin_h == 24 else start
        found.setdefault(start, Counter())[row.kind] += 1
    return bin_h, [Bin(start, dict(kinds)) for start, kinds in sorted(found.items())]


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
