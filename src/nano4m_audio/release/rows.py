"""The rows of a release: one per candidate, and how they are written and read."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nano4m_audio.audit.manifest import FORMULA, unescaped
from nano4m_audio.errors import UserError
from nano4m_audio.filters import COLUMNS
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.paths import Results
from nano4m_audio.tables import F32, F64, I64, STR, STRINGS, Column, read_batches, read_table

TOKEN_COLUMNS = {name: f"{name}_tokens_sha256" for name in MODALITIES}
#: Name, type and meaning, as the card lists them.
RELEASED: list[Column] = [
    ("clip_id", STR, "VIDEO@START_MS"),
    ("video_id", STR, "the video that the clip is cut from"),
    ("start_s", F64, "where in the video the clip begins [s]"),
    ("end_s", F64, "where in the video it ends [s]; empty where it was not decoded"),
    ("class_name", STR, "the class that it is listed under"),
    ("sources", STRINGS, "data sets that list it"),
    ("file", STR, "its file within the folder of media; empty for a part of an archive"),
    ("media_bytes", I64, "size of the file"),
    ("media_sha256", STR, "SHA-256 of the file; empty where there was none"),
    ("accepted", pa.bool_(), "whether nothing is against it"),
    ("reasons", STRINGS, "all that is against it"),
    *((name, F32, meaning) for name, meaning in COLUMNS.items()),
    ("window_start_s", F64, "where in the clip the audio window of 3.413 s begins [s]"),
    ("keyframe_times_s", pa.list_(F64), "times of the ten keyframes in the clip [s]"),
    ("split", STR, "train, val or test; empty for rejected clips and copies"),
    ("group", STR, "clips of one video and copies, which are never parted"),
    ("duplicate_of", STR, "the copy of it that is kept"),
    *(
        (
            column,
            STR,
            f"SHA-256 of the tokens of its {MODALITIES[name].about}; empty where there are none",
        )
        for name, column in TOKEN_COLUMNS.items()
    ),
]
SCHEMA = pa.schema([(name, kind) for name, kind, _ in RELEASED])
#: More rows than any list of clips has: a file that claims them is not one of ours.
MAX_ROWS = 20_000_000


def release_rows(results: Results) -> list[dict[str, Any]]:
    """Every candidate of ``results`` as a row of the release, by class and id."""
    split = {row["clip_id"]: row for row in read_table(results.split, "split").to_pylist()}
    rows: list[dict[str, Any]] = []
    for shard in results.shards:
        rows += _shard_rows(results, shard, split)
    return sorted(rows, key=lambda row: (row["class_name"], row["clip_id"]))


def _shard_rows(results: Results, shard: str, split: Mapping[str, Any]) -> list[dict[str, Any]]:
    def table(name: str, *columns: str) -> dict[str, Any]:
        found = read_table(results.table(name, shard), name, ["clip_id", *columns])
        return {row["clip_id"]: row for row in found.to_pylist()}

    media, clips = table("media", "size_bytes", "sha256"), table("clips", "duration_s")
    judged = ("accepted", "reasons", *COLUMNS, "window_start_s", "keyframe_times_s")
    verdicts = table("verdicts", *judged)
    digests = {name: token_digests(results, shard, name) for name in results.modalities}
    listed = ("video_id", "start_s", "end_s", "class_name", "sources", "path", "byte_start")
    rows = []
    for clip_id, candidate in table("candidates", *listed).items():
        placed = split.get(clip_id, {})
        file = media.get(clip_id, {})
        length_s = clips.get(clip_id, {}).get("duration_s")
        start_s, end_s = candidate["start_s"], candidate.pop("end_s")
        if end_s is None and None not in (start_s, length_s):
            end_s = start_s + length_s
        rows.append(
            {
                **candidate,
                **{name: verdicts[clip_id][name] for name in judged},
                "end_s": end_s,
                "file": plain_name(candidate["path"] if candidate["byte_start"] is None else ""),
                "media_bytes": file.get("size_bytes") or None,
                "media_sha256": file.get("sha256") or "",
                **{name: placed.get(name) or "" for name in ("split", "group", "duplicate_of")},
                **{TOKEN_COLUMNS[name]: found.get(clip_id, "") for name, found in digests.items()},
            }
        )
    return rows


def plain_name(path: str | None) -> str:
    """A path that stays within its folder; "" for any other, which may tell of a machine."""
    text = path or ""
    outside = text.startswith(("/", "~")) or "\\" in text or ":" in text.split("/")[0]
    return "" if outside or ".." in PurePosixPath(text).parts else text


def token_digests(results: Results, shard: str, modality: str) -> dict[str, str]:
    """SHA-256 of every clip's token ids, as little-endian uint16 row after row, by clip_id."""
    name, digests = f"tokens/{modality}", {}
    path = results.table(name, shard)
    for batch in read_batches(path, name, ["clip_id", "status", "tokens"]):
        tokens = batch["tokens"]
        bounds, flat = _bounds(tokens), tokens.flatten()
        if MODALITIES[modality].kind != "text":
            bounds, flat = _bounds(flat)[bounds], flat.flatten()
        ids_of = flat.to_numpy().astype("<u2", copy=False)
        ids, states = batch["clip_id"].to_pylist(), batch["status"].to_pylist()
        for i, (clip_id, state) in enumerate(zip(ids, states, strict=True)):
            if state == "ok":
                ours = ids_of[bounds[i] : bounds[i + 1]]
                digests[clip_id] = hashlib.sha256(ours.tobytes()).hexdigest()
    return digests


