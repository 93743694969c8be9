"""The part files of the store: how rows lie in them, and how many small parts become few.

A part holds its rows in small row groups, so that a clip's frames can be read alone, and the keys
of every row group beside its digests in the footer, so that an index is read without reading rows.
Its name is the digest of its footer: a part is what its name says, or it is damaged.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from nano4m_audio import checked
from nano4m_audio.checked import CheckedFile, DamagedError, footer_digest
from nano4m_audio.files import atomic_path
from nano4m_audio.tables import ROWS_PER_GROUP

#: About the size of a row group: what is read to have one row.
GROUP_BYTES = 1 << 20
#: A part of so many rows, or bytes on disk, is not merged any more.
FULL_ROWS, FULL_BYTES = 4096, 64 << 20
#: So many parts that are not full are merged.
MANY_PARTS = 16


@dataclass(frozen=True)
class Part:
    """What is known of a part without reading its rows."""

    path: Path
    version: tuple[int, ...]
    size_bytes: int
    schema: pa.Schema
    keys: Sequence[Sequence[str]]

    @classmethod
    def open(cls, path: Path) -> Part:
        """Read keys and schema. Raises DamagedError, or OSError for a file that cannot be read."""
        version = file_version(path)
        if path.is_file() and footer_digest(path) != path.stem:
            raise DamagedError(path, "its footer is not the one that was written")
        with CheckedFile(path) as file:
            return cls(path, version, path.stat().st_size, file.schema, file.notes["keys"])

    @property
    def n_rows(self) -> int:
        return sum(map(len, self.keys))

    def read(self, groups: Iterable[int], names: Sequence[str]) -> Iterator[pa.Table]:
        """``key`` and the columns ``names`` of some row groups, one by one."""
        with CheckedFile(self.path) as file:
            for number in groups:
                keys = pa.array(self.keys[number], pa.string())
                yield file.group(number, names).add_column(0, "key", keys)


def file_version(path: Path) -> tuple[int, ...]:
    """Changes when the file is written to or replaced. Raises OSError."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def write_part(folder: Path, table: pa.Table) -> Path:
    """Write rows, which have a column ``key``, as a new part; return its path."""
    return _write(folder, table.schema, _grouped([table]))


def merge_parts(folder: Path, parts: Sequence[Part]) -> None:
    """Make large parts of those that are not full, if they are many; every key is kept once.

    The caller holds the folder's lock. The old parts are removed when the new one is there: a kill
    in between leaves rows twice, never none. Takes the memory of one row group.
    """
    small = [p for p in parts if p.n_rows < FULL_ROWS and p.size_bytes < FULL_BYTES]
    if len(small) < MANY_PARTS:
        return
    for batch in _batches(sorted(small, key=lambda part: part.path)):
        try:
            merged = _write(folder, batch[0].schema, _grouped(_unique_rows(batch)))
        except DamagedError as error:
            print(f"warning: {error}: its rows are computed again", file=sys.stderr)
            set_aside(error.path)
            continue
        for path in {part.path for part in batch} - {merged}:
            path.unlink(missing_ok=True)


def keep_rows(folder: Path, part: Part, wanted: Container[str]) -> None:
    """Leave of a part the rows of ``wanted`` keys alone; without any the part goes.

    The caller holds the folder's lock. What is left is a part of its own before the old one is
    removed: a kill in between leaves rows twice, never none. Takes the memory of one row group.
    Raises DamagedError, and changes nothing, for a part whose rows are not what was written.
    """
    left = None
    if any(key in wanted for keys in part.keys for key in keys):
        left = _write(folder, part.schema, _grouped(_unique_rows([part], wanted)))
    if left != part.path:
        part.path.unlink(missing_ok=True)


def set_aside(path: Path) -> None:
    """Rename a damaged part, so that its rows are computed again and it can still be looked at."""
    path.replace(path.with_name(f"{path.name}.damaged"))


def _batches(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Runs of parts that fill a part together; a rest of one part is left as it is."""
    batch: list[Part] = []
    for part in parts:
        batch.append(part)
        rows, size = sum(p.n_rows for p in batch), sum(p.size_bytes for p in batch)
        if rows >= FULL_ROWS or size >= FULL_BYTES:
            yield batch
            batch = []
    if len(batch) > 1:
        yield batch


def _unique_rows(parts: Sequence[Part], wanted: Container[str] | None = None) -> Iterator[pa.Table]:
    """Every key once, row group by row group; of ``wanted`` keys only, where they are given."""
    seen: set[str] = set()
    for part in parts:
        names = part.schema.names
        groups = [
            number for number, keys in enumerate(part.keys)
            if wanted is None or any(key in wanted for key in keys)
        ]  # fmt: skip
        for table in part.read(groups, [n for n in names if n != "key"]):
            keys = table["key"].to_pylist()
            new = [key not in seen and (wanted is None or key in wanted) for key in keys]
            seen.update(keys)
            yield table.select(names).filter(pa.array(new))


def _grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows again, in row groups of about GROUP_BYTES."""
    held: list[pa.Table] = []
    size = rows = 0
    for piece in (piece for table in tables for piece in _slices(table)):
        held, size, rows = [*held, piece], size + piece.nbytes, rows + len(piece)
        if size >= GROUP_BYTES or rows >= ROWS_PER_GROUP:
            yield pa.concat_tables(held)
            held, size, rows = [], 0, 0
    if held:
        yield pa.concat_tables(held)


def _slices(table: pa.Table) -> Iterator[pa.Table]:
    """Pieces of at most a quarter of a row group, or one row."""
    if not len(table):
        return
    step = max(1, int(GROUP_BYTES / 4 / max(1, table.nbytes / len(table))))
    yield from (table.slice(i, step) for i in range(0, len(table), step))


def _write(folder: Path, schema: pa.Schema, groups: Iterable[pa.Table]) -> Path:
    """Write row groups and, in the footer, their keys; the name comes when the footer is known."""
    keys: list[list[str]] = []

    def noted() -> Iterator[pa.Table]:
        for group in groups:
            keys.append(group["key"].to_pylist())
            yield group

    new = folder / "new"
    with atomic_path(new) as temp:
        checked.write(temp, schema, noted(), {"keys": keys})
    path = folder / f"{footer_digest(new)}.parquet"
    os.replace(new, path)
    return path
