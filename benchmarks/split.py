"""Duplicates and split at scale: time, memory, planted copies found, clips moved by later ones.

    python -m benchmarks.split --clips 150000 --close 0.001 --threads 2

Fingerprints are drawn from a seed: pictures around so many scenes that the given share of all pairs
are close, sounds of 10 s. One clip in twenty is a copy of another one, shifted, noisy or mirrored.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import numpy as np

from benchmarks.train import processor
from nano4m_audio.config.curate import Duplicates
from nano4m_audio.curate.assign import assign_splits, measure_leak
from nano4m_audio.curate.duplicates import find_groups

_COLUMNS, _BANDS, _DIMENSIONS = 100, 16, 95
_COPIES, _LATER = 20, 20


def clips(
    n: int, close: float, seed: int
) -> tuple[list[dict[str, Any]], dict[str, dict[str, np.ndarray]], set[tuple[str, str]]]:
    """Rows, fingerprints and planted pairs. ``close``: share of pairs whose pictures are close."""
    rng = np.random.default_rng(seed)
    scenes = rng.normal(size=(max(1, round(1 / close)) if close else n, _DIMENSIONS))
    flip = np.where(np.arange(_DIMENSIONS) % 2, -1.0, 1.0)
    rows: list[dict[str, Any]] = []
    fingerprints: dict[str, dict[str, np.ndarray]] = {}
    planted: set[tuple[str, str]] = set()
    for i in range(n):
        name = f"clip{i:07d}"
        if i % _COPIES == _COPIES - 1:
            original = f"clip{i - rng.integers(1, min(i, 1000)):07d}"
            planted.add((original, name))
            picture, sound = fingerprints[original]["image"], fingerprints[original]["audio"]
            picture = picture * flip if rng.random() < 0.2 else picture
            shift = rng.integers(0, 10)
            sound = np.roll(sound, shift, axis=0) + rng.normal(0, 0.02, sound.shape)
        else:
            scene = scenes[i if not close else rng.integers(len(scenes))]
            picture = scene + rng.normal(0, 0.2, _DIMENSIONS)
            walk = np.cumsum(rng.normal(0, 0.15, (_COLUMNS, _BANDS)), axis=0)
            sound = np.abs(walk % 2.0 - 1.0)
        picture = picture + rng.normal(0, 0.02 * np.abs(picture).mean(), _DIMENSIONS)
        picture = (picture / np.linalg.norm(picture)).astype(np.float32)
        sound = np.clip(np.round(sound, 2), 0, 1).astype(np.float32)
        mirror = (picture * flip).astype(np.float32)
        fingerprints[name] = {"image": picture, "image_mirror": mirror, "audio": sound}
        rows.append({
            "clip_id": name, "video_id": name, "sha256": name, "size_bytes": 1,
            "class_name": f"class {rng.integers(11)}", "source": "ab"[rng.integers(2)],
        })  # fmt: skip
    return rows, fingerprints, planted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=150_000)
    parser.add_argument("--close", type=float, default=0.001, help="share of pairs that are close")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    rows, fingerprints, planted = clips(options.clips, options.close, options.seed)
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    limits = Duplicates()
    start, start_cpu = time.perf_counter(), time.process_time()
    groups = find_groups(rows, fingerprints, limits.picture_min, limits.sound_min, options.threads)
    grouped = time.perf_counter()
    for row in rows:
        row["group"] = groups.group[row["clip_id"]]
    kept = [row for row in rows if row["clip_id"] not in groups.duplicate_of]
    splits = assign_splits(kept)
    assigned = time.perf_counter()
    measure_leak(kept, fingerprints, splits, options.threads)
    end, end_cpu = time.perf_counter(), time.process_time()
    found = sum(groups.group[one] == groups.group[other] for one, other in planted)
    earlier = [row for i, row in enumerate(kept) if i % _LATER]
    moved = sum(splits[name] != split for name, split in assign_splits(earlier).items())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{options.clips:,} clips, {options.close:.2%} of pairs close, on {processor()}")
    parts = grouped - start, assigned - grouped, end - assigned
    print("groups {:.0f} s, splits {:.0f} s, leaks {:.0f} s".format(*parts), end="; ")
    print(f"together {end - start:.0f} s, {end_cpu - start_cpu:.0f} CPU s")
    print(f"memory {peak_mb:,.0f} MB at its peak, {before_mb:,.0f} MB before")
    print(f"planted copies found: {found} of {len(planted)} ({found / len(planted):.2%})")
    print(f"5 % more clips move {moved / len(earlier):.2%} of the others")


if __name__ == "__main__":
    main()
