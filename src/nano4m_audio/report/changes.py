"""What is different since the last report that was different.

Each report leaves a summary (what became of every clip, the config, the metrics) in
``results/store/report/``, named by its content, and ``last.json`` names it (``now``) and the one
before (``before``). A report whose summary is still ``now`` compares with ``before`` again: made
anew from the same tables, the page stays the same. Older summaries are removed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from nano4m_audio.files import write_bytes, write_json
from nano4m_audio.paths import Results
from nano4m_audio.report import metrics
from nano4m_audio.report.inputs import COMPLETE, ReportInputs

#: At most so many clips, keys and metrics are shown of each kind.
MOST = 40
_LAST = "last.json"
#: What ``before`` names where something was there that could not be read.
_UNREADABLE = "unreadable"


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Measured(_Plain):
    """One metric of an evaluation; ``first``: it is shown before others of its probe."""

    title: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    first: bool


class Summary(_Plain):
    """``clips``: id -> (class, what became of it); ``config``: dotted key -> value; ``metrics``:
    probe.name -> value. A file of another ``format`` is not compared."""

    format: Literal[1] = 1
    clips: dict[str, tuple[str, str]]
    config: dict[str, Any]
    metrics: dict[str, Measured]

    @property
    def digest(self) -> str:
        """Of what was found; how metrics are titled and ordered changes nothing."""
        values = self.model_dump(mode="json", exclude={"metrics": {"__all__": {"title", "first"}}})
        text = json.dumps(values, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def text(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Moved:
    """A clip that was won or lost: what it was, and is now; None: no candidate."""

    clip_id: str
    class_name: str
    before: str | None
    now: str | None


@dataclass(frozen=True)
class Changed:
    """A config key; values are as in YAML, None where the key was not there."""

    key: str
    before: str | None
    now: str | None


@dataclass(frozen=True)
class Shift:
    """A metric before and now. ``overlap`` of the intervals: None where one has none."""

    before: Measured
    now: Measured
    overlap: bool | None


@dataclass(frozen=True)
class Changes:
    """What the section shows. With a ``note`` there is nothing to compare with. ``classes``:
    (name, kept before, won, lost, kept now) of those that changed."""

    note: str = ""
    won: tuple[Moved, ...] = ()
    lost: tuple[Moved, ...] = ()
    classes: tuple[tuple[str, int, int, int, int], ...] = ()
    candidates_new: int = 0
    candidates_gone: int = 0
    otherwise: int = 0
    config: tuple[Changed, ...] = ()
    metrics: tuple[Shift, ...] = ()
    more_metrics: int = 0


def collect(inputs: ReportInputs) -> Changes | None:
    """The comparison with the summary before; None where there is none, as for a first report."""
    now = summarise(inputs)
    before = _before(_folder(inputs), now.digest)
    if not before:
        return None
    try:
        text = (_folder(inputs) / f"{before}.json").read_bytes()
        return compare(Summary.model_validate_json(text), now)
    except (OSError, ValidationError):
        return Changes(
            note="The summary of the last report is gone, damaged, or from another version: "
            "there is nothing to compare with."
        )


def keep(inputs: ReportInputs) -> None:
    """Leave the summary for the next report. Raises UserError where the disk does not take it."""
    folder, now = _folder(inputs), summarise(inputs)
    before = _before(folder, now.digest)
    write_bytes(folder / f"{now.digest}.json", now.text.encode())
    write_json(folder / _LAST, {"now": now.digest, "before": before})
    for path in folder.glob("*.json"):
        if path.name != _LAST and path.stem not in (now.digest, before):
            path.unlink(missing_ok=True)


def _folder(inputs: ReportInputs) -> Path:
    return Results(inputs.results).store / "report"


def _before(folder: Path, now: str) -> str:
    """The digest of the summary to compare with; "" for none."""
    try:
        last = json.loads((folder / _LAST).read_text("utf-8"))
        known, before = str(last["now"]), str(last["before"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, TypeError, KeyError):
        return _UNREADABLE
    found = before if known == now else known
    return found if not found or set(found) <= set("0123456789abcdef") else _UNREADABLE


def summarise(inputs: ReportInputs) -> Summary:
    """What the next report compares with."""
    rows = metrics.collect(inputs).rows
    return Summary(
        clips={
            clip.clip_id: (clip.class_name, clip.reasons[0] if clip.reasons else clip.stop)
            for clip in inputs.clips
        },
        config=flat(inputs.config),
        metrics={
            f"{row.probe}.{row.name}": Measured(
                title=row.title,
                unit=row.unit,
                value=row.ours["value"],
                low=row.ours["low"],
                high=row.ours["high"],
                n=row.ours["n"],
                first=row.first,
            )
            for row in rows
            if row.ours
        },
    )


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value of nested sections; an empty section is a value."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def config_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Changed, ...]:
    """The keys of two flat configs that differ, in the order of the second."""
    keys = [*now, *(key for key in before if key not in now)]
    different = [k for k in keys if (k in before) != (k in now) or before.get(k) != now.get(k)]
    return tuple(Changed(k, _shown(before, k), _shown(now, k)) for k in different)


def _shown(config: Mapping[str, Any], key: str) -> str | None:
    return json.dumps(config[key], ensure_ascii=False) if key in config else None


def compare(before: Summary, now: Summary) -> Changes:
    """What was won and lost, and which keys and metrics differ."""
    had, has = _kept(before), _kept(now)
    won = [_moved(clip, before, now) for clip in sorted(has - had)]
    lost = [_moved(clip, before, now) for clip in sorted(had - has)]
    common = before.clips.keys() & now.clips.keys()
    other = sum(before.clips[c] != now.clips[c] for c in common) - sum(
        m.before is not None and m.now is not None for m in (*won, *lost)
    )
    counts = [Counter(m.class_name for m in moved) for moved in (won, lost)]
    old, new = (Counter(s.clips[c][0] for c in _kept(s)) for s in (before, now))
    names = sorted(counts[0].keys() | counts[1].keys())
    shifts = [
        Shift(before.metrics[key], metric, _overlap(before.metrics[key], metric))
        for key, metric in now.metrics.items()
        if key in before.metrics and before.metrics[key].value != metric.value
    ]
    shifts.sort(key=lambda shift: (shift.overlap is not False, not shift.now.first))
    shown = [s for s in shifts if s.now.first or s.overlap is False][:MOST]
    return Changes(
        won=tuple(won),
        lost=tuple(lost),
        classes=tuple((n, old[n], counts[0][n], counts[1][n], new[n]) for n in names),
        candidates_new=len(now.clips.keys() - before.clips.keys()),
        candidates_gone=len(before.clips.keys() - now.clips.keys()),
        otherwise=other,
        config=config_changes(before.config, now.config),
        metrics=tuple(shown),
        more_metrics=len(shifts) - len(shown),
    )


def _kept(summary: Summary) -> set[str]:
    return {clip for clip, (_, fate) in summary.clips.items() if fate == COMPLETE}


def _moved(clip_id: str, before: Summary, now: Summary) -> Moved:
    was, is_now = before.clips.get(clip_id), now.clips.get(clip_id)
    name = (is_now or was or ("", ""))[0]
    return Moved(clip_id, name, was and was[1], is_now and is_now[1])


def _overlap(one: Measured, other: Measured) -> bool | None:
    if None in (one.low, one.high, other.low, other.high):
        return None
    return bool(one.low <= other.high and other.low <= one.high)  # type: ignore[operator]
