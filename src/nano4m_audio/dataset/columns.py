"""What is known of every clip of a dataset besides its tokens: one row per clip."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from nano4m_audio.errors import UserError
from nano4m_audio.filters import COLUMNS
from nano4m_audio.paths import Results
from nano4m_audio.tables import F32, F64, STR, Column, read_table

#: Name, type and meaning of every column.
DESCRIBED: list[Column] = [
    ("clip_id", STR, "VIDEO@START_MS"),
    ("video_id", STR, "the video that the clip is cut from"),
    ("start_s", F64, "where in the video the clip begins [s]; null where it is not known"),
    ("class_name", STR, "the class that it is listed under"),
    ("source", STR, "data sets that list it, joined by +"),
    ("split", STR, "train, val or test"),
    ("group", STR, "clips of one video and copies, which are never parted"),
    *((name, F32, meaning) for name, meaning in COLUMNS.items()),
    ("window_start_s", F64, "where in the clip the audio window of 3.413 s begins [s]"),
    ("keyframe_times_s", pa.list_(F64), "times of the ten keyframes in the clip [s]"),
]
SCHEMA = pa.schema([(name, kind) for name, kind, _ in DESCRIBED])
_SPLIT = ("video_id", "class_name", "source", "split", "group")
_LISTED = ("start_s",)


def describe(results: Results, clip_ids: Sequence[str]) -> pa.Table:
    """The rows of these clips, in their order. What only a run of the workflow knows is null where
    the tokens were imported. Raises UserError for a clip that is not there any more."""
    wanted = pa.array(clip_ids, STR)
    tables = {"split": _rows(wanted, [read_table(results.split, "split", ["clip_id", *_SPLIT])])}
    judged = [n for n, *_ in DESCRIBED if n not in ("clip_id", *_SPLIT, *_LISTED)]
    for name, columns in (("candidates", list(_LISTED)), ("verdicts", judged)):
        paths = [path for path in results.tables(name) if path.exists()]
        read = [read_table(path, name, ["clip_id", *columns]) for path in paths]
        tables[name] = _rows(wanted, read) if read else None
    if tables["split"]["video_id"].null_count:
        raise UserError(f"{results.split} has changed: open the dataset again")
    described = {"clip_id": wanted}
    for name, kind, _ in DESCRIBED[1:]:
        home = "split" if name in _SPLIT else "candidates" if name in _LISTED else "verdicts"
        found = tables[home]
        described[name] = pa.nulls(len(wanted), kind) if found is None else found[name].cast(kind)
    return pa.table(described, schema=SCHEMA)


def _rows(wanted: pa.Array, tables: Sequence[pa.Table]) -> pa.Table:
    """The wanted rows of some tables, nulls for those that are not there."""
    table = pa.concat_tables(tables)
    return table.take(pc.index_in(wanted, table["clip_id"].combine_chunks()))
