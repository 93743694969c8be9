"""What can be wrong with a manifest: each check counts what it looks at and names what it finds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from nano4m_audio.audit.lists import Index
from nano4m_audio.audit.manifest import Manifest, Row
from nano4m_audio.filters import FILTERS, Filter
from nano4m_audio.media.windows import WINDOW_S

#: Clips of AudioSet and VGGSound; for rows that do not say where they end.
CLIP_S = 10.0
#: Names of files round starts down, and lists write whole seconds: nearer ones are the same clip.
SAME_S = 1.0


@dataclass(frozen=True)
class Check:
    """One question put to a manifest: what was looked at, how many were found, and which.

    ``unit`` says what is counted. ``not_checked`` says why nothing was looked at. What is no
    ``fault`` is only good to know.
    """

    name: str
    title: str
    unit: str
    checked: int = 0
    found: int = 0
    text: str = ""
    items: list[dict[str, Any]] = field(default_factory=list)
    not_checked: str = ""
    fault: bool = True


def thresholds(
    manifest: Manifest,
    limits: Mapping[str, float | None],
    per_class: Mapping[str, Mapping[str, float | None]],
) -> list[Check]:
    """One check per filter, and how many rows break any filter or several; ``limits`` hold where
    a class has no threshold of its own."""
    checks, broken = [], Counter[int]()
    for row in FILTERS:
        own = {name: told[row.key] for name, told in per_class.items() if row.key in told}
        check, failed = _threshold(manifest, row, limits.get(row.key), own)
        checks.append(check)
        broken.update(failed)
    done = [c for c in checks if not c.not_checked]
    if len(done) > 1:
        several = sum(n > 1 for n in broken.values())
        classes = _by_class(manifest.rows[i] for i in broken)
        checks.append(
            Check(
                "any_threshold", "break a threshold", "rows", len(manifest.rows), len(broken),
                f"{len(broken)} rows break one or more, {several} of them several{classes}",
            )
        )  # fmt: skip
    return checks


def _threshold(
    manifest: Manifest, filter_row: Filter, limit: float | None, own: Mapping[str, float | None]
) -> tuple[Check, list[int]]:
    name, title = filter_row.key, f"{filter_row.title}: {filter_row.key}"
    if filter_row.column not in manifest.columns:
        why = f"no column with the {filter_row.number}"
        return Check(name, title, "rows", not_checked=why), []
    if limit is None and all(value is None for value in own.values()):
        return Check(name, title, "rows", not_checked="the threshold is off"), []
    values = [row.numbers[filter_row.column] for row in manifest.rows]
    limit_of = [own.get(row.class_name, limit) for row in manifest.rows]
    failed = [i for i, value in enumerate(values) if filter_row.fails(value, limit_of[i])]
    known = [value for value in values if value is not None]
    side = ("below", "least", min) if filter_row.side == "min" else ("above", "largest", max)
    without = len(values) - len(known)
    extreme = f" ({side[1]} {side[2](known):.4g})" if known else ""
    blank = f"; {without} of them without a number" if without else ""
    classes = _by_class(manifest.rows[i] for i in failed)
    told = [_shown(limit), *(f"{name} {_shown(value)}" for name, value in own.items())]
    text = f"{len(failed)} {side[0]} {', '.join(told)}{extreme}{blank}{classes}"
    items = [{**_item(manifest.rows[i]), "value": values[i]} for i in failed]
    return Check(name, title, "rows", len(values), len(failed), text, items), failed


def _shown(limit: float | None) -> str:
    return "(off)" if limit is None else f"{limit:g}"


def _by_class(rows: Iterable[Row]) -> str:
    counts = Counter(row.class_name for row in rows if row.class_name)
    return "".join(f"; {name} {n}" for name, n in counts.most_common(5)) if counts else ""


def _item(row: Row) -> dict[str, Any]:
    return {"place": row.place, "clip": row.clip}


def by_video(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of every video whose id is known in full."""
    videos: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.video_id and not row.abbreviated:
            videos[row.video_id].append(row)
    return videos


def repeats(manifest: Manifest) -> list[Check]:
    """Videos with several clips, clips listed twice, and videos that two sources brought each."""
    videos = by_video(manifest.rows)
    n = sum(map(len, videos.values()))
    several = {v: rows for v, rows in videos.items() if len({r.start_s for r in rows}) > 1}
    clips = Counter(row.clip for rows in videos.values() for row in rows)
    twice = {clip: k for clip, k in clips.items() if k > 1}
    rows_of_several = sum(map(len, several.values()))
    return [
        Check(
            "several_starts", "videos with several starts", "videos", len(videos), len(several),
            f"{len(several)} videos have {rows_of_several} rows",
            [{"video": v, "starts": sorted({r.start_s or 0 for r in rows}), "rows": len(rows)}
             for v, rows in several.items()],
            fault=False,
        ),
        Check(
            "same_clip", "clips listed more than once", "clips", n, len(twice),
            f"{len(twice)} clips (video and start) have {sum(twice.values())} rows",
            [{"clip": clip, "rows": k} for clip, k in twice.items()],
        ),
        _several_sources(manifest),
    ]  # fmt: skip


