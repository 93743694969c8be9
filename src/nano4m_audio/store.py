"""Finished rows that Snakemake does not own, and the one function by which stages reuse them.

Snakemake deletes the outputs of a rule before it reruns it, and reruns everything downstream of a
changed parameter. So each stage keeps its finished rows in ``results/store/<stage>/<shard>/`` under
a content key (what the row was computed from), and a rerun job looks up every key, computes only
the unknown ones, and publishes the table again. A row is written once and never changed; a part
file appears by an atomic rename, so a kill loses at most the rows of the part that was being
filled.
"""

from __future__ import annotations

import fcntl
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nano4m_audio.tables import SCHEMAS, content_key, published_schema, write_table

#: A part is closed after this many rows or seconds, whichever comes first: the most that is redone
#: after a kill.
PART_ROWS = 64
PART_SECONDS = 20.0


@dataclass(frozen=True)
class Item:
    """One row to be had: whose it is, the key of what it is computed from, and its inputs."""

    clip_id: str
    key: str
    inputs: Mapping[str, Any] = field(default_factory=dict)


#: Turns items into rows (dicts with ``key`` and the stage's columns), in any order, as they finish.
#: A row with a true ``transient`` tells of a failure that may not come again (a file was away):
#: it is published, and computed anew by the next job, since it is never kept.
Compute = Callable[[Sequence[Item]], Iterable[Mapping[str, Any]]]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the writer lock of a folder; a second writer waits, then finds the work already done.

    The operating system drops the lock when its holder dies, however it dies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class RowStore:
    """The finished rows of one artifact and one shard.

    ``folder`` holds Parquet parts with the artifact's full schema, less ``clip_id``: two clips with
    the same content share a row.
    """

    def __init__(self, root: Path, name: str, shard: str) -> None:
        self.folder = root / name / shard
        self.name = name
        self.schema = pa.schema([f for f in SCHEMAS[name] if f.name != "clip_id"])

    def parts(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def known(self) -> dict[str, Path]:
        """Map every finished key to its part. An unreadable part is removed and its rows redone."""
        keys: dict[str, Path] = {}
        for part in self.parts():
            try:
                column = pq.read_table(part, columns=["key"], schema=None)["key"]
                stale = pq.read_schema(part).names != self.schema.names
            except (pa.ArrowInvalid, OSError) as error:
                print(
                    f"warning: {part} is damaged ({error}), recomputing its rows", file=sys.stderr
                )
                part.unlink(missing_ok=True)
                continue
            if not stale:
                keys.update(dict.fromkeys(column.to_pylist(), part))
        return keys

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add finished rows as one new part."""
        table = pa.Table.from_pylist(list(rows), schema=self.schema)
        name = content_key([row["key"] for row in rows])
        write_table(self.folder / f"{name}.parquet", table)

    def read(self, keys: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of ``keys``, in that order. Raises KeyError for an unknown key."""
        names = ["key", *(c for c in columns if c != "key")] if columns else self.schema.names
        where = self.known()
        missing = [key for key in keys if key not in where]
        if missing:
            raise KeyError(
                f"{self.folder} has no row for {missing[0]} (and {len(missing) - 1} more)"
            )
        wanted = pa.array(sorted(set(keys)), pa.string())
        tables = [pq.read_table(p, columns=names) for p in sorted({where[k] for k in set(keys)})]
        schema = pa.schema([self.schema.field(c) for c in names])
        table = pa.concat_tables(tables) if tables else schema.empty_table()
        table = table.filter(pc.is_in(table["key"], wanted))
        return table.take(pc.index_in(pa.array(keys, pa.string()), table["key"]))


@dataclass(frozen=True)
class Filled:
    """What ``fill`` did: the number of rows computed, and those of them that are not kept."""

    computed: int = 0
    transient: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def fill(store: RowStore, items: Sequence[Item], compute: Compute) -> Filled:
    """Compute the rows of all items whose key is not known yet, and keep all but transient ones.

    ``compute`` is only called when something is missing, so that a job with nothing to do never
    loads a model. It must give exactly one row per item.
    """
    with locked(store.folder):
        known = store.known()
        missing = {i.key: i for i in items if i.key not in known}
        if not missing:
            return Filled()
        todo, part, opened = set(missing), [], time.monotonic()
        transient: dict[str, Mapping[str, Any]] = {}
        for computed in compute(list(missing.values())):
            row = dict(computed)
            todo.remove(row["key"])
            if row.pop("transient", False):
                transient[row["key"]] = row
            else:
                part.append(row)
            if len(part) >= PART_ROWS or (part and time.monotonic() - opened > PART_SECONDS):
                store.append(part)
                part, opened = [], time.monotonic()
        if part:
            store.append(part)
    if todo:
        raise RuntimeError(f"{store.name}: {len(todo)} rows were asked for and never computed")
    return Filled(len(missing), transient)


def publish(store: RowStore, items: Sequence[Item], compute: Compute, out: Path) -> int:
    """Fill the store, then write the artifact's light columns for ``items``, in their order.

    Returns the number of rows that had to be computed.
    """
    filled = fill(store, items, compute)
    schema = published_schema(store.name)
    light = pa.schema([f for f in schema if f.name != "clip_id"])
    keys = [i.key for i in items]
    kept = store.read([k for k in keys if k not in filled.transient], light.names)
    passing = pa.Table.from_pylist(list(filled.transient.values()), schema=light)
    table = pa.concat_tables([kept.select(light.names).cast(light), passing])
    table = table.take(pc.index_in(pa.array(keys, pa.string()), table["key"]))
    table = table.add_column(0, "clip_id", pa.array([i.clip_id for i in items], pa.string()))
    write_table(out, table.select(schema.names).cast(schema))
    print(f"{store.name}: {len(items)} rows, {filled.computed} computed", file=sys.stderr)
    return filled.computed
