"""The stages of the browser of clips: media of a shard, and the page over all of them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nano4m_audio.browser import media, page
from nano4m_audio.browser.choose import choose
from nano4m_audio.browser.maps import make_views
from nano4m_audio.config.schema import ClipMediaSettings, ClipsPageSettings
from nano4m_audio.files import read_json, remove_leftovers, write_bytes, write_json
from nano4m_audio.modalities import LABELS
from nano4m_audio.paths import Results
from nano4m_audio.progress import chunks, track
from nano4m_audio.report.inputs import Clip, read_clips, read_shard
from nano4m_audio.report.truth import Judged, judge, read_truth
from nano4m_audio.store import opened
from nano4m_audio.tables import content_key, read_rows
from nano4m_audio.tokenize.keyframes import label_keys
from nano4m_audio.versions import stage_version

_CHUNK = 8


@dataclass(frozen=True)
class _Shown:
    """A clip with media: the digests that name its files, and the keys of its maps."""

    clip: Clip
    row: dict[str, str]
    maps: Mapping[str, str]


def show_shard(results: Results, shard: str, settings: ClipMediaSettings) -> None:
    """Write the media of a shard's clips, as far as they are not there, and the index of them.

    Files that no clip of the index names go, at the end. Raises UserError for missing tables or
    rows, and where the disk is full.
    """
    split = {row["clip_id"]: row for row in read_rows(results.split, "split")}
    clips = read_shard(results.root, shard, split)
    copied = {row["duplicate_of"] for row in split.values()} - {""}
    most = _part(settings.clips, shard, results.shards)
    mistakes = {j.clip.clip_id for j in _judged(clips, settings.truth) if not j.right}
    chosen = choose(clips, most, mistakes, copied, settings.verdict)
    shown = _named(results, shard, chosen)
    out = results.clip_media(shard)
    folder = out.with_suffix("")
    made = _make(results, shard, folder, shown)
    remove_leftovers(folder)
    named = {name for entry in shown for name in media.names_of(entry.row)}
    gone = media.remove_others(folder, named)
    write_json(out, {entry.clip.clip_id: entry.row for entry in shown})
    what = f"{len(shown)} clips, {made} made, {gone} files gone"
    print(f"clip_media {shard}: {what}", file=sys.stderr)


def _part(most: int | None, shard: str, shards: Sequence[str]) -> int | None:
    """The equal part of a shard in ``most`` clips."""
    if most is None:
        return None
    return most // len(shards) + (shards.index(shard) < most % len(shards))


def _judged(clips: Sequence[Clip], truth: str | None) -> list[Judged]:
    return judge(clips, read_truth(Path(truth))) if truth else []


def _named(results: Results, shard: str, clips: Sequence[Clip]) -> list[_Shown]:
    """The names of the files of each clip."""
    version = stage_version("clip_files")
    labels = {name: label_keys(results, shard, name) for name in LABELS}
    shown = []
    for clip in clips:
        frames = media.keyframes_shown(clip.verdict["keyframes"])
        row = {"clip": content_key(version, clip.verdict["clip_key"], frames)}
        maps = {}
        for name, keys in labels.items():
            key, usable = keys.get(clip.clip_id, ("", False))
            if usable:
                row[name], maps[name] = content_key(version, name, key), key
        shown.append(_Shown(clip, row, maps))
    return shown


def _make(results: Results, shard: str, folder: Path, shown: Sequence[_Shown]) -> int:
    """Write the files that are missing; return of how many clips."""
    todo = {
        tuple(entry.row.values()): entry
        for entry in shown
        if media.missing(folder, entry.row["clip"], media.CLIP_ENDINGS)
        or any(media.missing(folder, entry.row[m], media.MAP_ENDINGS) for m in entry.maps)
    }
    for _ in track(_write(results, shard, folder, list(todo.values())), len(todo), "clip media"):
        pass
    return len(todo)


def _write(results: Results, shard: str, folder: Path, todo: Sequence[_Shown]) -> Iterator[_Shown]:
    decoded = opened(results.store, "clips", shard)
    for chunk in chunks(todo, _CHUNK):
        new = [e for e in chunk if media.missing(folder, e.row["clip"], media.CLIP_ENDINGS)]
        keys = [entry.clip.verdict["clip_key"] for entry in new]
        stored = decoded.read(keys, ["frames", "audio_flac"])
        for place, entry in enumerate(new):
            frames = stored["frames"][place].as_py()
            picked = [frames[i] for i in media.keyframes_shown(entry.clip.verdict["keyframes"])]
            flac = stored["audio_flac"][place].as_py()
            media.write_clip(folder, entry.row["clip"], picked, flac)
        for name in LABELS:
            _write_maps(results, shard, folder, chunk, name)
        yield from chunk


def _write_maps(
    results: Results, shard: str, folder: Path, chunk: Sequence[_Shown], name: str
) -> None:
    new = [
        entry
        for entry in chunk
        if name in entry.maps and media.missing(folder, entry.row[name], media.MAP_ENDINGS)
    ]
    if not new:
        return
    keys = [entry.maps[name] for entry in new]
    stored = opened(results.store, f"labels/{name}", shard).read(keys, ["maps"])["maps"]
    for entry, maps in zip(new, stored.to_pylist(), strict=True):
        media.write_maps(folder, entry.row[name], [maps[k] for k in media.SHOWN])


def build_page(results: Results, settings: ClipsPageSettings) -> None:
    """Write clips.html: every candidate, and the media of those that have some.

    Media of shards that are no longer there go. Raises UserError for missing tables.
    """
    shards = results.shards
    media_of: dict[str, dict[str, str]] = {}
    for shard in shards:
        index = read_json(results.clip_media(shard), f"run: browse media --shard {shard}")
        for clip_id, row in index.items():
            media_of[clip_id] = {"shard": shard, **row}
    clips = read_clips(results.root)
    known = page.Known(media_of, _durations(results, shards), _judged(clips, settings.truth))
    data = page.collect(clips, settings, known)
    maps = make_views(results, [clip.clip_id for clip in page.in_order(clips)])
    write_bytes(results.clips_page, page.render(data, settings.title, maps).encode("utf-8"))
    _remove_old(results, shards)


def _durations(results: Results, shards: Sequence[str]) -> dict[str, float]:
    """The length [s] of every decoded clip."""
    found: dict[str, float] = {}
    for shard in shards:
        rows: list[dict[str, Any]] = read_rows(
            results.table("clips", shard), "clips", ["clip_id", "duration_s"]
        )
        found.update((row["clip_id"], row["duration_s"]) for row in rows if row["duration_s"])
    return found


def _remove_old(results: Results, shards: Sequence[str]) -> None:
    """Remove the media of shards beyond those of now."""
    for path in results.clip_media("0").parent.glob("[0-9]*"):
        if path.stem not in shards:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
