"""What the page is told of every clip, column by column, and the page itself.

Its data are JSON in a block that no browser runs; the script makes text of it, never HTML.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from markupsafe import Markup

from nano4m_audio.browser.maps import View, as_data, drawing, neighbours
from nano4m_audio.browser.media import CLIP_ENDINGS, MAP_ENDINGS, SHOWN, SIZE_PX
from nano4m_audio.config.schema import ClipsPageSettings
from nano4m_audio.config.tokenizers import TokenizeSettings
from nano4m_audio.filters import CATALOGUE, LISTED, Filter
from nano4m_audio.modalities import LABELS, MODALITIES, WINDOW_S
from nano4m_audio.report.inputs import COMPLETE, FETCH_STOPS, STOPS, Clip
from nano4m_audio.report.stage import render_page
from nano4m_audio.report.truth import Judged
from nano4m_audio.tokenize.stage import caption_of

#: Digits of a score.
_DIGITS = 4
_CSS = resources.files("nano4m_audio.report").joinpath("static", "clips.css")
_SPLITS = ("train", "val", "test")
#: Where a clip can stop -> what became of it.
_STOP_WORDS = {
    **{stop: words for stop, (_, words) in {**FETCH_STOPS, **STOPS}.items()},
    COMPLETE: "in the dataset",
}


@dataclass(frozen=True)
class Known:
    """What is known of clips besides their rows: by id the row of its index with the shard, and the
    length of what was decoded; decisions whose truth is known."""

    media: Mapping[str, Mapping[str, str]]
    durations_s: Mapping[str, float]
    judged: Sequence[Judged] = ()


def in_order(clips: Sequence[Clip]) -> list[Clip]:
    """The rows of the page."""
    return sorted(clips, key=lambda clip: clip.clip_id)


def collect(clips: Sequence[Clip], settings: ClipsPageSettings, known: Known) -> dict[str, Any]:
    """Plain values: names and thresholds, and columns with one entry per clip in the order of ids.

    What few clips have is an object from row to value.
    """
    rows = in_order(clips)
    place = {clip.clip_id: i for i, clip in enumerate(rows)}
    found = {clip.stop for clip in rows}
    names = {
        "classes": sorted({clip.class_name for clip in rows}),
        "sources": sorted({clip.source for clip in rows}),
        "stops": [stop for stop in _STOP_WORDS if stop in found],
        "reasons": sorted({reason for clip in rows for reason in clip.reasons}),
    }
    filters = [f for f in LISTED if any(c.verdict[f.column] is not None for c in rows)]
    return {
        "classes": names["classes"],
        "captions": [_caption(name, settings) for name in names["classes"]],
        "sources": names["sources"],
        "splits": _SPLITS,
        "stops": [[stop, _STOP_WORDS[stop]] for stop in names["stops"]],
        "reasons": [[name, CATALOGUE.get(name, name)] for name in names["reasons"]],
        "filters": [_filter(f, settings, names["classes"]) for f in filters],
        "media": _about_media(settings),
        "window_s": WINDOW_S,
        "scores": [[_short(clip.verdict[f.column]) for clip in rows] for f in filters],
        **_columns(rows, names, known),
        **_of_few(rows, names, known, place),
    }


def _about_media(settings: ClipsPageSettings) -> dict[str, Any]:
    """Where files are and what their names end with."""
    return {
        "folder": "clips_media",
        "clip": CLIP_ENDINGS,
        "maps": [[name, MODALITIES[name].title, MAP_ENDINGS[0]] for name in LABELS],
        "size": SIZE_PX,
        "shown": len(SHOWN),
        "most": settings.clips,
    }


def _columns(
    rows: Sequence[Clip], names: Mapping[str, Sequence[str]], known: Known
) -> dict[str, list[Any]]:
    """One entry per clip; names are numbers of lists."""
    number = {what: {name: i for i, name in enumerate(found)} for what, found in names.items()}
    return {
        "id": [clip.clip_id for clip in rows],
        "path": [clip.path for clip in rows],
        "class": [number["classes"][clip.class_name] for clip in rows],
        "source": [number["sources"][clip.source] for clip in rows],
        "stop": [number["stops"][clip.stop] for clip in rows],
        "split": [_split(clip) for clip in rows],
        "duration": [_short(known.durations_s.get(clip.clip_id)) for clip in rows],
        "window": [_short(clip.verdict["window_start_s"]) for clip in rows],
    }


def _of_few(
    rows: Sequence[Clip],
    names: Mapping[str, Sequence[str]],
    known: Known,
    place: Mapping[str, int],
) -> dict[str, Any]:
    """What not every clip has, by row."""
    number = {name: i for i, name in enumerate(names["reasons"])}
    shown = {place[name]: row for name, row in known.media.items() if name in place}
    return {
        "video": _by_row(rows, lambda c: c.video_id if _other_video(c) else None),
        "why": _by_row(rows, lambda c: [number[name] for name in c.reasons] or None),
        "message": _by_row(rows, lambda c: c.message if c.stop != "duplicate" else None),
        "start": _by_row(rows, lambda c: c.start_s or None),
        "copy_of": _by_row(rows, lambda c: place.get(c.split.get("duplicate_of") or "")),
        "nearest": _by_row(rows, lambda c: _nearest(c, place)),
        "frames": {
            i: [_short(rows[i].verdict["keyframe_times_s"][k]) for k in SHOWN] for i in shown
        },
        "files": shown,
        "groups": _groups(rows),
        "truth": {place[j.clip.clip_id]: [j.kind, j.expected, int(j.right)] for j in known.judged},
    }


def _by_row(rows: Sequence[Clip], value: Callable[[Clip], Any]) -> dict[int, Any]:
    """The values that are not None, nor an empty text, by row."""
    found = ((i, value(clip)) for i, clip in enumerate(rows))
    return {i: one for i, one in found if one is not None and one != ""}


def _other_video(clip: Clip) -> bool:
    """Whether the id of a clip does not begin with that of its video."""
    return clip.clip_id.rpartition("@")[0] != clip.video_id


def _caption(class_name: str, settings: ClipsPageSettings) -> str:
    """The caption of a class; nothing for one that the config does not know."""
    told = TokenizeSettings(**{"modality": "caption", **settings.captions})
    return caption_of(class_name, told) if class_name in told.classes else ""


def _filter(row: Filter, settings: ClipsPageSettings, classes: Sequence[str]) -> dict[str, Any]:
    """What a filter compares, and its threshold for each class (null: off)."""
    return {
        "title": row.title,
        "number": row.number,
        "unit": row.unit,
        "side": row.side,
        "reason": row.reason,
        "limits": [settings.verdict.threshold(row, name) for name in classes],
    }


def _split(clip: Clip) -> int:
    name = clip.split.get("split")
    return _SPLITS.index(name) if name in _SPLITS else -1


def _nearest(clip: Clip, place: Mapping[str, int]) -> list[Any] | None:
    """Row of the nearest training clip, and how alike pictures and sounds are."""
    row = place.get(clip.split.get("nearest_train") or "")
    if row is None:
        return None
    return [row, *(_short(clip.split[f"nearest_{what}"]) for what in ("picture", "sound"))]


def _groups(rows: Sequence[Clip]) -> list[list[int]]:
    """The rows of every group of more than one clip."""
    groups = defaultdict(list)
    for i, clip in enumerate(rows):
        if clip.split.get("group"):
            groups[clip.split["group"]].append(i)
    return [members for members in groups.values() if len(members) > 1]


def _short(value: float | None) -> float | None:
    """A number with few digits; None for none."""
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def script_json(value: Any) -> Markup:
    """JSON that ends no script block, whatever texts are in it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def render(data: Mapping[str, Any], title: str, maps: Sequence[View] = ()) -> str:
    """The HTML of the page. The places on ``maps`` are in the order of the data's rows."""
    classes = [data["classes"][i] for i in data["class"]]
    return render_page(
        "clips.html.j2",
        ("map.js", "clips.js"),
        title=title,
        data=script_json({**data, "maps": as_data(maps)}),
        counts={"clips": len(data["id"]), "shown": len(data["files"])},
        maps=maps,
        beside=neighbours(maps[0], classes) if maps else [],
        drawing=drawing(maps[0], classes) if maps else "",
        own_css=Markup(_CSS.read_text("utf-8")),
    )
