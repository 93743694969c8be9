"""Keyframes of a run as the image tokenizers see them, picked evenly and read from the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.label.maps import decode_depth, decode_normals, depth_image
from nano4m_audio.media.crop import keyframe_crops
from nano4m_audio.nano4m.keyframes import spread_keyframes
from nano4m_audio.progress import chunks
from nano4m_audio.shards import table_files
from nano4m_audio.store import opened
from nano4m_audio.tables import KEYFRAMES, read_rows, shard_names

_CHUNK = 8


@dataclass(frozen=True)
class Pick:
    """Some keyframes (0..9) of one clip; ``key`` names the stored row that holds them."""

    clip_id: str
    shard: str
    key: str
    keyframes: tuple[int, ...]
    selected: Mapping[str, Any]


def picture_tables(results: Path, modality: str, shards: int) -> list[Path]:
    """The tables of all shards that say which pictures of a modality there are."""
    names = ["selected", *([] if modality == "rgb" else [f"labels/{modality}"])]
    return [path for name in names for path in table_files(results, name, shards)]


def list_clips(results: Path, shards: int, modality: str, split: str) -> list[Pick]:
    """All clips of a split that have this modality, with all their keyframes, by clip id."""
    found = []
    for shard in shard_names(shards):
        keys = _label_keys(results, shard, modality) if modality != "rgb" else None
        for row in read_rows(results / "selected" / f"{shard}.parquet", "selected"):
            key = row["clip_key"] if keys is None else keys.get(row["clip_id"])
            if row["split"] == split and key is not None:
                found.append(Pick(row["clip_id"], shard, key, tuple(range(KEYFRAMES)), row))
    return sorted(found, key=lambda pick: pick.clip_id)


def _label_keys(results: Path, shard: str, modality: str) -> dict[str, str]:
    name = f"labels/{modality}"
    rows = read_rows(results / name / f"{shard}.parquet", name, ["clip_id", "key", "status"])
    return {row["clip_id"]: row["key"] for row in rows if row["status"] == "ok"}


def spread(clips: Sequence[Pick], most: int) -> list[Pick]:
    """At most ``most`` keyframes, from as many clips as possible, evenly spread in each clip."""
    chosen = [clips[i * len(clips) // most] for i in range(most)] if len(clips) > most else clips
    each = min(KEYFRAMES, most // max(1, len(chosen)))
    numbers = tuple(spread_keyframes(each))
    return [Pick(c.clip_id, c.shard, c.key, numbers, c.selected) for c in chosen]


def content_of(picks: Sequence[Pick]) -> list[Any]:
    """What the pictures of ``picks`` are made from, for content keys."""
    return [[p.key, [p.selected["keyframes"][k] for k in p.keyframes]] for p in picks]


def read_pictures(
    store: Path, modality: str, picks: Sequence[Pick]
) -> Iterator[tuple[Pick, np.ndarray]]:
    """Each pick with its pictures, float32 [K, channels, 224, 224] in -1..1, shard by shard."""
    ordered = sorted(picks, key=lambda pick: (pick.shard, pick.clip_id))
    for shard, group in groupby(ordered, lambda pick: pick.shard):
        for chunk in chunks(list(group), _CHUNK):
            yield from zip(chunk, _read(store, modality, shard, chunk), strict=True)


def rgb_image(crops: np.ndarray) -> np.ndarray:
    """uint8 [B, 224, 224, 3] -> float32 [B, 3, 224, 224] in -1..1."""
    return crops.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1


def map_images(modality: str, row: Mapping[str, Any]) -> np.ndarray:
    """Stored depth or normals -> float32 [K, 1 or 3, 224, 224] in -1..1."""
    if modality == "depth":
        return depth_image(decode_depth(row))
    return decode_normals(row).transpose(0, 3, 1, 2)


def _read(store: Path, modality: str, shard: str, picks: Sequence[Pick]) -> list[np.ndarray]:
    if modality == "rgb":
        rows = [
            {"clip_key": p.key, "keyframes": [p.selected["keyframes"][k] for k in p.keyframes]}
            for p in picks
        ]
        return [rgb_image(c) for c in keyframe_crops(opened(store, "clips", shard), rows)]
    table = opened(store, f"labels/{modality}", shard).read([p.key for p in picks])
    maps = []
    for pick, row in zip(picks, table.to_pylist(), strict=True):
        columns = [n for n in ("lowest", "highest", "maps") if n in row]
        some = {n: [row[n][k] for k in pick.keyframes] for n in columns}
        maps.append(map_images(modality, some))
    return maps
