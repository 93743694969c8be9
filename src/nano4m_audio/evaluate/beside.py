"""What probes read of a results folder beside tokens, for their keys and for themselves.

Each reader takes the results folder and clip ids and says, by values that JSON can hold, all that a
probe's outcome depends on. A folder without these tables (tokens from elsewhere) gives None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from nano4m_audio.modalities import LABELS
from nano4m_audio.paths import Results
from nano4m_audio.probes import READ_TABLES
from nano4m_audio.tables import content_key, read_rows


def map_keys(results: Results, clip_ids: Sequence[str]) -> list[list[str | None]] | None:
    """By label and clip, the key of the stored maps; None for a clip that has none."""
    found = []
    for name in LABELS:
        if not any((results / f"labels/{name}").glob("*.parquet")):
            return None
        keys = {}
        for path in results.tables(f"labels/{name}"):
            rows = read_rows(path, f"labels/{name}", ["clip_id", "key", "status"])
            keys.update({row["clip_id"]: row["key"] for row in rows if row["status"] == "ok"})
        found.append([keys.get(clip) for clip in clip_ids])
    return found


def nearest_train(results: Results, clip_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Of every clip its nearest training clip as the split table has it: ``picture`` and ``sound``
    say how alike they are, ``same_group`` whether both are of one video or copies. All are None
    where nothing was measured."""
    columns = ["clip_id", "video_id", "group", "nearest_train", "nearest_picture", "nearest_sound"]
    rows = {row["clip_id"]: row for row in read_rows(results.split, "split", columns)}
    found = []
    for row in (rows[clip] for clip in clip_ids):
        other = rows.get(row["nearest_train"] or "")
        links = [(row[c], other[c]) for c in ("video_id", "group")] if other else []
        found.append(
            {
                "clip": row["nearest_train"] or None,
                "picture": row["nearest_picture"],
                "sound": row["nearest_sound"],
                "same_group": any(a and a == b for a, b in links) if other else None,
            }
        )
    return found


def sound_keys(results: Results, clip_ids: Sequence[str]) -> list[list[Any] | None] | None:
    """Of every clip the key of its stored sound and where its window starts."""
    if not any((results / "selected").glob("*.parquet")):
        return None
    columns = ["clip_id", "clip_key", "window_start_s"]
    keys = {
        row["clip_id"]: [row["clip_key"], row["window_start_s"]]
        for path in results.tables("selected")
        for row in read_rows(path, "selected", columns)
    }
    return [keys.get(clip) for clip in clip_ids]


def score_keys(results: Results, _: Sequence[str]) -> list[str | None]:
    """By table of scores a digest of the keys of all its clips; None for a table that is not
    there."""
    found: list[str | None] = []
    for name in READ_TABLES["score_keys"]:
        paths = [path for path in results.tables(name) if path.exists()]
        rows = (row for path in paths for row in read_rows(path, name, ["clip_id", "key"]))
        keys = sorted((row["clip_id"], row["key"]) for row in rows)
        found.append(content_key(keys) if paths else None)
    return found


#: Probe.reads -> the reader.
READERS: Mapping[str, Callable[[Results, Sequence[str]], Any]] = MappingProxyType(
    {reader.__name__: reader for reader in (map_keys, nearest_train, score_keys, sound_keys)}
)
