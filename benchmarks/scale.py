"""Time and memory of the stages that look at every clip, as the number of clips grows.

    python -m benchmarks.scale results --rows 1000 10000 100000

The tables of a finished results folder are repeated until they have so many candidates, in one
shard, each with ids, videos and hashes of its own; fingerprints are drawn anew, so that no clip is
a copy. Every stage runs in a process of its own; first those that only look at the tables.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nano4m_audio import checked
from nano4m_audio.modalities import LABELS, MODALITIES
from nano4m_audio.paths import Results
from nano4m_audio.shards import set_shards
from nano4m_audio.tables import ROWS_PER_GROUP, nested_lists, published_schema, read_table

SHARD = "0000"
TABLES = ("candidates", "media", "clips", "scores/audio", "scores/visual", "scores/speech",
          "scores/fingerprints", "verdicts", "selected", *(f"labels/{name}" for name in LABELS),
          *(f"tokens/{name}" for name, row in MODALITIES.items() if not row.optional))  # fmt: skip
#: What a stage is called with, in the order in which they run.
STAGES = {
    "clip browser, the page": ("browse", "page"),
    "report": ("report",),
    "verdict": ("verdict", "--shard", SHARD),
    "duplicates and split": ("split", "--threads", "2"),
}
_RUN = (
    "import resource, sys; from nano4m_audio.cli.app import main\n"
    "sys.argv = ['nano4m-audio', *sys.argv[1:]]\n"
    "code = 0\n"
    "try:\n main()\n"
    "except SystemExit as end:\n code = end.code or 0\n"
    "used = resource.getrusage(resource.RUSAGE_SELF)\n"
    # Not ru_maxrss, which is at least that of the process that started this one.
    "peak = open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]\n"
    "print(used.ru_utime + used.ru_stime, int(peak) / 1024, file=sys.stderr)\n"
    "sys.exit(code)\n"
)
#: Columns that name a video, a group or a file; keys stay, so that the store has their rows.
_NAMES = ("video_id", "group", "sha256")


def renamed(table: pa.Table, copy: int) -> pa.Table:
    """The same rows with ids of their own; a copy of a clip is one of its own copy."""
    mark = f"c{copy:06d}"
    for place, (name, kind) in enumerate(zip(table.column_names, table.schema.types, strict=True)):
        column = table[name]
        if name in ("clip_id", "duplicate_of", "nearest_train"):  # VIDEO@START
            column = pc.replace_substring_regex(column, r"^(.+)@", rf"\1{mark}@")
        elif name in _NAMES:
            column = pc.if_else(
                pc.equal(column, ""), column, pc.binary_join_element_wise(column, mark, "")
            )
        table = table.set_column(place, table.schema.field(name), column.cast(kind))
    return table


def drawn(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Fingerprints with pictures and sounds of their own, of the same lengths."""
    n = len(table)
    pictures = rng.normal(size=(n, 95)).astype(np.float32)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    lengths = pc.list_value_length(table["audio"]).to_pylist()
    sounds = [rng.random((length, 16), np.float32) for length in lengths]
    for name, rows in (("image", list(pictures)), ("image_mirror", list(pictures[:, ::-1])),
                       ("audio", sounds)):  # fmt: skip
        place = table.column_names.index(name)
        kind = table.schema.types[place]
        table = table.set_column(place, name, nested_lists(rows, kind))
    return table


def copies(source: Results, name: str, rows: int, candidates: int) -> Iterator[pa.Table]:
    """The whole table of the source, again and again, in groups of rows."""
    path = source.split if name == "split" else None
    paths = [path] if path else source.tables(name)
    whole = pa.concat_tables([read_table(one, name) for one in paths]).combine_chunks()
    rng = np.random.default_rng(0)
    for copy in range(-(-rows // candidates)):
        table = renamed(whole, copy)
        yield drawn(table, rng) if name == "scores/fingerprints" else table


def regrouped(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in groups as write_table makes them."""
    held = pa.table({})
    for table in tables:
        held = pa.concat_tables([held, table]) if len(held) else table
        while len(held) >= ROWS_PER_GROUP:
            yield held.slice(0, ROWS_PER_GROUP).combine_chunks()
            held = held.slice(ROWS_PER_GROUP)
    if len(held):
        yield held.combine_chunks()


def enlarge(source: Results, target: Results, rows: int) -> int:
    """Write the tables of ``source`` so often that there are ``rows`` candidates; their number."""
    left_out = shutil.ignore_patterns("store", "*.parquet", "clips_media", ".made_from", "logs")
    shutil.copytree(source.root, target.root, ignore=left_out)
    shutil.copytree(source.store, target.store, copy_function=os.link)  # parts never change
    for path in source.root.glob("runs/*/*.parquet"):
        shutil.copy(path, target.root / path.relative_to(source.root))
    (target.root / "shards.json").unlink()
    set_shards(target.root, 1)
    candidates = sum(
        len(read_table(p, "candidates", ["clip_id"])) for p in source.tables("candidates")
    )
    for name in (*TABLES, "split"):
        path = target.split if name == "split" else target.table(name, SHARD)
        path.parent.mkdir(parents=True, exist_ok=True)
        schema = published_schema(name)
        checked.write(path, schema, regrouped(copies(source, name, rows, candidates)))
    index = target.clip_media(SHARD)
    index.parent.mkdir(parents=True)
    index.write_text("{}")
    return candidates * -(-rows // candidates)


def measure(target: Results, stage: str) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak memory [MB] of a stage."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *STAGES[stage], "--results", str(target.root)],
        cwd=target.root.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    elapsed_s = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"{stage}: {done.stderr[-2000:]}")
    cpu_s, peak_mb = map(float, done.stderr.split()[-2:])
    return elapsed_s, cpu_s, peak_mb


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="a finished results folder")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    options = parser.parse_args()
    print("| stage | candidates | wall | CPU | peak | CPU per further row | memory |")
    print("|---|---|---|---|---|---|---|")
    before: dict[str, tuple[int, float, float]] = {}
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.results.parent) as folder:
            target = Results(Path(folder).resolve() / "results")
            n = enlarge(Results(options.results), target, rows)
            for stage in options.stages:
                wall, cpu, peak = measure(target, stage)
                more = ["", ""]
                if stage in before:
                    fewer, less_cpu, less_peak = before[stage]
                    per_row = 1e3 / (n - fewer)
                    more = [f"{(cpu - less_cpu) * per_row:.2f} ms"]
                    more += [f"{(peak - less_peak) * per_row:.1f} kB"]
                before[stage] = n, cpu, peak
                cells = [stage, f"{n:,}", f"{wall:.1f} s", f"{cpu:.1f} s", f"{peak:,.0f} MB"]
                print("| " + " | ".join(cells + more) + " |", flush=True)


if __name__ == "__main__":
    main()
