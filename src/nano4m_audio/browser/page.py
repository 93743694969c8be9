"""What the page is told of every clip, column by column, and the page itself.

Its data are JSON in a block that no browser runs; the script makes text of it, never HTML.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from nano4m_audio.browser.media import CLIP_ENDINGS, MAP_ENDINGS, SHOWN, SIZE_PX
from nano4m_audio.config.schema import Config
from nano4m_audio.config.tokenizers import TokenizeSettings
from nano4m_audio.filters import CATALOGUE, LISTED
from nano4m_audio.modalities import LABELS, MODALITIES, WINDOW_S
from nano4m_audio.report.inputs import COMPLETE, FETCH_STOPS, STOPS, Clip
from nano4m_audio.report.stage import render_page
from nano4m_audio.report.truth import Judged
from nano4m_audio.tokenize.stage import caption_of

#: Digits of a score.
_DIGITS = 4
_SPLITS = ("train", "val", "test")


def collect(
    clips: Sequence[Clip],
    config: Config,
    media: Mapping[str, Mapping[str, str]],
    durations_s: Mapping[str, float],
    judged: Sequence[Judged] = (),
) -> dict[str, Any]:
    """Plain values: names and thresholds, and columns with one entry per clip in the order of ids.

    What few clips have is an object from row to value. ``media`` are rows of the indexes, with
    their shard, by clip.
    """
    rows = sorted(clips, key=lambda clip: clip.clip_id)
    place = {clip.clip_id: i for i, clip in enumerate(rows)}
    classes = sorted({clip.class_name for clip in rows})
    sources = sorted({clip.source for clip in rows})
    stops = [stop for stop in (*FETCH_STOPS, *STOPS, COMPLETE) if any(c.stop == stop for c in rows)]
    filters = [f for f in LISTED if any(c.verdict[f.column] is not None for c in rows)]
    reasons = sorted({reason for clip in rows for reason in clip.reasons})
    words = {**FETCH_STOPS, **STOPS, COMPLETE: ("", "in the dataset")}
    about_class = {name: i for i, name in enumerate(classes)}
    return {
        "classes": classes,
        "captions": [_caption(name, config) for name in classes],
        "sources": sources,
        "splits": _SPLITS,
        "stops": [[stop, words[stop][1]] for stop in stops],
        "reasons": [[name, CATALOGUE.get(name, name)] for name in reasons],
        "filters": [_filter(f, config, classes) for f in filters],
        "media": {
            "folder": "clips_media",
            "clip": CLIP_ENDINGS,
            "maps": [[name, MODALITIES[name].title, MAP_ENDINGS[0]] for name in LABELS],
            "size": SIZE_PX,
            "shown": len(SHOWN),
            "most": config.report.browser,
        },
        "window_s": WINDOW_S,
        "id": [clip.clip_id for clip in rows],
        "video": _few(rows, lambda c: c.video_id, lambda c: c.clip_id.rpartition("@")[0]),
        "path": [clip.path for clip in rows],
        "class": [about_class[clip.class_name] for clip in rows],
        "source": [sources.index(clip.source) for clip in rows],
        "stop": [stops.index(clip.stop) for clip in rows],
        "split": [_split(clip) for clip in rows],
        "why": _few(rows, lambda c: [reasons.index(name) for name in c.reasons]),
        "message": _few(rows, lambda c: "" if c.stop == "duplicate" else c.message),
        "start": _few(rows, lambda c: c.start_s),
        "duration": [_short(durations_s.get(clip.clip_id)) for clip in rows],
        "window": [_short(clip.verdict["window_start_s"]) for clip in rows],
        "frames": {
            i: [_short(clip.verdict["keyframe_times_s"][k]) for k in SHOWN]
            for i, clip in enumerate(rows)
            if clip.clip_id in media
        },
        "scores": [[_short(clip.verdict[f.column]) for clip in rows] for f in filters],
        "groups": _groups(rows),
        "copy_of": _few(rows, lambda c: place.get(c.split.get("duplicate_of") or "")),
        "nearest": _few(rows, lambda c: _nearest(c, place)),
        "files": {place[name]: row for name, row in media.items() if name in place},
        "truth": {place[j.clip.clip_id]: [j.kind, j.expected, int(j.right)] for j in judged},
    }


def _caption(class_name: str, config: Config) -> str:
    """The caption of a class; nothing for one that the config does not know."""
    settings = TokenizeSettings(**config.tokenize_settings("caption"))
    return caption_of(class_name, settings) if class_name in settings.classes else ""


def _filter(row: Any, config: Config, classes: Sequence[str]) -> dict[str, Any]:
    """What a filter compares, and its threshold for each class (null: off)."""
    return {
        "title": row.title,
        "number": row.number,
        "unit": row.unit,
        "side": row.side,
        "reason": row.reason,
        "limits": [config.verdict.threshold(row, name) for name in classes],
    }


def _few(
    rows: Sequence[Clip],
    value: Callable[[Clip], Any],
    usual: Callable[[Clip], Any] = lambda clip: None,
) -> dict[int, Any]:
    """The values that are not empty, nor the usual ones, by row."""
    found = ((i, value(clip), usual(clip)) for i, clip in enumerate(rows))
    empty = (None, "", [], 0.0)
    # A row number of 0 is a value: it is an int, and 0.0 is none.
    return {
        i: v for i, v, u in found if v != u and (type(v) is int or not any(v == e for e in empty))
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


def render(data: Mapping[str, Any], title: str) -> str:
    """The HTML of the page."""
    return render_page(
        "clips.html.j2",
        ("clips.js",),
        title=title,
        data=script_json(data),
        counts={"clips": len(data["id"]), "shown": len(data["files"])},
        own_css=Markup(_own_css()),
        stops=data["stops"],
    )


def _own_css() -> str:
    from importlib import resources

    return resources.files("nano4m_audio.report").joinpath("static", "clips.css").read_text("utf-8")
