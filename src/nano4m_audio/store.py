"""Finished rows that Snakemake does not own, and the one function by which stages reuse them.

Snakemake deletes the outputs of a rule before it reruns it, and reruns everything downstream of a
changed parameter. So each stage keeps its finished rows in ``results/store/<stage>/<shard>/`` under
a content key (what the row was computed from), and a rerun job looks up every key, computes only
the unknown ones, and publishes the table again. A row is written once and never changed; a part
file appears by an atomic rename, so a kill loses at most the rows of the part that was being
filled. How parts are laid out, checked and merged is the business of parts.py.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nano4m_audio.checked import DamagedError
from nano4m_audio.errors import UserError
from nano4m_audio.locks import locked, try_locked
from nano4m_audio.parts import Part, file_version, merge_parts, set_aside, write_part
from nano4m_audio.paths import Results
from nano4m_audio.progress import track
from nano4m_audio.tables import SCHEMAS, published_schema, write_table

__all__ = [
    "Compute",
    "Filled",
    "Item",
    "RowStore",
    "fill",
    "locked",
    "opened",
    "publish",
    "publish_shard",
]

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


class MissingRowError(UserError, KeyError):
    """A row that was asked for is not there, or lies in a damaged part: it is to be computed."""

    __str__ = Exception.__str__  # KeyError's would put it in quotes


class RowStore:
    """The finished rows of one artifact, found in any shard and kept in one.

    A part holds the artifact's full schema, less ``clip_id``: two clips with the same content share
    a row. The index of keys is read once, and again when a key is not in it.
    """

    def __init__(self, root: Path, name: str, shard: str) -> None:
        self.folder = root / name / shard
        self.name = name
        self.schema = pa.schema([f for f in SCHEMAS[name] if f.name != "clip_id"])
        self._parts: dict[Path, Part | None] = {}  # None: not to be read
        self._index: dict[str, tuple[Part, int]] = {}

    def parts(self) -> list[Path]:
        """The parts of this shard."""
        return sorted(self.folder.glob("*.parquet"))

    def known(self) -> dict[str, Path]:
        """Map every finished key of this shard to its part."""
        self._look([self.folder])
        return {key: part.path for key, (part, _) in self._index.items()}

    def missing(self, keys: Iterable[str]) -> set[str]:
        """Those of ``keys`` that have no row: here, or else in any other shard."""
        unknown = {key for key in keys if key not in self._index}
        for folders in (lambda: [self.folder], self._other_folders):
            if unknown:
                self._look(folders())
                unknown = {key for key in unknown if key not in self._index}
        return unknown

    def _other_folders(self) -> list[Path]:
        folders = self.folder.parent.glob("*/")
        return sorted(folder for folder in folders if folder != self.folder)

    def mend(self) -> None:
        """Set aside the damaged parts of this shard. Only for who holds its lock."""
        self._look([self.folder])
        for path in [path for path, part in self._parts.items() if part is None]:
            if path.parent == self.folder and path.exists():
                set_aside(path)

    def _look(self, folders: Iterable[Path]) -> None:
        """Bring the index up to date with the parts of ``folders``."""
        for folder in folders:
            present = set(folder.glob("*.parquet"))
            for path in [p for p in self._parts if p.parent == folder]:
                part = self._parts[path]
                if path not in present or (part and part.version != _version(path)):
                    self._forget(path)
            for path in sorted(present - set(self._parts)):
                self._add(path)

    def _add(self, path: Path) -> None:
        try:
            part = Part.open(path)
        except FileNotFoundError:  # merged into another one in the meantime
            return
        except DamagedError as error:
            print(f"warning: {error}: its rows are computed again", file=sys.stderr)
            self._parts[path] = None
            return
        except OSError as error:
            raise UserError(
                f"{path} cannot be read ({error.strerror or error}): nothing was removed; "
                "run again when it can be"
            ) from error
        self._parts[path] = part
        if part.schema.names == self.schema.names and part.schema.types == self.schema.types:
            self._index.update((k, (part, g)) for g, keys in enumerate(part.keys) for k in keys)

    def _forget(self, path: Path) -> None:
        part = self._parts.pop(path)
        if part:
            self._index = {k: place for k, place in self._index.items() if place[0] is not part}

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add finished rows as one new part."""
        self._add(write_part(self.folder, pa.Table.from_pylist(list(rows), schema=self.schema)))

    def merge(self) -> None:
        """Make few large parts of many small ones. Only for who holds the lock of the shard."""
        own = [part for path, part in self._parts.items() if part and path.parent == self.folder]
        merge_parts(self.folder, [p for p in own if p.schema.equals(self.schema)])
        self._look([self.folder])

    def read(self, keys: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of ``keys``, in that order: ``key`` and ``columns``, or every column.

        Reads the row groups that hold them, and of these no other column. Raises MissingRowError
        for an unknown key or a row that turns out to be damaged; then the published table of this
        shard is removed, so that the next run computes both. Raises UserError for a part that
        cannot be read.
        """
        names = [c for c in columns if c != "key"] if columns else self.schema.names[1:]
        schema = pa.schema([self.schema.field(c) for c in ("key", *names)])
        while True:
            if missing := self.missing(keys):
                self._unpublish()
                raise MissingRowError(
                    f"{self.folder} has no row for {min(missing)} (and {len(missing) - 1} more): "
                    "run again, and it is computed"
                )
            try:
                table = pa.concat_tables([schema.empty_table(), *self._pieces(set(keys), names)])
            except FileNotFoundError:  # another job has merged this part into a larger one
                self._look({part.path.parent for part, _ in self._index.values()})
            except DamagedError as error:
                print(f"warning: {error}: it is set aside", file=sys.stderr)
                self._reject(error.path)
                if self.missing(keys):
                    raise MissingRowError(
                        f"{error}: it was set aside; run again, and its rows are computed anew"
                    ) from error
            except OSError as error:
                raise UserError(
                    f"{self.folder} cannot be read ({error.strerror or error})"
                ) from error
            else:
                return table.take(pc.index_in(pa.array(keys, pa.string()), table["key"]))

    def _pieces(self, keys: set[str], names: Sequence[str]) -> Iterable[pa.Table]:
        """The wanted rows of every row group that has some, part by part."""
        wanted: dict[Path, dict[int, Part]] = {}
        for key in keys:
            part, group = self._index[key]
            wanted.setdefault(part.path, {})[group] = part
        for groups in (wanted[path] for path in sorted(wanted)):
            part = next(iter(groups.values()))
            for table in part.read(sorted(groups), names):
                mine = [self._index[k][0] is part and k in keys for k in table["key"].to_pylist()]
                yield table.filter(pa.array(mine))

    def _unpublish(self) -> None:
        root = self.folder.parents[len(Path(self.name).parts)]
        (root.parent / self.name / f"{self.folder.name}.parquet").unlink(missing_ok=True)

    def _reject(self, path: Path) -> None:
        """Never read a part again, and set it aside unless its writer is at work."""
        self._forget(path)
        self._parts[path] = None
        self._unpublish()
        with try_locked(path.parent) as held:
            if held:
                set_aside(path)


def _version(path: Path) -> tuple[int, ...]:
    try:
        return file_version(path)
    except OSError:
        return ()


@cache
def opened(root: Path, name: str, shard: str) -> RowStore:
    """The store of this process for reading rows of an earlier stage: its index is read once."""
    return RowStore(root, name, shard)


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
        store.mend()
        todo = store.missing(item.key for item in items)
        missing = {item.key: item for item in items if item.key in todo}
        transient = _compute(store, list(missing.values()), compute) if missing else {}
        store.merge()
    return Filled(len(missing), transient)


def _compute(
    store: RowStore, items: Sequence[Item], compute: Compute
) -> dict[str, Mapping[str, Any]]:
    """Compute and append the rows of ``items``; return those that are not kept."""
    todo, part, opened = {item.key for item in items}, [], time.monotonic()
    transient: dict[str, Mapping[str, Any]] = {}
    for computed in compute(items):
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
    return transient


def publish(store: RowStore, items: Sequence[Item], compute: Compute, out: Path) -> int:
    """Fill the store, then write the artifact's light columns for ``items``, in their order.

    Returns the number of rows that had to be computed.
    """
    schema = published_schema(store.name)
    light = pa.schema([f for f in schema if f.name != "clip_id"])
    keys, computed = [i.key for i in items], 0
    transient: dict[str, Mapping[str, Any]] = {}
    while True:
        filled = fill(store, [i for i in items if i.key not in transient], compute)
        computed, transient = computed + filled.computed, {**transient, **filled.transient}
        try:
            kept = store.read([k for k in keys if k not in transient], light.names)
            break
        except MissingRowError:  # a part turned out to be damaged: once more without it
            continue
    passing = pa.Table.from_pylist(list(transient.values()), schema=light)
    table = pa.concat_tables([kept.select(light.names).cast(light), passing])
    table = table.take(pc.index_in(pa.array(keys, pa.string()), table["key"]))
    table = table.add_column(0, "clip_id", pa.array([i.clip_id for i in items], pa.string()))
    write_table(out, table.select(schema.names).cast(schema))
    print(f"{store.name}: {len(items)} rows, {computed} computed", file=sys.stderr)
    return computed


def publish_shard(
    results: Results, name: str, shard: str, items: Sequence[Item], compute: Compute
) -> int:
    """``publish`` to the table of a shard, showing how many rows are computed."""

    def shown(todo: Sequence[Item]) -> Iterable[Mapping[str, Any]]:
        return track(compute(todo), len(todo), f"{name} {shard}")

    return publish(RowStore(results.store, name, shard), items, shown, results.table(name, shard))
