"""The split stage on tables: copies are dropped, groups stay together, leaks are written down."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from nano4m_audio.config.curate import Split
from nano4m_audio.curate.split import split_clips
from nano4m_audio.paths import Results, shard_names
from nano4m_audio.tables import read_rows, shard_of, write_rows

N_SHARDS = 3


def _write_tables(results, n_videos: int) -> None:
    """Each video has two clips; every tenth video is a re-encoding of the one before it."""
    tables: defaultdict[str, defaultdict[str, list]] = defaultdict(lambda: defaultdict(list))
    for i in range(n_videos):
        for k in range(2):
            name = f"v{i:03d}@{k}"
            origin = i - 1 if i % 10 == 9 else i
            rng = np.random.default_rng(origin)
            picture = rng.normal(size=95) + np.random.default_rng(i).normal(0, 0.03, 95)
            picture /= np.linalg.norm(picture)
            shard = shard_names(N_SHARDS)[shard_of(f"v{i:03d}", N_SHARDS)]
            common = {"clip_id": name, "key": name, "clip_key": name, "status": "ok"}
            tables["candidates"][shard].append(
                {
                    **common,
                    "video_id": f"v{i:03d}",
                    "class_name": "dog" if i % 2 else "cat",
                    "sources": ["folder"],
                    "path": f"{name}.mp4",
                }
            )
            tables["media"][shard].append({**common, "size_bytes": 1000 - i, "sha256": name})
            tables["verdicts"][shard].append(
                {
                    **common,
                    "accepted": i != 3,
                    "reasons": [],
                    "window_start_s": 0.5,
                    "keyframes": list(range(10)),
                }
            )
            tables["scores/fingerprints"][shard].append(
                {
                    **common,
                    "image": picture,
                    "image_mirror": -picture,
                    "audio": np.random.default_rng([origin, k]).random((50, 16)).tolist(),
                }
            )
    for artifact, shards in tables.items():
        for shard in shard_names(N_SHARDS):
            path = results / artifact / f"{shard}.parquet"
            write_rows(path, artifact, shards[shard])


def test_groups_stay_together_and_copies_are_dropped(tmp_path):
    _write_tables(tmp_path, 60)
    results = Results(tmp_path)
    split_clips(results, Split())
    rows = {row["clip_id"]: row for row in read_rows(results.split, "split")}
    assert len(rows) == 118  # all but the rejected video
    dropped = {name for name, row in rows.items() if row["duplicate_of"]}
    assert dropped == {f"v{i:03d}@{k}" for i in range(9, 60, 10) for k in range(2)}
    assert all(rows[name]["split"] == "" for name in dropped)
    found = Counter(row["split"] for row in rows.values() if row["split"])
    assert found.total() == 106
    assert abs(found["train"] - 84.8) <= 4
    by_group = defaultdict(set)
    for row in rows.values():
        by_group[row["group"]].add(row["split"] or "dropped")
    assert all(len(splits - {"dropped"}) == 1 for splits in by_group.values())
    for row in rows.values():
        held = row["split"] in ("val", "test")
        assert (row["nearest_train"] is not None) == held
        assert not held or min(row["nearest_picture"], row["nearest_sound"]) < 0.8
    chosen = [
        row
        for shard in shard_names(N_SHARDS)
        for row in read_rows(results.table("selected", shard), "selected")
    ]
    assert {row["clip_id"]: row["split"] for row in chosen} == {
        name: row["split"] for name, row in rows.items() if row["split"]
    }
