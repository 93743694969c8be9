"""The split stage: one job over the whole dataset that groups copies, keeps the best of each, and
assigns every kept clip to train, val or test so that no group crosses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nano4m_audio.config.curate import Split
from nano4m_audio.curate import duplicates
from nano4m_audio.curate.assign import assign_splits, measure_leak
from nano4m_audio.curate.fingerprints import read_fingerprints
from nano4m_audio.paths import Results
from nano4m_audio.tables import (
    published_schema,
    read_rows,
    read_table,
    write_rows,
)

#: The artifacts, of every shard, that the split is made from.
INPUTS = ("candidates", "media", "verdicts", "scores/fingerprints")
_SELECTED = ("clip_id", "clip_key", "class_name", "split", "window_start_s", "keyframes")


def split_clips(results: Results, settings: Split, threads: int = 1) -> None:
    """Write split.parquet and one table of selected clips per shard.

    Reads candidates, media, verdicts and scores/fingerprints of every shard under ``results``.
    """
    shards = results.shards
    accepted = _accepted(results, shards)
    fingerprints: dict[str, Any] = {}
    for shard in shards:
        table = read_table(results.table("scores/fingerprints", shard), "scores/fingerprints")
        found = read_fingerprints(table)
        fingerprints.update({name: found[name] for name in found if name in accepted})
    rows = list(accepted.values())
    _group(rows, fingerprints, settings, threads)
    kept = [row for row in rows if not row["duplicate_of"]]
    splits = assign_splits(kept, settings.fractions, settings.seed, settings.unit)
    for row in rows:
        row["split"] = splits.get(row["clip_id"], "")
    for clip_id, nearest in measure_leak(kept, fingerprints, splits, threads).items():
        accepted[clip_id].update(nearest)
    write_rows(results.split, "split", [_only(row, "split") for row in rows])
    for shard in shards:
        chosen = [row for row in rows if row["shard"] == shard and row["split"]]
        write_rows(
            results.table("selected", shard),
            "selected",
            [{name: row[name] for name in _SELECTED} for row in chosen],
        )


def _accepted(results: Results, shards: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Everything known of the accepted clips, by id, in the order of ids."""
    rows: dict[str, dict[str, Any]] = {}
    for shard in shards:
        tables = [
            {row["clip_id"]: row for row in read_rows(results.table(name, shard), name)}
            for name in ("candidates", "media", "verdicts")
        ]
        for clip_id, verdict in tables[2].items():
            if verdict["accepted"]:
                row = {**tables[0][clip_id], **tables[1][clip_id], **verdict, "shard": shard}
                rows[clip_id] = {**row, "source": "+".join(row["sources"]), "duplicate_of": ""}
    return dict(sorted(rows.items()))


def _group(
    rows: list[dict[str, Any]], fingerprints: dict[str, Any], settings: Split, threads: int
) -> None:
    """Fill ``group`` (same video or copies, transitively) and ``duplicate_of`` (the kept copy)."""
    limits = settings.duplicates
    groups = duplicates.find_groups(
        rows, fingerprints, limits.picture_min, limits.sound_min, threads
    )
    for row in rows:
        row["group"] = groups.group[row["clip_id"]]
        if limits.keep == "one":
            row["duplicate_of"] = groups.duplicate_of.get(row["clip_id"], "")


def _only(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {column: row.get(column) for column in published_schema(name).names}
