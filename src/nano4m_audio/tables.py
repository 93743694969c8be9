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
from nano4m_audio.files import atomic_path
from nano4m_audio.filters import COLUMNS
from nano4m_audio.modalities import LABELS, MODALITIES

STR, F32, F64, I64, BOOL = pa.string(), pa.float32(), pa.float64(), pa.int64(), pa.bool_()
STRINGS, FLOATS = pa.list_(STR), pa.list_(F32)

Column = tuple[str, pa.DataType, str]
CLIP_ID: Column = ("clip_id", STR, "VIDEO@START_MS: the clip, unique in the whole dataset")
KEY: Column = ("key", STR, "content key: a digest of all that the row is computed from")
#: What happened to a row: every row of a model or media stage carries these three.
STATUS: list[Column] = [
    ("status", STR, "ok or failed"),
    ("reason", STR, "why it failed, one of the reasons below; empty when ok"),
    ("message", STR, "what was found, for people; sometimes also when ok"),
]
ROWS_PER_GROUP = 1024
#: Ids of a text; rows of ids of an image or of audio. How many there are, tokenizers decide.
_TEXT = pa.list_(pa.uint16())
_GRID = pa.list_(_TEXT)


#: The columns of every artifact: name, type and meaning (docs/DATA.md is made of them).
TABLES: dict[str, list[Column]] = {
    "candidates": [
        CLIP_ID,
        ("video_id", STR, "the video that the clip is cut from"),
        ("start_s", F64, "where in the video the clip begins [s]"),
        ("end_s", F64, "where in the video it ends [s]; null: where the file ends"),
        ("class_name", STR, "the class that it is listed under"),
        ("sources", STRINGS, "data sets that list it"),
        ("path", STR, "its file, relative to the source's folder"),
        ("byte_start", I64, "where in the file its own file begins (a member of an archive)"),
        ("byte_count", I64, "how long that is; both null: all of the file"),
        ("url", STR, "where it is fetched from; empty for files"),
    ],
    "fetched": [
        CLIP_ID,
        *STATUS,
        ("path", STR, "the piece of the video that was fetched, relative to the source's folder"),
        ("file_start_s", F64, "where in that file the clip begins [s]"),
        ("file_end_s", F64, "where in that file it ends [s]; both null: all of the file"),
    ],
    "media": [
        CLIP_ID,
        KEY,
        *STATUS,
        ("path", STR, "the file, relative to the source's folder"),
        ("byte_start", I64, "where in the file its own file begins (a member of an archive)"),
        ("byte_count", I64, "how long that is; both null: all of the file"),
        ("file_start_s", F64, "where in the file the clip begins [s]"),
        ("file_end_s", F64, "where in the file it ends [s]; both null: all of the file"),
        ("size_bytes", I64, "its size; 0 when failed"),
        ("sha256", STR, "SHA-256 of its content; empty when failed"),
    ],
    "clips": [
        CLIP_ID,
        KEY,
        *STATUS,
        ("duration_s", F64, "length of what was decoded [s]"),
        (
            "source_duration_s",
            F64,
            "length of the file's video [s], of which max_clip_s are decoded",
        ),
        ("fps", F64, "decoded frames per second"),
        ("width", pa.int32(), "width of a kept frame [px]"),
        ("height", pa.int32(), "height of a kept frame [px]"),
        ("n_frames", pa.int32(), "number of kept frames"),
        ("audio_start_s", F64, "where the audio begins in the clip [s]; silence before"),
        ("audio_end_s", F64, "where the audio ends in the clip [s]; silence after"),
        ("level_dbfs", F32, "RMS of the loudest second [dB of full scale], -120 for silence"),
        ("peak_dbfs", F32, "largest sample [dB of full scale], -120 for silence"),
        ("video_codec", STR, "codec of the video stream"),
        ("audio_codec", STR, "codec of the audio stream"),
        ("frame_times_s", pa.list_(F64), "times of the kept frames [s]"),
        ("frames", pa.list_(pa.binary()), "the kept frames, upright, as JPEG"),
        ("audio_flac", pa.binary(), "the audio, mono at 32 kHz, as FLAC"),
    ],
    "scores/audio": [
        CLIP_ID,
        KEY,
        ("window_start_s", FLOATS, "where each audio window begins [s]"),
        ("window_level_dbfs", FLOATS, "level of each window [dB of full scale]"),
        ("labels", STRINGS, "classes that the tagger knows"),
        ("scores", pa.list_(FLOATS), "score of each window for each label, 0 to 1"),
    ],
    "scores/visual": [
        CLIP_ID,
        KEY,
        ("frame_times_s", pa.list_(F64), "times of the scored frames [s]"),
        ("labels", STRINGS, "classes that are scored"),
        ("cosines", pa.list_(FLOATS), "cosine of each frame with each class's prompt"),
    ],
    "scores/speech": [
        CLIP_ID,
        KEY,
        ("segment_start_s", FLOATS, "where each segment of speech begins [s]"),
        ("segment_end_s", FLOATS, "where it ends [s]"),
        ("speech_fraction", F32, "share of the clip that is speech, 0 to 1"),
    ],
    "scores/fingerprints": [
        CLIP_ID,
        KEY,
        ("image", FLOATS, "fingerprint of the frames: 95 numbers, unit length"),
        ("image_mirror", FLOATS, "the same of the frames mirrored left to right"),
        ("audio", pa.list_(FLOATS), "fingerprint of the audio: 16 levels, 10 times a second"),
    ],
    "verdicts": [
        CLIP_ID,
        ("clip_key", STR, "content key of the clip's decoded row"),
        ("accepted", BOOL, "whether no filter and no failure is against it"),
        ("reasons", STRINGS, "all that is against it, from the reasons below"),
        ("message", STR, "the message of its failure, for people"),
        *((column, F32, meaning) for column, meaning in COLUMNS.items()),
        ("window_start_s", F64, "where the chosen audio window begins [s]"),
        ("keyframes", pa.list_(pa.int32()), "the ten keyframes, as indices of kept frames"),
        ("keyframe_times_s", pa.list_(F64), "their times [s]"),
        ("best_frame", pa.int32(), "index of the kept frame that scores best"),
    ],
    "split": [
        CLIP_ID,
        ("video_id", STR, "the video that the clip is cut from"),
        ("class_name", STR, "its class"),
        ("source", STR, "data sets that list it, joined by +"),
        ("group", STR, "clips of one video and copies, which are never parted"),
        ("duplicate_of", STR, "the copy of it that is kept; empty for a kept clip"),
        ("split", STR, "train, val or test; empty for a copy"),
        ("nearest_train", STR, "the training clip most like it, for clips of val and test"),
        ("nearest_picture", F32, "cosine of the two image fingerprints"),
        ("nearest_sound", F32, "correlation of the two audio fingerprints"),
    ],
    "selected": [
        CLIP_ID,
        ("clip_key", STR, "content key of the clip's decoded row"),
        ("class_name", STR, "its class"),
        ("split", STR, "train, val or test"),
        ("window_start_s", F64, "where the chosen audio window begins [s]"),
        ("keyframes", pa.list_(pa.int32()), "the ten keyframes, as indices of kept frames"),
    ],
    **{
        f"labels/{name}": [
            CLIP_ID,
            KEY,
            *STATUS,
            *((column, FLOATS, meaning) for column, meaning in MODALITIES[name].columns),
            ("maps", pa.list_(pa.binary()), f"{MODALITIES[name].about} of the keyframes, as PNG"),
        ]
        for name in LABELS
    },
    **{
        f"tokens/{name}": [
            CLIP_ID,
            KEY,
            *STATUS,
            (
                "tokens",
                _TEXT if row.kind == "text" else _GRID,
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