def _several_sources(manifest: Manifest) -> Check:
    """A video in rows of disjoint sources: each source brought it, and nobody noticed."""
    title = "videos stored once per source"
    if not any(row.sources for row in manifest.rows):
        why = "no column names the source"
        return Check("several_sources", title, "videos", not_checked=why)
    videos = by_video(manifest.rows)
    full, short = {}, {}
    for video, rows in videos.items():
        if any(not set(a.sources) & set(b.sources) for a, b in combinations(rows, 2)):
            full[video] = [row.place for row in rows]
    for row, video in abbreviated(manifest.rows, videos):
        if video not in full and not any(set(row.sources) & set(r.sources) for r in videos[video]):
            short[video] = [row.place, *(r.place for r in videos[video])]
    return Check(
        "several_sources", title, "videos", len(videos), len(full) + len(short),
        f"{len(full) + len(short)} videos" + _by_beginning(len(short)),
        [{"video": v, "places": places} for v, places in {**full, **short}.items()],
    )  # fmt: skip


def _by_beginning(n: int) -> str:
    return f", {n} of them by the beginning of an id" if n else ""


def abbreviated(rows: Sequence[Row], videos: Mapping[str, Any]) -> Iterator[tuple[Row, str]]:
    """Every row with the beginning of an id, with each of the ``videos`` that begins so."""
    short = [row for row in rows if row.abbreviated and row.video_id]
    for length in {len(row.video_id) for row in short}:
        begins: dict[str, list[str]] = defaultdict(list)
        for video in videos:
            begins[video[:length]].append(video)
        for row in short:
            if len(row.video_id) == length:
                yield from ((row, video) for video in begins.get(row.video_id, ()))


def overlaps(manifest: Manifest) -> list[Check]:
    """Pairs of clips of one video, and of their audio windows, that share time."""
    title = "clips of one video that overlap"
    if "start_s" not in manifest.columns:
        why = "no column says where clips start"
        return [Check("overlaps", title, "pairs", not_checked=why)]
    without_end = sum(row.end_s is None for row in manifest.rows)
    taken = f" ({CLIP_S:g} s each where no end is given)" if without_end else ""
    checks = [_overlap("overlaps", title, manifest, _clip_span, taken)]
    title = f"audio windows of {WINDOW_S:.3f} s that overlap"
    if "window_start_s" in manifest.columns:
        return [*checks, _overlap("window_overlaps", title, manifest, _window_span, "")]
    why = "no column says where windows start"
    return [*checks, Check("window_overlaps", title, "pairs", not_checked=why)]


def _clip_span(row: Row) -> tuple[float, float] | None:
    if row.start_s is None:
        return None
    return row.start_s, row.start_s + CLIP_S if row.end_s is None else row.end_s


def _window_span(row: Row) -> tuple[float, float] | None:
    if row.start_s is None or row.window_start_s is None:
        return None
    start = row.start_s + row.window_start_s
    return start, start + WINDOW_S


def _overlap(
    name: str,
    title: str,
    manifest: Manifest,
    span: Callable[[Row], tuple[float, float] | None],
    note: str,
) -> Check:
    items, looked = [], 0
    for rows in by_video(manifest.rows).values():
        spans = sorted((s, i) for i, row in enumerate(rows) if (s := span(row)))
        looked += len(spans)
        for k, ((_, end), i) in enumerate(spans):
            for (start, _), j in spans[k + 1 :]:
                if start >= end:
                    break
                items.append({"clips": [rows[i].clip, rows[j].clip], "shared_s": end - start})
    text = f"{len(items)} pairs{note}"
    return Check(name, title, "pairs", looked, len(items), text, items)


def leaks(manifest: Manifest) -> list[Check]:
    """Videos (and groups, where they are told) that are in two splits, pair by pair."""
    splits = [s for s in ("train", "val", "test") if any(r.split == s for r in manifest.rows)]
    if len(splits) < 2:
        why = "rows do not say which split they are in: give --splits"
        return [Check("leaks", "videos in two splits", "videos", not_checked=why)]
    rows = {s: [r for r in manifest.rows if r.split == s] for s in splits}
    checks = [_leak(rows[a], rows[b], a, b) for a, b in combinations(splits, 2)]
    if "group" in manifest.columns:
        groups = [(row.group, row.split) for row in manifest.rows if row.group and row.split]
        found = crossing(groups)
        text = f"{len(found)} groups"
        items = [{"group": group} for group in found]
        title = "groups of copies in two splits"
        checks.append(
            Check("group_leaks", title, "groups", len(dict(groups)), len(found), text, items)
        )
    return checks


