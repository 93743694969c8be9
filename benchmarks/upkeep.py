"""Time and memory of clips, du and gc on a results folder of many clips.

    OMP_NUM_THREADS=1 python benchmarks/upkeep.py --clips 100000

Writes tables and a store of that many rows for three artifacts, of which every third is named by
nothing, then runs each command in a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from nano4m_audio.paths import Results, shard_names
from nano4m_audio.shards import set_shards
from nano4m_audio.store import RowStore
from nano4m_audio.tables import content_key, write_rows

ARTIFACTS = ("scores/speech", "scores/visual", "tokens/caption")
_RUN = (
    "import resource, sys; from nano4m_audio.cli.app import main\n"
    "sys.argv = ['nano4m-audio', *sys.argv[1:]]\n"
    "try:\n main()\n"
    "except SystemExit:\n pass\n"
    "used = resource.getrusage(resource.RUSAGE_SELF)\n"
    "print(used.ru_utime + used.ru_stime, used.ru_maxrss // 1024, file=sys.stderr)\n"
)


def row_of(name: str, number: int, rng: np.random.Generator) -> dict:
    key = {"key": content_key(name, number)}
    if name == "scores/speech":
        return {**key, "speech_fraction": number % 97 / 97}
    if name == "scores/visual":
        cosines = rng.random((10, 3)).astype(np.float32).tolist()
        return {**key, "labels": [f"class{i}" for i in range(3)], "cosines": cosines}
    tokens = rng.integers(0, 4096, 8).tolist()
    return {**key, "status": "ok", "reason": "", "message": "", "tokens": tokens}


def write(results: Results, clips: int, n_shards: int) -> None:
    set_shards(results.root, n_shards)
    rng = np.random.default_rng(0)
    for place, shard in enumerate(shard_names(n_shards)):
        numbers = range(place, clips, n_shards)
        ids = {n: f"video{n:07d}@{n % 300 * 1000}" for n in numbers}
        candidates, verdicts = [], []
        for n in numbers:
            accepted = n % 3 > 0
            candidates.append(
                {"clip_id": ids[n], "video_id": f"video{n:07d}", "start_s": 0.0,
                 "class_name": f"class{n % 11}", "sources": ["audioset"], "path": f"{n}.mp4"}
            )  # fmt: skip
            verdicts.append(
                {"clip_id": ids[n], "clip_key": "", "accepted": accepted,
                 "reasons": [] if accepted else ["speech"], "message": "",
                 "audio_score": n % 101 / 101, "speech_fraction": n % 97 / 97}
            )  # fmt: skip
        write_rows(results.table("candidates", shard), "candidates", candidates)
        write_rows(results.table("verdicts", shard), "verdicts", verdicts)
        for name in ARTIFACTS:
            store, named = RowStore(results.store, name, shard), []
            for start in range(0, len(numbers), 4096):
                rows = [row_of(name, n, rng) for n in numbers[start : start + 4096]]
                store.append(rows)
                named += [
                    {"clip_id": ids[n], **row}
                    for n, row in zip(numbers[start : start + 4096], rows, strict=True)
                    if n % 3
                ]
            write_rows(results.table(name, shard), name, named)


def measure(*arguments: str) -> None:
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    elapsed_s = time.perf_counter() - begun
    cpu_s, peak_mb = done.stderr.split()[-2:]
    shown = " ".join(word for word in arguments if "/" not in word)
    print(f"{shown}: {elapsed_s:.1f} s, CPU {float(cpu_s):.1f} s, peak {peak_mb} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Results(Path(folder) / "results")
        write(results, options.clips, options.shards)
        measure("clips", str(results))
        measure("clips", str(results), "--rejected", "--near", "speech_max")
        measure("du", str(results))
        measure("gc", str(results))
        measure("gc", str(results), "--delete")
        measure("gc", str(results), "--delete")


if __name__ == "__main__":
    main()
