"""Looking rows up in the store, beside the straightforward way.

Example: OMP_NUM_THREADS=1 python benchmarks/store.py --parts 1600
The straightforward way keeps every part as it was written, reads the keys of all of them anew for
each chunk of clips, and reads whole columns of every part that holds a wanted row. Both ways read
the same rows, in processes of their own; the parts are made in --folder (default: a temporary one).
A stage reads eight clips at a time, in the order of their ids: first from many small parts, as a
slow decoder leaves them, then sixteen clips here and there from a few full ones.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nano4m_audio.parts import write_part
from nano4m_audio.store import RowStore, fill

COLUMNS = ["duration_s", "frame_times_s", "frames"]
CHUNK = 8
POLL_S = 0.005


def rows_of(first: int, count: int, frame_bytes: int) -> list[dict]:
    """Rows as the decoder writes them: thirty pictures a clip, which nothing compresses."""
    rng = np.random.default_rng(first)
    return [
        {
            "key": f"{i:032x}",
            "status": "ok",
            "duration_s": 10.0,
            "frame_times_s": (np.arange(30) / 3).tolist(),
            "frames": [rng.bytes(frame_bytes) for _ in range(30)],
        }
        for i in range(first, first + count)
    ]


def make(folder: Path, n_parts: int, part_rows: int, frame_bytes: int) -> None:
    """Write the parts twice: one way for each reader. Merging them is timed."""
    store = RowStore(folder / "ours", "clips", "0000")
    for number in range(n_parts):
        rows = rows_of(number * part_rows, part_rows, frame_bytes)
        table = pa.Table.from_pylist(rows, schema=store.schema)
        plain = folder / "plain" / f"{number:05d}.parquet"
        plain.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, plain, compression="zstd", write_page_checksum=True)
        write_part(store.folder, table)
    started = time.process_time()
    fill(store, [], lambda _: [])
    size = sum(path.stat().st_size for path in store.parts()) / 1e6
    print(
        f"merged {n_parts:,} parts into {len(store.parts()):,} ({size:,.0f} MB): "
        f"{time.process_time() - started:.2f} s CPU"
    )


def read_plainly(folder: Path, keys: Sequence[str]) -> pa.Table:
    where = {}
    for part in sorted((folder / "plain").glob("*.parquet")):
        column = pq.read_table(part, columns=["key"])["key"]
        where.update(dict.fromkeys(column.to_pylist(), part))
    wanted = sorted({where[key] for key in keys})
    table = pa.concat_tables([pq.read_table(part, columns=["key", *COLUMNS]) for part in wanted])
    return table.take(pc.index_in(pa.array(keys, pa.string()), table["key"]))


def stage(folder: Path, chunks: Sequence[Sequence[str]], ours: bool) -> int:
    """Read every chunk, as a stage does; returns the bytes of frames that were had."""
    store, total = RowStore(folder / "ours", "clips", "0000"), 0
    for keys in chunks:
        table = store.read(keys, COLUMNS) if ours else read_plainly(folder, keys)
        total += sum(len(frame) for frames in table["frames"].to_pylist() for frame in frames)
    return total


def measured(task: Callable[..., int], *arguments: object) -> tuple[float, float, int]:
    """CPU seconds, peak of Arrow's memory and of the process in MB, and the result."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_measure, args=(theirs, task, arguments))
    process.start()
    found = ours.recv()
    process.join()
    return found


def _measure(pipe, task, arguments) -> None:
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(POLL_S):
            peak[0] = max(peak[0], pa.total_allocated_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.process_time()
    result = task(*arguments)
    cpu_s = time.process_time() - started
    done.set()
    watcher.join()
    pipe.send((cpu_s, max(peak[0], pa.default_memory_pool().max_memory()) / 1e6, result))


def compare(folder: Path, n_parts: int, part_rows: int, frame_bytes: int, scattered: int) -> None:
    """Read all clips in order, or ``scattered`` ones at once, both ways."""
    n_rows = n_parts * part_rows
    print(f"{n_rows:,} clips in {n_parts:,} parts")
    make(folder, n_parts, part_rows, frame_bytes)
    keys = [f"{i:032x}" for i in range(n_rows)]
    if scattered:
        chunks = [random.Random(1).sample(keys, scattered)]
    else:
        chunks = [keys[i : i + CHUNK] for i in range(0, n_rows, CHUNK)]
    plain, ours = (measured(stage, folder, chunks, how) for how in (False, True))
    assert plain[2] == ours[2]
    print(
        f"{scattered or n_rows:,} clips read: {ours[0]:.2f} s CPU, {ours[1]:,.0f} MB of tables; "
        f"straightforward {plain[0]:.2f} s, {plain[1]:,.0f} MB: {plain[0] / ours[0]:.1f} times the "
        f"time, {plain[1] / ours[1]:.1f} times the memory"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=400)
    parser.add_argument("--frame-bytes", type=int, default=6_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    compare(folder / "small", options.parts, 1, options.frame_bytes, 0)
    compare(folder / "full", 16, 64, options.frame_bytes, 16)


if __name__ == "__main__":
    main()
