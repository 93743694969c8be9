"""A small results folder whose tables agree: real verdicts over made-up scores."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from nano4m_audio.config.curate import Verdict
from nano4m_audio.curate.verdict import verdicts
from nano4m_audio.modalities import LABELS, MODALITIES
from nano4m_audio.paths import Results
from nano4m_audio.shards import set_shards
from nano4m_audio.tables import read_rows, write_rows

SHARDS = ("0000", "0001")
SPLITS = ("train", "train", "train", "val", "test")
#: Clips: 0 to 9 are good, 10 is a copy of 0, 11 sounds wrong, 12 has no file, 13 does not decode.
GOOD, COPY, WRONG, GONE, BROKEN = 10, 10, 11, 12, 13
N = 14


def name_of(i: int) -> str:
    return f"video{i:02d}_____@{i}"


def write_results(root: Path, verdict: Verdict | None = None) -> Results:
    """Every table but fingerprints; clips of even numbers are cats, the others dogs."""
    results = Results(root)
    set_shards(root, len(SHARDS))
    split = []
    for number, shard in enumerate(SHARDS):
        mine = [i for i in range(N) if i % 2 == number]
        _write_scores(results, shard, mine)
        verdicts(results, shard, verdict or Verdict())
        accepted = {
            row["clip_id"]
            for row in read_rows(results.table("verdicts", shard), "verdicts")
            if row["accepted"]
        }
        rows = [_split_row(i) for i in mine if name_of(i) in accepted]
        split += rows
        _write_made(results, shard, [row for row in rows if row["split"]])
    write_rows(results.split, "split", sorted(split, key=lambda row: row["clip_id"]))
    return results


def _write_scores(results: Results, shard: str, mine: list[int]) -> None:
    tables: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for i in mine:
        row = {"clip_id": name_of(i), "key": f"key{i}", "status": "ok", "reason": "", "message": ""}
        failed = {**row, "status": "failed", "message": "/home/me/secret.mp4"}
        tables["candidates"].append(
            {
                **row,
                "video_id": f"video{i:02d}_____",
                "start_s": float(i),
                "class_name": "dog" if i % 2 else "cat",
                "sources": ["audioset", "vggsound"] if i % 3 else ["audioset"],
                "path": f"clips/video{i:02d}______{i:06d}.mp4",
                "url": "https://host.invalid/?token=secret",
            }
        )
        if i == GONE:
            tables["media"].append(
                {**failed, "reason": "missing_file", "size_bytes": 0, "sha256": ""}
            )
            continue
        tables["media"].append({**row, "size_bytes": 100 + i, "sha256": f"{i:064x}"})
        if i == BROKEN:
            tables["clips"].append({**failed, "reason": "not_media"})
            continue
        times = [k / 3 for k in range(30)]
        tables["clips"].append(
            {**row, "duration_s": 10.0, "level_dbfs": -20.0, "frame_times_s": times}
        )
        score = 0.1 if i == WRONG else 0.5 + i / 100
        labels = ["cat", "dog"]
        of_class = [score if name == ("dog" if i % 2 else "cat") else 0.01 for name in labels]
        tables["scores/audio"].append(
            {
                **row,
                "window_start_s": [0.0, 0.5, 1.0],
                "window_level_dbfs": [-20.0] * 3,
                "labels": labels,
                "scores": [[0.0, 0.0], of_class, [0.0, 0.0]],
            }
        )
        tables["scores/visual"].append(
            {**row, "frame_times_s": times[:2], "labels": labels, "cosines": [[0.3, 0.3]] * 2}
        )
        tables["scores/speech"].append(
            {**row, "segment_start_s": [], "segment_end_s": [], "speech_fraction": 0.0}
        )
    for name, rows in tables.items():
        write_rows(results.table(name, shard), name, rows)


def _split_row(i: int) -> dict[str, Any]:
    copy = i == COPY
    return {
        "clip_id": name_of(i),
        "video_id": f"video{i:02d}_____",
        "class_name": "dog" if i % 2 else "cat",
        "source": "audioset+vggsound" if i % 3 else "audioset",
        "group": name_of(0) if copy else name_of(i),
        "duplicate_of": name_of(0) if copy else "",
        "split": "" if copy else SPLITS[i % len(SPLITS)],
    }


def _write_made(results: Results, shard: str, kept: list[dict[str, Any]]) -> None:
    """Selected clips, their labels and tokens."""
    common = {"key": "k", "status": "ok", "reason": "", "message": ""}
    selected = [
        {**row, "clip_key": "k", "window_start_s": 0.5, "keyframes": list(range(10))}
        for row in kept
    ]
    columns = ("clip_id", "clip_key", "class_name", "split", "window_start_s", "keyframes")
    write_rows(
        results.table("selected", shard),
        "selected",
        [{name: row[name] for name in columns} for row in selected],
    )
    for what in LABELS:
        rows = [{"clip_id": row["clip_id"], **common} for row in kept]
        write_rows(results.table(f"labels/{what}", shard), f"labels/{what}", rows)
    for what, modality in MODALITIES.items():
        tokens: Any = [1, 2, 3] if modality.kind == "text" else [[7, 8], [9, 10]]
        rows = [{"clip_id": row["clip_id"], **common, "tokens": tokens} for row in kept]
        write_rows(results.table(f"tokens/{what}", shard), f"tokens/{what}", rows)
