"""The acquire stages: candidates of a source, their media files, and decoded clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nano4m_audio.acquire import folder
from nano4m_audio.acquire.media import check_media
from nano4m_audio.config import WINDOW_S, Barnyard, Decode, Folder
from nano4m_audio.errors import UserError
from nano4m_audio.progress import track
from nano4m_audio.store import Item, RowStore, publish
from nano4m_audio.tables import content_key, read_rows, shard_names, shard_of, write_rows
from nano4m_audio.versions import STAGE_VERSIONS


def film_barnyard(out_folder: Path, settings: Barnyard, workers: int) -> None:
    """Render the synthetic world into ``out_folder`` (media/, clips.csv, truth.csv)."""
    from nano4m_audio.acquire.barnyard.build import build

    build(out_folder, **settings.model_dump(), workers=workers)


def list_candidates(
    settings: Folder, classes: Sequence[str], n_shards: int, out_folder: Path
) -> None:
    """Write the candidates of a folder, one table per shard; none that is listed is left out."""
    root = Path(settings.root)
    if not root.is_dir():
        raise UserError(f"folder.root: {settings.root!r} is not a folder")
    if settings.clips_csv is None:
        rows = folder.scan_folder(root, classes)
    else:
        rows = folder.read_candidates(root, root / settings.clips_csv, classes)
    if not rows:
        raise UserError(f"folder.root: no clips are listed in {settings.root!r}")
    shards: dict[int, list[dict[str, Any]]] = {i: [] for i in range(n_shards)}
    for row in sorted(rows, key=lambda r: r["clip_id"]):
        shards[shard_of(row["video_id"], n_shards)].append(row)
    for name, shard_rows in zip(shard_names(n_shards), shards.values(), strict=True):
        write_rows(out_folder / f"{name}.parquet", "candidates", shard_rows)


def check_files(candidates: Path, root: Path, out: Path) -> None:
    """Write the media table: for each candidate its file's size and SHA-256, or what is wrong.

    Files of a folder source are read where they lie; nothing is copied.
    """
    rows = check_media(read_rows(candidates, "candidates"), root)
    version = STAGE_VERSIONS["media"]
    for row in rows:
        row["key"] = content_key("media", version, row["status"], row["reason"], row["sha256"])
    write_rows(out, "media", rows)


def decode_clips(
    media: Path, root: Path, store: Path, shard: str, out: Path, settings: Decode
) -> None:
    """Publish the clips table: one row per readable file, decoded in one pass."""
    name = "clips"
    parts = settings.model_dump()
    items = [
        Item(
            row["clip_id"],
            content_key(name, STAGE_VERSIONS[name], row["sha256"], parts),
            {"path": str(root / row["path"])},
        )
        for row in read_rows(media, "media")
        if row["status"] == "ok"
    ]

    def compute(todo: Sequence[Item]) -> Iterator[dict[str, Any]]:
        rows = (_decoded_row(item, settings) for item in todo)
        yield from track(rows, len(todo), f"{name} {shard}")

    publish(RowStore(store, name, shard), items, compute, out)


def _decoded_row(item: Item, settings: Decode) -> dict[str, Any]:
    """Decode one file; a file that cannot be decoded is a row with its reason."""
    from nano4m_audio.acquire.decode import MediaError, decode_clip

    try:
        clip = decode_clip(Path(item.inputs["path"]), min_clip_s=WINDOW_S, **settings.model_dump())
    except MediaError as error:
        return {
            "key": item.key,
            "status": "failed",
            "reason": str(error.reason),
            "message": str(error),
        }
    columns = asdict(clip)
    columns["frame_times_s"] = list(columns["frame_times_s"])
    columns["n_frames"] = len(columns["frames"])
    return {"key": item.key, "status": "ok", "reason": "", "message": "", **columns}