def crossing(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The names that are in more than one split, of (name, split) pairs; sorted."""
    splits: dict[str, set[str]] = defaultdict(set)
    for name, split in pairs:
        splits[name].add(split)
    return sorted(name for name, found in splits.items() if len(found) > 1)


def _leak(first: Sequence[Row], second: Sequence[Row], a: str, b: str) -> Check:
    videos = by_video(first), by_video(second)
    full = {video: "video id" for video in videos[0] if video in videos[1]}
    same = sum(_same_start(videos[0][v], videos[1][v]) for v in full)
    short: dict[str, str] = {}
    for one, other in ((first, videos[1]), (second, videos[0])):
        short |= {v: row.place for row, v in abbreviated(one, other) if v not in full}
    held = sum(len(videos[1].get(v, ())) for v in {**full, **short})
    text = (
        f"{len(full) + len(short)} videos{_by_beginning(len(short))}; "
        f"{same} with the same start; {held} of {len(second)} rows of {b}"
    )
    items = [{"video": v, "by": by} for v, by in {**full, **short}.items()]
    title = f"videos in both {a} and {b}"
    n = len(videos[0].keys() | videos[1].keys())
    return Check(f"leak_{a}_{b}", title, "videos", n, len(items), text, items)


def _same_start(first: Sequence[Row], second: Sequence[Row]) -> bool:
    return any(_near(a.start_s, b.start_s) for a in first for b in second)


def _near(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and abs(a - b) < SAME_S


def membership(manifest: Manifest, splits: Sequence[Manifest]) -> list[Check]:
    """Rows of the split files that the manifest does not have, and the other way round."""
    mine = by_video(manifest.rows)
    listed = [row for other in splits for row in other.rows]
    theirs = by_video(listed)
    strays = [
        row
        for video, rows in theirs.items()
        for row in rows
        if not any(_near(row.start_s, r.start_s) for r in mine.get(video, ()))
    ]
    missing = [row for video, rows in mine.items() if video not in theirs for row in rows]
    short = {video for _, video in abbreviated(listed, mine) if video not in theirs}
    inside = [r for r in manifest.rows if r.video_id in theirs or r.video_id in short]
    known = sum(map(len, theirs.values()))
    text = f"{len(missing)} rows; {len(inside)} have their video there{_by_class(inside)}"
    if short:
        text += f" ({sum(r.video_id in short for r in inside)} by the beginning of an id)"
    return [
        Check(
            "not_in_manifest", "in a split file and not in the manifest", "rows", known,
            len(strays), f"{len(strays)} of {known} rows", [_item(row) for row in strays],
        ),
        Check(
            "not_in_splits", "in the manifest, their video in no split file", "rows",
            sum(map(len, mine.values())), len(manifest.rows) - len(inside), text,
            [_item(row) for row in missing if row.video_id not in short],
        ),
    ]  # fmt: skip


def sources(manifest: Manifest, index: Index) -> list[Check]:
    """Rows whose source the lists contradict, and AudioSet videos with more than one clip."""
    title = "sources that the lists contradict"
    if not any(row.sources for row in manifest.rows):
        why = "no column names the source"
        return [Check("sources", title, "rows", not_checked=why)]
    checks = [_one_segment(manifest)]
    if not index:
        why = "give --lists with the CSV files of AudioSet or VGGSound"
        return [*checks, Check("sources", title, "rows", not_checked=why)]
    rows = [row for row in manifest.rows if row.sources and not row.abbreviated]
    for kind in sorted(index):
        checks += _contradictions(rows, kind, index)
    return checks


def _one_segment(manifest: Manifest) -> Check:
    """AudioSet has one segment of every video."""
    ours = [row for row in manifest.rows if "audioset" in row.sources]
    videos = by_video(ours)
    several = {v: rows for v, rows in videos.items() if len({r.start_s for r in rows}) > 1}
    return Check(
        "audioset_segments", "AudioSet videos with several starts (it has one each)", "videos",
        len(videos), len(several),
        f"{len(several)} videos, {sum(map(len, several.values()))} rows",
        [{"video": v, "rows": [r.place for r in rows]} for v, rows in several.items()],
    )  # fmt: skip


def _contradictions(rows: Sequence[Row], kind: str, index: Index) -> list[Check]:
    says = [row for row in rows if kind in row.sources]
    absent = [row for row in says if not _listed(row, index[kind])]
    others = {
        other: sum(_listed(row, index[other]) for row in absent) for other in index if other != kind
    }
    elsewhere = "".join(f"; {n} of them are clips of {other}" for other, n in others.items() if n)
    silent = [row for row in rows if kind not in row.sources and _listed(row, index[kind])]
    return [
        Check(
            f"not_in_{kind}", f"say {kind} and are not in its lists", "rows", len(says),
            len(absent), f"{len(absent)} of {len(says)}{elsewhere}",
            [_item(row) for row in absent],
        ),
        Check(
            f"silent_about_{kind}", f"are in the {kind} lists and do not say so", "rows",
            len(rows) - len(says), len(silent), f"{len(silent)} of {len(rows) - len(says)}",
            [_item(row) for row in silent],
        ),
    ]  # fmt: skip


def _listed(row: Row, starts: Mapping[str, set[float]]) -> bool:
    return any(_near(row.start_s, start) for start in starts.get(row.video_id, ()))
