"""Reading a list of the size of AudioSet's unbalanced training set, with VGGSound's beside it.

Example: python benchmarks/lists.py
Writes generated lists (seeded) into a temporary folder: rows of one to three labels, all of the 527
equally often, so that about one in ten is of the eleven classes; a share of the ids of the second
list is in the first; one row in a thousand is bad. Reads them in a process of its own, and prints
its time and peak memory, with imports and all of the candidates' rows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from nano4m_audio.backends import audioset
from nano4m_audio.taxonomy import vggsound_labels

LETTERS = np.frombuffer(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", np.uint8
)


def video_ids(rng: np.random.Generator, count: int) -> list[str]:
    text = LETTERS[rng.integers(0, len(LETTERS), (count, 11))].tobytes().decode()
    return [text[i : i + 11] for i in range(0, len(text), 11)]


def write_lists(folder: Path, rows: int, seed: int) -> tuple[Path, Path]:
    """A list in the form of AudioSet, and one in that of VGGSound with a tenth of the rows."""
    rng = np.random.default_rng(seed)
    ids, starts = video_ids(rng, rows), rng.integers(0, 600, rows).tolist()
    mids = np.array(list(audioset.labels()))
    chosen, counts = mids[rng.integers(0, len(mids), (rows, 3))], rng.integers(1, 4, rows).tolist()
    bad = set(np.flatnonzero(rng.random(rows) < 0.001).tolist())
    large, small = folder / "unbalanced_train_segments.csv", folder / "vggsound.csv"
    with open(large, "w", encoding="ascii") as handle:
        handle.write("# Segments csv\n# num_ytids\n# YTID, start_seconds, end_seconds, labels\n")
        for i, (video, start, labels, n) in enumerate(
            zip(ids, starts, chosen.tolist(), counts, strict=True)
        ):
            end = start if i in bad else start + 10
            handle.write(f'{video}, {start}.000, {end}.000, "{",".join(labels[:n])}"\n')
    own = video_ids(rng, rows // 10)
    named = np.array(vggsound_labels())[rng.integers(0, len(vggsound_labels()), len(own))]
    with open(small, "w", encoding="ascii") as handle:
        for i, (video, label) in enumerate(zip(own, named.tolist(), strict=True)):
            place = 10 * i
            video, start = (ids[place], starts[place]) if i % 2 else (video, 30)
            handle.write(f'{video},{start},"{label}",train\n')
    return large, small


def read(large: str, small: str) -> None:
    """What the stage does with the lists, up to its rows."""
    started, cpu = time.perf_counter(), time.process_time()
    from nano4m_audio.acquire.lists import list_segments
    from nano4m_audio.config.sources import Web
    from nano4m_audio.paths import Results
    from nano4m_audio.taxonomy import known_classes

    source = Web(audioset_csvs=(large,), vggsound_csvs=(small,))
    rows, findings = list_segments(source, Results(Path("results")), known_classes())
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    # Not ru_maxrss, in which a process begins with what its parent had.
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 2**20
    print(*findings.lines(), sep="\n")
    print(f"{len(rows):,} candidates: {wall:.1f} s ({cpu:.1f} s CPU), peak {peak:.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_041_789, help="rows of the large list")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        large, small = write_lists(Path(folder), options.rows, options.seed)
        size = large.stat().st_size / 1e6
        print(f"{options.rows:,} rows, {size:,.0f} MB: {large.name}", flush=True)
        child = get_context("spawn").Process(target=read, args=(str(large), str(small)))
        child.start()
        child.join()
        sys.exit(child.exitcode)


if __name__ == "__main__":
    main()
