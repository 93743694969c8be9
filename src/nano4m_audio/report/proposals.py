"""What a run's own numbers say should be changed: rules, each of which names its number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from nano4m_audio.config.curate import Verdict
from nano4m_audio.filters import FILTERS, Filter
from nano4m_audio.intervals import MIN_GROUPS
from nano4m_audio.report.inputs import Clip, ReportInputs
from nano4m_audio.report.text import count, signed

#: A clip this near to a threshold may well be on the wrong side of it.
_NEAR = 0.05
#: So many clips, and such a part of those scored, make a threshold worth moving.
_MANY, _MANY_SHARE = 5, 0.02
#: A class with so small a part of the middle class's clips is short of them.
_SHORT = 2 / 3
_PROPOSALS = 2


@dataclass(frozen=True)
class Sentence:
    """Plain text, and the sections of the page that its numbers come from."""

    text: str
    sections: tuple[str, ...]


def find_metric(evaluation: Mapping[str, Any], probe: str, name: str) -> Mapping[str, Any] | None:
    """A metric of an evaluation, or None where it was not measured."""
    metrics = evaluation.get(probe, {}).get("metrics", [])
    found = next((metric for metric in metrics if metric["name"] == name), None)
    return found if found and found["value"] is not None else None


def proposals(inputs: ReportInputs, found: Mapping[str, Any]) -> list[Sentence]:
    """The first of the rules that apply, what spoils the other numbers first; ``found`` are the
    values of the page's sections by name."""
    proposed = [
        *_after_copies(found),
        *_after_few_groups(inputs),
        *_after_mistakes(found),
        *_after_filters(found),
        *_after_thresholds(inputs, found),
        *_after_gaps(found["metrics"].details),
        *_after_classes(inputs.clips),
    ]
    nothing = Sentence("Nothing stands out in the numbers of this run.", ("funnel",))
    return proposed[:_PROPOSALS] or [nothing]


def _after_copies(found: Mapping[str, Any]) -> list[Sentence]:
    leak = found["split"].leak
    if not leak or not leak.copies:
        return []
    text = f"Take the copies ({count(len(leak.copies))}) out of the test clips, and evaluate again."
    return [Sentence(text, ("split",))]


def _after_few_groups(inputs: ReportInputs) -> list[Sentence]:
    split = inputs.config["evaluate"]["split"]
    clips = [clip for clip in inputs.clips if clip.split.get("split") == split]
    groups = len({clip.split["group"] for clip in clips})
    if groups >= MIN_GROUPS:
        return []
    fewest = _fewest(inputs.clips)
    more = f", of {fewest[0]} ({count(fewest[1])}) before all" if fewest else ""
    text = (
        f"Get more clips{more}: {count(groups)} independent groups of {split} clips are too few, "
        f"from {MIN_GROUPS} on there are intervals."
    )
    return [Sentence(text, ("split",))]


def _after_mistakes(found: Mapping[str, Any]) -> list[Sentence]:
    truth = found.get("truth")
    wrong = truth.precision.n - truth.precision.k if truth else 0
    lost = truth.recall.n - truth.recall.k if truth else 0
    if not wrong and not lost:
        return []
    parts = [f"{count(n)} wrongly {what}" for n, what in ((wrong, "kept"), (lost, "lost")) if n]
    clips = "clip is" if wrong + lost == 1 else "clips are"
    text = (
        f"Look at the filters' mistakes: by the truth {count(wrong + lost)} {clips} on the wrong "
    )
    text += f"side ({', '.join(parts)})."
    return [Sentence(text, ("truth",))]


def _none_lost(found: Mapping[str, Any]) -> bool:
    """Whether the truth says that no good clip is lost: looser filters would win nothing."""
    truth = found.get("truth")
    return bool(truth and truth.recall.n and truth.recall.k == truth.recall.n)


def _after_filters(found: Mapping[str, Any]) -> list[Sentence]:
    rows = {row.reason: row for row in FILTERS}
    alone = [r for r in found["funnel"].reasons if r.reason in rows and r.alone]
    if not alone or _none_lost(found):
        return []
    most = max(alone, key=lambda r: r.alone)
    clips = "clip that passes" if most.alone == 1 else "clips that pass"
    text = (
        f"Hear and see what the {rows[most.reason].title.lower()} filter rejects: it alone stops "
        f"{count(most.alone)} {clips} every other filter, the most of all."
    )
    return [Sentence(text, ("funnel",))]


def _after_thresholds(inputs: ReportInputs, found: Mapping[str, Any]) -> list[Sentence]:
    if _none_lost(found):
        return []
    settings = Verdict.model_validate(inputs.config["verdict"])
    near = [(row, *near_threshold(inputs.clips, row, settings)) for row in FILTERS]
    many = [
        (sum(sides), row, sides)
        for row, sides, scored in near
        if sum(sides) >= max(_MANY, _MANY_SHARE * scored)
    ]
    if not many:
        return []
    n, row, (below, above) = max(many, key=lambda found: found[0])
    text = (
        f"Try {row.key} on both sides of {settings.threshold(row):g}: {count(n)} clips are within "
        f"{_NEAR} of it, {count(below)} below and {count(above)} above."
    )
    return [Sentence(text, ("scores",))]


def near_threshold(
    clips: Sequence[Clip], row: Filter, settings: Verdict
) -> tuple[tuple[int, int], int]:
    """How many clips lie close below and above the general threshold of a filter of shares or
    scores, and how many have its number. Clips on the threshold, such as all that are free of
    speech, are near nothing."""
    limit = settings.threshold(row)
    if limit is None or row.unit not in ("", "share"):
        return (0, 0), 0
    values = [float(v) for clip in clips if (v := clip.verdict[row.column]) is not None]
    gaps = [gap for v in values if 1e-6 < abs(gap := v - limit) <= _NEAR]
    return (sum(gap < 0 for gap in gaps), sum(gap > 0 for gap in gaps)), len(values)


def _after_gaps(evaluation: Mapping[str, Any]) -> list[Sentence]:
    for name, what in (("audio_gap", "sounds"), ("rgb_gap", "pictures")):
        gap = find_metric(evaluation, "memorisation", name)
        if not gap or gap["low"] is None or gap["low"] <= 0:
            continue
        if (gap.get("baseline") or {}).get("verdict") != "worse":
            continue  # counts of the training clips know them better, too
        text = (
            f"Train on more clips, or for fewer steps: the rest of training {what} is known "
            f"{signed(gap['value'])} nats a token better than that of new ones, more than counting "
            "explains."
        )
        return [Sentence(text, ("metrics-memorisation",))]
    return []


def _fewest(clips: Sequence[Clip]) -> tuple[str, int, float] | None:
    """The class with the fewest complete clips, their number, and that of the middle class."""
    totals = Counter(clip.class_name for clip in clips if clip.complete)
    if len(totals) < 2:
        return None
    name, n = min(totals.items(), key=lambda item: (item[1], item[0]))
    return name, n, median(totals.values())


def _after_classes(clips: Sequence[Clip]) -> list[Sentence]:
    fewest = _fewest(clips)
    if not fewest or fewest[1] > _SHORT * fewest[2]:
        return []
    name, n, middle = fewest
    text = f"Get more clips of {name}: {count(n)} are kept, the middle class has {middle:g}."
    return [Sentence(text, ("split",))]
