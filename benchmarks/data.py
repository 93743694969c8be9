"""Load time and peak memory of the token reader, beside the straightforward way, and of training.

Examples: python benchmarks/data.py
          python benchmarks/data.py --clips 1000000 --shards 128 --steps 20 --folder big
Synthetic shards are written into --folder (default: a temporary one) and kept there. Every figure
is taken in a process of its own. "own memory" is what the process allocated (RssAnon); pages of
mapped files are on top, and the system takes them back whenever it needs them.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nano4m_audio.nano4m.settings import Modality, ModelConfig, OptimConfig, TrainSettings
from nano4m_audio.paths import shard_names
from nano4m_audio.tables import nested_lists, published_schema, read_rows, write_table
from nano4m_audio.training.token_sets import IN_MEMORY_BYTES, SPLITS, TokenSet, read_token_sets

MODALITIES = (
    Modality("rgb", 16_384, 196),
    Modality("audio", 2_048, 512, span_stride=2),
    Modality("depth", 8_192, 196),
    Modality("normals", 8_192, 196),
    Modality("caption", 50_304, 64),
)
POLL_S = 0.02


def write_shard(folder: Path, shard: int, shards: int, clips: int) -> list[str]:
    """Write every ``shards``-th clip, all five modalities; return the ids."""
    rng = np.random.default_rng(shard)
    ids = [f"clip{i:08d}" for i in range(shard, clips, shards)]
    n = len(ids)
    for modality in MODALITIES:
        name = f"tokens/{modality.name}"
        schema = published_schema(name)
        kind = schema.field("tokens").type
        if modality.name == "caption":
            shapes: list[tuple[int, ...]] = [(length,) for length in rng.integers(5, 9, n)]
        else:
            shapes = [(kind.list_size, kind.value_type.list_size) for _ in range(n)]
        tokens = [rng.integers(0, modality.vocab_size, s, dtype=np.uint16) for s in shapes]
        columns = {
            "clip_id": ids,
            "key": [f"{modality.name}{i}" for i in ids],
            "status": ["ok"] * n,
            "reason": [""] * n,
            "message": [""] * n,
            "tokens": nested_lists(tokens, kind),
        }
        write_table(folder / name / f"{shard:04d}.parquet", pa.table(columns, schema=schema))
    return ids


def write_dataset(folder: Path, clips: int, shards: int) -> None:
    """Write the token shards and a split of 80, 10 and 10 %."""
    ids = [i for shard in range(shards) for i in write_shard(folder, shard, shards, clips)]
    rows = [
        {"clip_id": i, "class_name": f"class{k % 11}", "split": SPLITS[max(0, k % 10 - 7)]}
        for k, i in enumerate(ids)
    ]
    write_table(
        folder / "split.parquet", pa.Table.from_pylist(rows, schema=published_schema("split"))
    )


def files(folder: Path, shards: int) -> dict[str, list[Path]]:
    return {
        m.name: [folder / "tokens" / m.name / f"{s}.parquet" for s in shard_names(shards)]
        for m in MODALITIES
    }


def load(folder: Path, shards: int, in_memory_bytes: int = IN_MEMORY_BYTES) -> dict[str, TokenSet]:
    """What the training stage does."""
    return read_token_sets(
        folder / "split.parquet",
        files(folder, shards),
        MODALITIES,
        folder / "store",
        in_memory_bytes=in_memory_bytes,
    )


def load_as_lists(folder: Path, shards: int) -> dict[str, np.ndarray]:
    """The straightforward way: rows as Python lists, then one array per modality."""
    out = {}
    for name, paths in files(folder, shards).items():
        rows = [row for path in paths for row in read_rows(path, f"tokens/{name}")]
        rows.sort(key=lambda row: row["clip_id"])
        tokens = [row["tokens"] for row in rows]
        out[name] = np.array(tokens, object if name == "caption" else np.int64)
    return out


def train_some(folder: Path, shards: int, steps: int, in_memory_bytes: int) -> None:
    """The first steps of a small model, batch 64."""
    from nano4m_audio.nano4m.train import train

    sets = load(folder, shards, in_memory_bytes)
    model = ModelConfig(
        modalities=MODALITIES, dim=64, encoder_depth=1, decoder_depth=1, head_dim=32
    )
    settings = TrainSettings(model=model, optim=OptimConfig(steps=steps, warmup_steps=1))
    with tempfile.TemporaryDirectory() as state:
        empty = type(sets["val"].data)(MODALITIES, _no_tokens(), [])
        train(settings, sets["train"].data, empty, Path(state))


def _no_tokens() -> dict[str, np.ndarray]:
    return {m.name: np.zeros((0, 1, m.max_tokens), np.uint16) for m in MODALITIES}


def memory_mb(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(x.split()[1]) for x in status.splitlines() if x.startswith(field)) / 1024


def child(connection: Any, work: Callable[..., object], arguments: tuple) -> None:
    """Run ``work`` and send (wall time, CPU time, peak own memory, peak memory) [s, s, MB, MB]."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(POLL_S):
            peak[0] = max(peak[0], memory_mb("RssAnon:"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started, cpu = time.perf_counter(), time.process_time()
    kept = work(*arguments)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    done.set()
    watcher.join()
    connection.send((seconds, cpu, max(peak[0], memory_mb("RssAnon:")), memory_mb("VmHWM:")))
    del kept


def measure(title: str, work: Callable[..., object], *arguments: object) -> float:
    """Print what a call takes in a fresh process; return its CPU time [s]."""
    context = get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=child, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    seconds, cpu, own, resident = mine.recv()
    process.join()
    print(
        f"{title:40s} {seconds:7.2f} s, CPU {cpu:7.2f} s, own memory {own:6.0f} MB, "
        f"resident {resident:6.0f} MB",
        flush=True,
    )
    return cpu


def main() -> None:
    """Print one line per way of reading, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=9192)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--steps", type=int, default=0, help="also train this many steps")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--in-memory-mb", type=int, default=IN_MEMORY_BYTES >> 20)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="nano4m-data-"))
    where, limit = (folder, arguments.shards), arguments.in_memory_mb << 20
    if not (folder / "split.parquet").exists():
        started = time.perf_counter()
        write_dataset(folder, arguments.clips, arguments.shards)
        print(f"wrote {arguments.clips:,} clips in {time.perf_counter() - started:.0f} s")
    first = measure("read, check, digest (first time)", load, *where, limit)
    again = measure("read, check, digest (again)", load, *where, limit)
    if arguments.steps:
        title = f"read and train {arguments.steps} steps of 64 clips"
        measure(title, train_some, *where, arguments.steps, limit)
    if arguments.clips <= 20_000:
        lists = measure("the straightforward way (lists of rows)", load_as_lists, *where)
        print(f"{lists / min(first, again):.1f} times less CPU time")


if __name__ == "__main__":
    main()