def _bounds(lists: pa.Array) -> np.ndarray:
    """Where each list begins among the values of all, and where the last one ends."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as CSV: lists joined by +, and text that a spreadsheet would run behind an
    apostrophe."""
    out = io.StringIO()
    # All text in quotes: a bare carriage return in an id would begin another row.
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    names = [name for name in SCHEMA.names if not _is_numbers(name)]
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])
    return out.getvalue()


def _is_numbers(name: str) -> bool:
    """Lists of numbers are in the Parquet file alone."""
    return SCHEMA.field(name).type == pa.list_(F64)


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = "+".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value


def read_release(folder: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Some columns of a release, from its Parquet file or else its CSV. What stands in it is data:
    no path of it is ever opened. Raises UserError, in one line, for what is no release."""
    parquet, text = folder / "clips.parquet", folder / "clips.csv"
    try:
        if parquet.is_file():
            return _read_parquet(parquet, columns)
        with open(text, encoding="utf-8", errors="replace", newline="") as handle:
            rows = [unescaped(row) for row in csv.DictReader(handle)]
    except FileNotFoundError:
        raise UserError(
            f"{folder} is no release: it has neither clips.parquet nor clips.csv"
        ) from None
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        raise UserError(f"{folder} cannot be read as a release ({error})") from None
    if rows and (missing := set(columns) - rows[0].keys()):
        raise UserError(f"{text} is no list of a release: no column {min(missing)!r}")
    return [{name: _parsed(name, row.get(name)) for name in columns} for row in rows]


def _read_parquet(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    if file.metadata.num_rows > MAX_ROWS:
        raise ValueError(f"{file.metadata.num_rows:,} rows are more than {MAX_ROWS:,}")
    for name in columns:
        kind = SCHEMA.field(name).type
        if name not in file.schema_arrow.names or file.schema_arrow.field(name).type != kind:
            raise ValueError(f"no column {name!r} of type {kind} in {path.name}")
    rows: list[dict[str, Any]] = file.read(list(columns)).to_pylist()
    return rows


def _parsed(name: str, cell: Any) -> Any:
    kind, text = SCHEMA.field(name).type, str(cell or "")
    try:
        if pa.types.is_boolean(kind):
            return text == "true"
        if pa.types.is_list(kind):
            return text.split("+") if text else []
        if pa.types.is_integer(kind):
            return int(text) if text else None
        if pa.types.is_floating(kind):
            return float(text) if text else None
    except ValueError:
        return None
    return text
