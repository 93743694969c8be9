"""How well the filters and the search for copies did, where the truth about the clips is known."""

from __future__ import annotations

import csv
import itertools
import math
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.errors import UserError
from nano4m_audio.filters import LISTED, Filter
from nano4m_audio.intervals import Interval, group_numbers, share_interval
from nano4m_audio.reasons import Reason
from nano4m_audio.report.funnel import own_thresholds
from nano4m_audio.report.inputs import Clip, ReportInputs

_COLUMNS = {"file", "kind", "expected", "duplicate_of"}
_SHOWN_MISTAKES = 40
_GRADES = (-1.0, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Judged:
    """A clip whose truth is known. ``kept`` is the decision on it (see ``_decisions``)."""

    clip: Clip
    file: str
    kind: str
    expected: str
    kept: bool
    #: How hard it is to judge, from 0 to 1, where the truth says so.
    hard: float | None = None

    @property
    def right(self) -> bool:
        return self.expected == "either" or self.kept == (self.expected == "keep")


@dataclass(frozen=True)
class Share:
    """k of n; value is None for n = 0. ``interval`` is at 95 % and over groups of clips: None where
    they are too few, or where it is not asked for."""

    k: int
    n: int
    interval: Interval | None = None

    @property
    def value(self) -> float | None:
        return self.k / self.n if self.n else None


@dataclass(frozen=True)
class Truth:
    """Everything the section on the truth shows."""

    precision: Share
    recall: Share
    either: int
    unlisted: int
    unknown: int
    kinds: list[dict[str, Any]]
    grades: list[dict[str, Any]]
    mistakes: list[Judged]
    more_mistakes: int
    copies: dict[str, Any] = field(default_factory=dict)
    #: The filters whose numbers are shown: not those that nobody asked for.
    filters: Sequence[Filter] = LISTED
    own: Sequence[str] = ()


def read_truth(path: Path) -> dict[str, dict[str, str]]:
    """The truth by normalised file path. Raises UserError when a column is missing."""
    try:
        with open(path, newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle)
            missing = _COLUMNS - set(reader.fieldnames or [])
            if missing:
                raise UserError(f"{path}: the columns {', '.join(sorted(missing))} are missing")
            return {posixpath.normpath(row["file"]): row for row in reader}
    except FileNotFoundError:
        raise UserError(f"{path}: no such truth file") from None


def collect(inputs: ReportInputs) -> Truth | None:
    """The decisions on the clips against the truth; None where it is not known."""
    if inputs.truth_csv is None:
        return None
    own = own_thresholds(inputs.config["verdict"]["per_class"])
    return replace(compare(inputs.clips, read_truth(inputs.truth_csv)), own=own)


def compare(clips: Sequence[Clip], truth: Mapping[str, Mapping[str, str]]) -> Truth:
    """Precision and recall of "keep", what happened to every planted kind, and the mistakes."""
    known = _known(clips, truth)
    judged = judge(clips, truth)
    decided = [j for j in judged if j.expected != "either"]
    mistakes = [j for j in decided if not j.right]
    listed = {posixpath.normpath(c.path) for c, _ in known}
    return Truth(
        precision=_right([j for j in decided if j.kept]),
        recall=_right([j for j in decided if j.expected == "keep"]),
        either=len(judged) - len(decided),
        unlisted=len(set(truth) - listed),
        unknown=len(clips) - len(known),
        kinds=_kinds(judged),
        grades=_grades(decided),
        mistakes=mistakes[:_SHOWN_MISTAKES],
        more_mistakes=max(0, len(mistakes) - _SHOWN_MISTAKES),
        copies=_copies(known),
        filters=[row for row in LISTED if row.default is not None or _is_known(row, mistakes)],
    )


def judge(clips: Sequence[Clip], truth: Mapping[str, Mapping[str, str]]) -> list[Judged]:
    """The decisions on those clips whose truth is known."""
    known = _known(clips, truth)
    kept = _decisions(known)
    return [
        Judged(c, row["file"], row["kind"], expected_of(row), kept[c.clip_id], _hard(row))
        for c, row in known
    ]


def _known(
    clips: Sequence[Clip], truth: Mapping[str, Mapping[str, str]]
) -> list[tuple[Clip, Mapping[str, str]]]:
    return [(c, truth[p]) for c in clips if (p := posixpath.normpath(c.path)) in truth]


def _is_known(row: Filter, judged: Sequence[Judged]) -> bool:
    """Whether any clip has the filter's number."""
    return any(j.clip.verdict[row.column] is not None for j in judged)


def _right(judged: Sequence[Judged]) -> Share:
    """How many were decided rightly."""
    return share_of([j.clip for j in judged], [j.right for j in judged])


def share_of(clips: Sequence[Clip], hits: Sequence[bool]) -> Share:
    """How many of the clips are hits, with an interval over groups of clips."""
    found = np.array(hits, np.int64)
    named = [{"video_id": clip.video_id, "group": clip.split.get("group")} for clip in clips]
    interval = share_interval(found, np.ones(len(found)), group_numbers(named))
    return Share(int(found.sum()), len(found), interval)


def expected_of(row: Mapping[str, str]) -> str:
    """keep, reject or either. Raises UserError for anything else."""
    word = row["expected"].split(":")[0].strip()
    if word not in ("keep", "reject", "either"):
        raise UserError(
            f"truth: {row['file']}: expected is {row['expected']!r}, not keep or reject"
        )
    return word


def _hard(row: Mapping[str, str]) -> float | None:
    """How hard a clip is to judge, if the truth says so. Raises UserError for what is no number
    from 0 to 1."""
    if not (text := row.get("hard")):
        return None
    try:
        hard = float(text)
    except ValueError:
        hard = math.nan
    if not 0 <= hard <= 1:
        raise UserError(f"truth: {row['file']}: hard is {text!r}, not a number from 0 to 1")
    return hard


def _grades(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """How many clips were kept, by how hard they are: of those that should be, and of the others.
    Nothing where none is hard."""
    known = [j for j in judged if j.hard is not None]
    if not any(j.hard for j in known):
        return []
    rows = []
    for low, high in itertools.pairwise(_GRADES):
        mine = [j for j in known if low < (j.hard or 0) <= high]
        named = "not hard" if high == 0 else f"{low:g} to {high:g}"
        halves = ([j.kept for j in mine if j.expected == word] for word in ("keep", "reject"))
        good, bad = (Share(sum(kept), len(kept)) for kept in halves)
        rows.append({"grade": named, "good": good, "bad": bad})
    return rows


def _decisions(known: Sequence[tuple[Clip, Mapping[str, str]]]) -> dict[str, bool]:
    """Whether each clip was kept. Of a clip and its planted copies any one may stay: where a copy
    stayed instead of the original, the two swap places, as the dataset is the same."""
    kept = {c.clip_id: c.accepted and not c.split.get("duplicate_of") for c, _ in known}
    root = _roots(known)
    by_id = {clip.clip_id: (clip, row) for clip, row in known}
    for clip, row in known:
        if row["duplicate_of"] or clip.reasons[:1] != (str(Reason.DUPLICATE),):
            continue
        other = by_id.get(clip.split["duplicate_of"])
        if other and other[1]["duplicate_of"] and root[other[0].clip_id] == root[clip.clip_id]:
            kept[clip.clip_id], kept[other[0].clip_id] = True, False
    return kept


def _roots(known: Sequence[tuple[Clip, Mapping[str, str]]]) -> dict[str, str]:
    """Clip id -> the file that it is, or is a planted copy of."""
    copies = {posixpath.normpath(row["file"]): row["duplicate_of"] for _, row in known}
    roots = {}
    for clip, row in known:
        here = posixpath.normpath(row["file"])
        for _ in range(len(copies)):  # copies of copies; a circle in the list ends the walk too
            if not copies.get(here):
                break
            here = posixpath.normpath(copies[here])
        roots[clip.clip_id] = here
    return roots


def _kinds(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """One row per planted kind: n, how many were rejected, by which first reasons."""
    rows = []
    for kind in sorted({j.kind for j in judged}, key=lambda k: (k != "good", k)):
        mine = [j for j in judged if j.kind == kind]
        gone = [j for j in mine if not j.kept]
        # A copy that stayed in place of its original counts as rejected, by the search for copies.
        reasons = Counter(j.clip.reasons[0] if j.clip.reasons else "duplicate" for j in gone)
        words = {j.expected for j in mine}
        rows.append(
            {
                "kind": kind,
                "expected": words.pop() if len(words) == 1 else "mixed",
                "rejected": Share(len(gone), len(mine)),
                "wrong": sum(not j.right for j in mine),
                "reasons": sorted(reasons.items(), key=lambda x: (-x[1], x[0])),
            }
        )
    return rows


def _copies(known: Sequence[tuple[Clip, Mapping[str, str]]]) -> dict[str, Any]:
    """Planted pairs found, and clips dropped as copies of something they are no copy of."""
    by_file = {posixpath.normpath(row["file"]): clip for clip, row in known}
    root = _roots(known)
    pairs = [
        (clip, by_file[original])
        for clip, row in known
        if row["duplicate_of"] and (original := posixpath.normpath(row["duplicate_of"])) in by_file
    ]
    reachable = [p for p in pairs if all(clip.accepted for clip in p)]
    found = [(a, b) for a, b in reachable if a.split["group"] == b.split["group"]]
    false = [
        clip
        for clip, _ in known
        if (kept := clip.split.get("duplicate_of")) in root and root[kept] != root[clip.clip_id]
    ]
    return {
        "planted": len(pairs),
        "reachable": len(reachable),
        "found": Share(len(found), len(reachable)),
        "false": false,
    }
