"""Schemas of every artifact, and how tables are read and written.

Every table under ``results/`` that a stage declares is a Parquet file with a schema of below.
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
from nano4m_audio.files import atomic_path
from nano4m_audio.filters import COLUMNS

STR, F32, F64, I64, BOOL = pa.string(), pa.float32(), pa.float64(), pa.int64(), pa.bool_()
STRINGS, FLOATS = pa.list_(STR), pa.list_(F32)

#: What happened to a row: every row of a model or media stage carries these three.
STATUS = [("status", STR), ("reason", STR), ("message", STR)]
KEYFRAMES, IMAGE_TOKENS, AUDIO_TOKENS = 10, 196, 512
ROWS_PER_GROUP = 1024
#: Beside the candidates: what their listing found.
LISTING = "listing.json"
_U16 = pa.uint16()


def _grid(rows: int, columns: int) -> pa.DataType:
    return pa.list_(pa.list_(_U16, columns), rows)


def _tokens(kind: pa.DataType) -> pa.Schema:
    return pa.schema([("clip_id", STR), ("key", STR), *STATUS, ("tokens", kind)])


SCHEMAS: dict[str, pa.Schema] = {
    "candidates": pa.schema(
        [
            ("clip_id", STR),
            ("video_id", STR),
            ("start_s", F64),
            ("end_s", F64),
            ("class_name", STR),
            ("sources", STRINGS),
            ("path", STR),
            ("url", STR),
        ]
    ),
    "media": pa.schema(
        [
            ("clip_id", STR),
            ("key", STR),
            *STATUS,
            ("path", STR),
            ("size_bytes", I64),
            ("sha256", STR),
        ]
    ),
    "clips": pa.schema(
        [
            ("clip_id", STR),
            ("key", STR),
            *STATUS,
            ("duration_s", F64),
            ("source_duration_s", F64),
            ("fps", F64),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("n_frames", pa.int32()),
            ("audio_start_s", F64),
            ("audio_end_s", F64),
            ("level_dbfs", F32),
            ("peak_dbfs", F32),
            ("video_codec", STR),
            ("audio_codec", STR),
            ("frame_times_s", pa.list_(F64)),
            ("frames", pa.list_(pa.binary())),
            ("audio_flac", pa.binary()),
        ]
    ),
    "scores/audio": pa.schema(
        [
            ("clip_id", STR),
            ("key", STR),
            ("window_start_s", FLOATS),
            ("window_level_dbfs", FLOATS),
            ("labels", STRINGS),
            ("scores", pa.list_(FLOATS)),
        ]
    ),
    "scores/visual": pa.schema(
        [
            ("clip_id", STR),
            ("key", STR),
            ("frame_times_s", pa.list_(F64)),
            ("labels", STRINGS),
            ("cosines", pa.list_(FLOATS)),
        ]
    ),
    "scores/speech": pa.schema(
        [
            ("clip_id", STR),
            ("key", STR),
            ("segment_start_s", FLOATS),
            ("segment_end_s", FLOATS),
            ("speech_fraction", F32),
        ]
    ),
    "scores/fingerprints": pa.schema(
        [
            ("clip_id", STR),
            ("key", STR),
            ("image", FLOATS),
            ("image_mirror", FLOATS),
            ("audio", pa.list_(FLOATS)),
        ]
    ),
    "verdicts": pa.schema(
        [
            ("clip_id", STR),
            ("clip_key", STR),
            ("accepted", BOOL),
            ("reasons", STRINGS),
            ("message", STR),
            *((column, F32) for column in COLUMNS),
            ("window_start_s", F64),
            ("keyframes", pa.list_(pa.int32())),
            ("keyframe_times_s", pa.list_(F64)),
            ("best_frame", pa.int32()),
        ]
    ),
    "split": pa.schema(
        [
            ("clip_id", STR),
            ("video_id", STR),
            ("class_name", STR),
            ("source", STR),
            ("group", STR),
            ("duplicate_of", STR),
            ("split", STR),
            ("nearest_train", STR),
            ("nearest_picture", F32),
            ("nearest_sound", F32),
        ]
    ),
    "selected": pa.schema(
        [
            ("clip_id", STR),
            ("clip_key", STR),
            ("class_name", STR),
            ("split", STR),
            ("window_start_s", F64),
            ("keyframes", pa.list_(pa.int32())),
        ]
    ),
    "labels/depth": pa.schema(
        [
            ("clip_id", STR),
            ("key", STR),
            *STATUS,
            ("lowest", FLOATS),
            ("highest", FLOATS),
            ("maps", pa.list_(pa.binary())),
        ]
    ),
    "labels/normals": pa.schema(
        [("clip_id", STR), ("key", STR), *STATUS, ("maps", pa.list_(pa.binary()))]
    ),
    "tokens/rgb": _tokens(_grid(KEYFRAMES, IMAGE_TOKENS)),
    "tokens/depth": _tokens(_grid(KEYFRAMES, IMAGE_TOKENS)),
    "tokens/normals": _tokens(_grid(KEYFRAMES, IMAGE_TOKENS)),
    "tokens/audio": _tokens(_grid(1, AUDIO_TOKENS)),
    "tokens/caption": _tokens(pa.list_(_U16)),
}

#: Columns that stay in the store and are not repeated in the published table.
HEAVY: dict[str, tuple[str, ...]] = {
    "clips": ("frames", "audio_flac"),
    "labels/depth": ("maps",),
    "labels/normals": ("maps",),
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


def shard_names(n_shards: int) -> list[str]:
    """``["0000", "0001", ...]``: the values of the ``{shard}`` wildcard."""
    return [f"{i:04d}" for i in range(n_shards)]


def token_files(results: Path, n_shards: int) -> dict[str, list[Path]]:
    """The shards of every modality's token table, in order."""
    names = [name.removeprefix("tokens/") for name in SCHEMAS if name.startswith("tokens/")]
    return {
        name: [results / "tokens" / name / f"{shard}.parquet" for shard in shard_names(n_shards)]
        for name in names
    }


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file atomically, with settings that make its bytes a function of the rows.

    Its values carry digests, so that damage is found when they are read.
    """
    plain = table.replace_schema_metadata(None)
    groups = (plain.slice(i, ROWS_PER_GROUP) for i in range(0, len(plain), ROWS_PER_GROUP))
    with atomic_path(path) as temp:
        checked.write(temp, plain.schema, groups)


def nested_lists(rows: Sequence[np.ndarray], kind: pa.DataType) -> pa.Array:
    """A column of (nested, fixed-size) lists from one array per row, without Python numbers."""
    if not len(rows):
        return pa.array([], kind)
    flat = pa.array(np.concatenate([row.ravel() for row in rows]))
    if not pa.types.is_fixed_size_list(kind):
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), flat).cast(kind)
    inner = pa.FixedSizeListArray.from_arrays(flat, kind.value_type.list_size)
    return pa.FixedSizeListArray.from_arrays(inner, kind.list_size).cast(kind)


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
