"""Schemas of every artifact, and how tables are read and written.

Every table that a stage declares is a Parquet file with one of the schemas below.
Writes are atomic (temp file, fsync, rename) and byte-deterministic: the same rows give the same
file, which lets Snakemake's checksum rule prune what follows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nano4m_audio import checked
from nano4m_audio.checked import CheckedFile, DamagedError
from nano4m_audio.errors import UserError
from nano4m_audio.files import atomic_path, data_yaml
from nano4m_audio.filters import COLUMNS, LABEL_OF
from nano4m_audio.modalities import LABELS, MODALITIES

Column = tuple[str, pa.DataType, str]
STR, F32, F64, I64 = pa.string(), pa.float32(), pa.float64(), pa.int64()
STRINGS = pa.list_(STR)
ROWS_PER_GROUP = 1024


def _kind(text: str) -> pa.DataType:
    """``float``, ``list of float``, ..."""
    inner = text.removeprefix("list of ")
    return pa.type_for_alias(text) if inner == text else pa.list_(_kind(inner))


def _columns(rows: Sequence[Any]) -> list[Column]:
    columns: list[Column] = []
    for row in rows:
        if row == "filters":
            columns += [(column, F32, meaning) for column, meaning in COLUMNS.items()]
        elif row == "labels":
            columns += [(n, F32, f"{COLUMNS[n]}; null: no such label") for n in LABEL_OF]
        else:
            column, kind, meaning = row
            columns.append((column, _kind(kind), meaning))
    return columns


_TEXT = Path(__file__).with_name("tables.yaml").read_text("utf-8")
_LISTED = {name: _columns(rows) for name, rows in data_yaml(_TEXT).items()}
#: Which row it is, and what happened to it.
_SHARED = _LISTED.pop("shared")

#: Ids of a text; rows of ids of an image or of audio. How many there are, tokenizers decide.
_IDS = _kind("list of uint16")

#: The columns of every artifact: name, type and meaning (docs/DATA.md is made of them).
TABLES: dict[str, list[Column]] = {
    **_LISTED,
    **{
        f"labels/{name}": [
            *_SHARED,
            *((column, _kind("list of float"), text) for column, text in MODALITIES[name].columns),
            ("maps", _kind("list of binary"), f"{MODALITIES[name].about} of the keyframes, as PNG"),
        ]
        for name in LABELS
    },
    **{
        f"tokens/{name}": [
            *_SHARED,
            (
                "tokens",
                _IDS if row.kind == "text" else pa.list_(_IDS),
                f"token ids of the {row.about}; null unless ok",
            ),
        ]
        for name, row in MODALITIES.items()
    },
}
SCHEMAS = {
    name: pa.schema([(column, kind) for column, kind, _ in columns])
    for name, columns in TABLES.items()
}

#: Columns that stay in the store and are not repeated in the published table.
HEAVY: dict[str, tuple[str, ...]] = {
    "clips": ("frames", "audio_flac"),
    **{f"labels/{name}": ("maps",) for name in LABELS},
}


def published_schema(name: str) -> pa.Schema:
    """The schema of the declared output: all columns but the heavy ones."""
    heavy = HEAVY.get(name, ())
    return pa.schema([f for f in SCHEMAS[name] if f.name not in heavy])


def content_key(*parts: Any) -> str:
    """Return a 32-digit hex digest of JSON-serialisable parts; equal parts give equal keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def shard_of(video_id: str, n_shards: int) -> int:
    """All clips of one video share a shard, whatever else is in the dataset."""
    digest = hashlib.blake2b(video_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % n_shards


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file atomically, with settings that make its bytes a function of the rows.

    Its values carry digests, so that damage is found when they are read.
    """
    plain = table.replace_schema_metadata(None)
    groups = (plain.slice(i, ROWS_PER_GROUP) for i in range(0, len(plain), ROWS_PER_GROUP))
    with atomic_path(path) as temp:
        checked.write(temp, plain.schema, groups)


def nested_lists(rows: Sequence[np.ndarray], kind: pa.DataType) -> pa.Array:
    """A column of (nested) lists from one array [n] or [m, n] per row, without Python numbers."""
    if not len(rows):
        return pa.array([], kind)
    column = pa.array(np.concatenate([row.ravel() for row in rows]))
    widths = [row.shape[1] for row in rows for _ in row] if rows[0].ndim == 2 else []
    for lengths in (widths, [len(row) for row in rows]):
        if lengths:
            offsets = np.cumsum([0, *lengths], dtype=np.int32)
            column = pa.ListArray.from_arrays(pa.array(offsets), column)
    return column.cast(kind)


def write_rows(path: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``rows`` as the published table of artifact ``name``; absent columns become null."""
    write_table(path, pa.Table.from_pylist(list(rows), schema=published_schema(name)))


def read_table(path: Path, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a published table and check its values, columns and types."""
    wanted = list(columns) if columns else published_schema(name).names
    with _readable(path), CheckedFile(path) as file:
        _check_schema(file.schema, path, name)
        return file.read(wanted)


def read_batches(path: Path, name: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read some columns of a published table row group by row group, with the same checks."""
    with _readable(path), CheckedFile(path) as file:
        _check_schema(file.schema, path, name)
        for group in file.groups(columns):
            yield from group.combine_chunks().to_batches()


def read_any(path: Path, columns: Sequence[str]) -> pa.Table:
    """Read some columns of a table that has no schema of its own here, with the same checks."""
    with _readable(path), CheckedFile(path) as file:
        return file.read(columns)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what is wrong with a file into one line that names it."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run the stage that writes it first") from None
    except DamagedError as error:
        raise UserError(
            f"{path} is not a readable Parquet file ({error.why}): delete it and run again"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from None


def _check_schema(found: pa.Schema, path: Path, name: str) -> None:
    wanted = published_schema(name)
    if found.names != wanted.names or found.types != wanted.types:
        raise UserError(
            f"{path} is not a {name} table of this version (columns {found.names}): "
            "delete it and run again"
        )


def read_rows(path: Path, name: str, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Read a published table as a list of dicts."""
    return read_table(path, name, columns).to_pylist()
