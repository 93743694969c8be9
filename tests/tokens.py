"""Small token tables for tests: random tokens of a few clips in shards, and their split."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from nano4m_audio.nano4m.settings import Modality
from nano4m_audio.paths import shard_names
from nano4m_audio.tables import write_rows

#: The sizes of the mini tokenizers.
MODALITIES = (
    Modality("rgb", 4_096, 196),
    Modality("audio", 2_048, 512, span_stride=2),
    Modality("depth", 1_024, 196),
    Modality("normals", 1_024, 196),
    Modality("caption", 50_304, 64),
)
CLASSES = ("cat", "dog", "pig")


def number_of(clip: str) -> int:
    return zlib.crc32(clip.encode())


def token_row(clip: str, name: str) -> dict:
    """A finished row of one modality; equal arguments give equal tokens."""
    modality = next(m for m in MODALITIES if m.name == name)
    rng = np.random.default_rng([number_of(clip), MODALITIES.index(modality)])
    shape = {"audio": (1, 512), "caption": (int(rng.integers(3, 9)),)}.get(name, (10, 196))
    tokens = rng.integers(0, modality.vocab_size, shape).tolist()
    return {
        "clip_id": clip, "key": f"{name}-{clip}", "status": "ok", "reason": "",
        "message": "", "tokens": tokens,
    }  # fmt: skip


def write_tokens(
    results: Path,
    splits: dict[str, str],
    shards: int = 2,
    changed: dict | None = None,
    videos: dict[str, str] | None = None,
) -> dict[str, list[Path]]:
    """Write ``splits`` (clip -> split) and its token tables; ``changed`` maps (modality, clip) to
    columns of that row that are different, ``videos`` clips to videos other than their own.
    Returns the shards of each modality."""
    clips, names = list(splits), shard_names(shards)
    rows = [
        {
            "clip_id": c,
            "video_id": (videos or {}).get(c, c),
            "class_name": CLASSES[number_of(c) % 3],
            "split": s,
        }
        for c, s in splits.items()
    ]
    write_rows(results / "split.parquet", "split", rows)
    for modality in MODALITIES:
        name = modality.name
        for k, shard in enumerate(names):
            mine = [c for i, c in enumerate(clips) if i % shards == k]
            rows = [{**token_row(c, name), **((changed or {}).get((name, c)) or {})} for c in mine]
            write_rows(results / "tokens" / name / f"{shard}.parquet", f"tokens/{name}", rows)
    return {
        m.name: [results / "tokens" / m.name / f"{shard}.parquet" for shard in names]
        for m in MODALITIES
    }
