"""Keyframes of a run as the image tokenizers see them, picked evenly and read from the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.label.maps import FORMS
from nano4m_audio.media.crop import keyframe_crops
from nano4m_audio.modalities import KEYFRAMES, MODALITIES
from nano4m_audio.nano4m.data import spread_keyframes
from nano4m_audio.paths import Results
from nano4m_audio.progress import chunks
from nano4m_audio.store import opened
from nano4m_audio.tables import read_rows

_CHUNK = 8


@dataclass(frozen=True)
class Pick:
    """Some keyframes (0..9) of one clip; ``key`` names the stored row that holds them."""

    clip_id: str
    shard: str
    key: str
    keyframes: tuple[int, ...]
    selected: Mapping[str, Any]

    @classmethod
    def whole(cls, selected: Mapping[str, Any], shard: str, key: str) -> Pick:
        """All keyframes of a row of the selected table."""
        return cls(selected["clip_id"], shard, key, tuple(range(KEYFRAMES)), selected)


def image_tables(results: Results, modality: str, n_shards: int | None = None) -> list[Path]:
    """The tables of all shards that say which images of a modality there are."""
    labels = [f"labels/{modality}"] if MODALITIES[modality].estimator else []
    return [path for name in ("selected", *labels) for path in results.tables(name, n_shards)]


def list_clips(results: Results, modality: str, split: str) -> list[Pick]:
    """All clips of a split that have this modality, with all their keyframes, by clip id."""
    found = []
    for shard in results.shards:
        estimated = bool(MODALITIES[modality].estimator)
        labels = label_keys(results, shard, modality) if estimated else {}
        for row in read_rows(results.table("selected", shard), "selected"):
            key, usable = labels[row["clip_id"]] if estimated else (row["clip_key"], True)
            if row["split"] == split and usable:
                found.append(Pick.whole(row, shard, key))
    return sorted(found, key=lambda pick: pick.clip_id)


def label_keys(results: Results, shard: str, modality: str) -> dict[str, tuple[str, bool]]:
    """The key of every clip's maps, and whether there are any."""
    name = f"labels/{modality}"
    rows = read_rows(results.table(name, shard), name, ["clip_id", "key", "status"])
    return {row["clip_id"]: (row["key"], row["status"] == "ok") for row in rows}


def spread(clips: Sequence[Pick], most: int) -> list[Pick]:
    """At most ``most`` keyframes, from as many clips as possible, evenly spread in each clip."""
    chosen = [clips[i * len(clips) // most] for i in range(most)] if len(clips) > most else clips
    each = min(KEYFRAMES, most // max(1, len(chosen)))
    numbers = tuple(spread_keyframes(each))
    return [replace(clip, keyframes=numbers) for clip in chosen]


def content_of(picks: Sequence[Pick]) -> list[Any]:
    """What the images of ``picks`` are made from, for content keys."""
    return [[p.key, [p.selected["keyframes"][k] for k in p.keyframes]] for p in picks]


def read_all(
    store: Path, modality: str, picks: Sequence[Pick]
) -> Iterator[tuple[Pick, np.ndarray]]:
    """Each pick with its images, as read_images, shard by shard."""
    for chunk in by_shard(picks):
        yield from zip(chunk, read_images(store, modality, chunk), strict=True)


def by_shard(picks: Sequence[Pick]) -> Iterator[list[Pick]]:
    """The picks in the order of shards and clips, a few of one shard at a time."""
    ordered = sorted(picks, key=lambda pick: (pick.shard, pick.clip_id))
    for _, group in groupby(ordered, lambda pick: pick.shard):
        yield from map(list, chunks(list(group), _CHUNK))


def read_images(store: Path, modality: str, picks: Sequence[Pick]) -> list[np.ndarray]:
    """What the tokenizer sees of picks of one shard: float32 [K, channels, 224, 224] in -1..1."""
    if MODALITIES[modality].estimator:
        return read_maps(store, modality, picks)
    rows = [
        {"clip_key": p.key, "keyframes": [p.selected["keyframes"][k] for k in p.keyframes]}
        for p in picks
    ]
    return [rgb_image(c) for c in keyframe_crops(opened(store, "clips", picks[0].shard), rows)]


def read_maps(store: Path, modality: str, picks: Sequence[Pick]) -> list[np.ndarray]:
    """Stored maps of picks of one shard, as the tokenizer sees them: see read_images."""
    row, shard = MODALITIES[modality], picks[0].shard
    columns = [*(name for name, _ in row.columns), "maps"]
    found = opened(store, f"labels/{modality}", shard).read([p.key for p in picks], columns)
    return [
        FORMS[row.form].images({c: [maps[c][k] for k in pick.keyframes] for c in columns})
        for pick, maps in zip(picks, found.to_pylist(), strict=True)
    ]


def rgb_image(crops: np.ndarray) -> np.ndarray:
    """uint8 [B, 224, 224, 3] -> float32 [B, 3, 224, 224] in -1..1."""
    return crops.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
