"""The acquire stages: candidates of a source, their media files, and decoded clips."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nano4m_audio.acquire import folder
from nano4m_audio.acquire.child import Limits
from nano4m_audio.acquire.media import check_media, find_file
from nano4m_audio.config.schema import Barnyard, Decode, Folder
from nano4m_audio.errors import UserError
from nano4m_audio.files import write_json
from nano4m_audio.modalities import WINDOW_S
from nano4m_audio.progress import track
from nano4m_audio.reasons import LIMITS
from nano4m_audio.store import Item, RowStore, publish
from nano4m_audio.tables import LISTING, content_key, read_rows, shard_names, shard_of, write_rows
from nano4m_audio.versions import STAGE_VERSIONS


def film_barnyard(out_folder: Path, settings: Barnyard, workers: int) -> None:
    """Render the synthetic world into ``out_folder`` (media/, clips.csv, truth.csv)."""
    from nano4m_audio.barnyard.build import build

    build(out_folder, **settings.model_dump(), workers=workers)


def list_candidates(
    settings: Folder, classes: Sequence[str], n_shards: int, out_folder: Path
) -> None:
    """Write the candidates of a folder, one table per shard, and ``listing.json``: what files were
    left out, and how the clips' videos are known."""
    root = Path(settings.root)
    if not root.is_dir():
        raise UserError(f"folder.root: {settings.root!r} is not a folder")
    findings = folder.Findings()
    if settings.clips_csv is None:
        rows = folder.scan_folder(root, classes, findings)
    else:
        rows = folder.read_candidates(root, root / settings.clips_csv, classes, findings)
    if not rows:
        raise UserError(f"folder.root: no clips are listed in {settings.root!r}")
    shards: dict[int, list[dict[str, Any]]] = {i: [] for i in range(n_shards)}
    for row in sorted(rows, key=lambda r: r["clip_id"]):
        shards[shard_of(row["video_id"], n_shards)].append(row)
    for name, shard_rows in zip(shard_names(n_shards), shards.values(), strict=True):
        write_rows(out_folder / f"{name}.parquet", "candidates", shard_rows)
    write_json(out_folder / LISTING, asdict(findings))
    for line in findings.lines():
        print(line, file=sys.stderr)


def check_files(candidates: Path, root: Path, out: Path, follow_links: bool = False) -> None:
    """Write the media table: for each candidate its file's size and SHA-256, or what is wrong.

    Files of a folder source are read where they lie; nothing is copied.
    """
    rows = check_media(read_rows(candidates, "candidates"), root, follow_links)
    version = STAGE_VERSIONS["media"]
    for row in rows:
        row["key"] = content_key("media", version, row["status"], row["reason"], row["sha256"])
    write_rows(out, "media", rows)


def decode_clips(
    media: Path,
    root: Path,
    store: Path,
    shard: str,
    out: Path,
    settings: Decode,
    follow_links: bool = False,
) -> None:
    """Publish the clips table: one row per readable file, decoded in one pass.

    What a file's bytes decide is kept under their hash. A refusal by the limits is kept under hash
    and limits, so that other limits try just those files again. Anything else is not kept.
    """
    name = "clips"
    limits = Limits(settings.memory_max_mb, settings.cpu_max_s, settings.wall_max_s)
    options = settings.model_dump(exclude={"memory_max_mb", "cpu_max_s", "wall_max_s"})
    items = [
        Item(
            row["clip_id"],
            content_key(name, STAGE_VERSIONS[name], row["sha256"], options),
            {
                "file": find_file(root, row["path"], follow_links) or root / row["path"],
                "path": row["path"],
                "sha256": row["sha256"],
            },
        )
        for row in read_rows(media, "media")
        if row["status"] == "ok"
    ]
    rows = RowStore(store, name, shard)

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

    publish(rows, items, compute, out)
