"""The acquire stages: candidates of a source, their media files, and decoded clips."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nano4m_audio.acquire.child import Limits
from nano4m_audio.acquire.hashes import hashes_of
from nano4m_audio.acquire.listing import with_folder_classes
from nano4m_audio.acquire.media import check_media, find_file, region_of, with_places
from nano4m_audio.config.schema import DecodeFiles
from nano4m_audio.config.sources import Barnyard, Candidates, Files
from nano4m_audio.files import write_json
from nano4m_audio.modalities import WINDOW_S
from nano4m_audio.paths import Results
from nano4m_audio.progress import track
from nano4m_audio.reasons import LIMITS
from nano4m_audio.shards import set_shards
from nano4m_audio.store import Item, RowStore, publish
from nano4m_audio.tables import content_key, read_rows, shard_of, write_rows
from nano4m_audio.versions import stage_version


def film_barnyard(results: Results, settings: Barnyard, workers: int) -> None:
    """Render the synthetic world into ``results/barnyard`` (media/, clips.csv, truth.csv)."""
    from nano4m_audio.barnyard.build import build

    build(results / "barnyard", **settings.model_dump(), workers=workers)


def list_candidates(results: Results, settings: Candidates) -> None:
    """Write the candidates of the source, one table per shard, the number of shards, and
    ``listing.json``: what files were left out, and how the clips' videos are known."""
    settings = with_folder_classes(settings)
    source, n_shards = settings.chosen_source, settings.n_shards
    module, _, function = source.candidates.partition(":")
    list_source = getattr(importlib.import_module(module), function)
    rows, findings = list_source(source, results, settings.classes)
    shards: dict[int, list[dict[str, Any]]] = {i: [] for i in range(n_shards)}
    for row in sorted(rows, key=lambda r: r["clip_id"]):
        shards[shard_of(row["video_id"], n_shards)].append(row)
    for path, shard_rows in zip(
        results.tables("candidates", n_shards), shards.values(), strict=True
    ):
        write_rows(path, "candidates", shard_rows)
    write_json(results.listing, asdict(findings))
    for line in findings.lines():
        print(line, file=sys.stderr)
    set_shards(results.root, n_shards)


def check_files(results: Results, shard: str, settings: Files) -> None:
    """Write the media table: for each candidate its file's size and SHA-256, or what is wrong.

    Files of a folder source are read where they lie; nothing is copied. What was hashed before and
    is, by size, times and inode, the same file is not read again. Of what was fetched, the
    table ``fetched`` says where it lies, or why there is nothing.
    """
    candidates = read_rows(results.table("candidates", shard), "candidates")
    fetched = read_rows(results.table("fetched", shard), "fetched") if settings.fetched else None
    places, hashes = with_places(candidates, fetched), hashes_of(results.store, shard)
    rows = check_media(places, Path(settings.root), settings.follow_links, hashes)
    hashes.keep()
    version = stage_version("media")
    for row in rows:
        row["key"] = content_key("media", version, row["status"], row["reason"], row["sha256"])
    write_rows(results.table("media", shard), "media", rows)


def decode_clips(results: Results, shard: str, settings: DecodeFiles) -> None:
    """Publish the clips table: one row per readable file, decoded in one pass.

    What a file's bytes decide is kept under their hash. A refusal by the limits is kept under hash
    and limits, so that other limits try just those files again. Anything else is not kept.
    """
    root, follow_links = Path(settings.files.root), settings.files.follow_links
    name = "clips"
    limits = Limits(settings.memory_max_mb, settings.cpu_max_s, settings.wall_max_s)
    options = settings.model_dump(exclude={"memory_max_mb", "cpu_max_s", "wall_max_s", "files"})
    if settings.files.may_be_cut:
        options["may_be_cut"] = True
    items = [
        Item(
            row["clip_id"],
            content_key(name, stage_version(name), row["sha256"], options, *_window(row)),
            {
                "file": find_file(root, row["path"], follow_links) or root / row["path"],
                "path": row["path"],
                "sha256": row["sha256"],
                "region": region_of(row),
                "window": _window(row),
            },
        )
        for row in read_rows(results.table("media", shard), "media")
        if row["status"] == "ok"
    ]
    rows = RowStore(results.store, name, shard)

    def compute(todo: Sequence[Item]) -> Iterator[dict[str, Any]]:
        from nano4m_audio.acquire.clip_rows import decode_rows

        refusals = {content_key(item.key, asdict(limits)): item for item in todo}
        known = sorted(refusals.keys() - rows.missing(refusals))
        for row in rows.read(known).to_pylist():
            yield {**row, "key": refusals.pop(row["key"]).key, "transient": True}
        left = list(refusals.values())
        decoded = decode_rows([i.inputs for i in left], {**options, "min_clip_s": WINDOW_S}, limits)
        for (refusal, item), row in zip(
            refusals.items(), track(decoded, len(left), f"{name} {shard}"), strict=True
        ):
            if row["reason"] in LIMITS:
                rows.append([{**row, "key": refusal}])
                row["transient"] = True
            yield {**row, "key": item.key}

    publish(rows, items, compute, results.table(name, shard))


def _window(row: Mapping[str, Any]) -> tuple[float, ...]:
    """Which part of its file a clip is, in seconds; empty for all of it."""
    return () if row["file_end_s"] is None else (row["file_start_s"], row["file_end_s"])
