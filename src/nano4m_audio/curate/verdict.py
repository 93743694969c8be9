"""Verdicts: the one place where scores meet thresholds. No model, no media, fractions of a second.

Every candidate gets a row: accepted, or every reason why not; and for each decodable clip the
chosen audio window, its ten keyframes and the frame that looks most like its class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from nano4m_audio.config.curate import Verdict
from nano4m_audio.filters import COLUMNS, FILTERS, Filter
from nano4m_audio.media import windows
from nano4m_audio.paths import Results
from nano4m_audio.tables import published_schema, read_table, write_table

Row = Mapping[str, Any]
#: Clips that are judged at once.
_CLIPS = 1024
#: The artifacts of the shard that a verdict is made from.
INPUTS = ("candidates", "media", "clips", "scores/audio", "scores/visual", "scores/speech",
          "scores/fingerprints")  # fmt: skip


def verdicts(results: Results, shard: str, settings: Verdict) -> None:
    """Write verdicts/{shard}.parquet: one row per candidate of the shard, in their order.

    Reads the shard's candidates, media, clips and scores under ``results``. Scores stay columns of
    Arrow but for those of a few clips at a time: as Python lists they take twenty times as much.
    """

    def table(name: str, *columns: str) -> _ById:
        return _ById(read_table(results.table(name, shard), name, columns or None))

    media = table("media", "clip_id", "status", "reason", "message")
    clips, audio, visual = map(table, ("clips", "scores/audio", "scores/visual"))
    numbers = [
        table(row.table, "clip_id", row.column)
        for row in FILTERS
        if has_numbers(results, shard, settings, row)
    ]
    candidates = read_table(
        results.table("candidates", shard), "candidates", ["clip_id", "class_name"]
    )
    made = [published_schema("verdicts").empty_table()]
    for batch in candidates.to_batches(_CLIPS):
        some = batch.to_pylist()
        ids = [row["clip_id"] for row in some]
        known = [source.rows(ids) for source in (media, clips, audio, visual)]
        values: dict[str, dict[str, Any]] = {}
        for source in numbers:
            for clip_id, found in source.rows(ids).items():
                values.setdefault(clip_id, {}).update(found)
        judged = [_verdict(candidate, known, values, settings) for candidate in some]
        made.append(pa.Table.from_pylist(judged, schema=made[0].schema))
    write_table(results.table("verdicts", shard), pa.concat_tables(made).combine_chunks())


class _ById:
    """A table of Arrow whose rows are asked for by ``clip_id``."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()
        self._places = {name: i for i, name in enumerate(table["clip_id"].to_pylist())}

    def rows(self, ids: Sequence[str]) -> dict[str, Row]:
        """The rows of those clips that the table has, by id."""
        found = [self._places[name] for name in ids if name in self._places]
        taken = self._table.take(pa.array(found, pa.int64()))
        return {row["clip_id"]: row for row in taken.to_pylist()}


def _verdict(
    candidate: Row,
    known: Sequence[Mapping[str, Row]],
    numbers: Mapping[str, Row],
    settings: Verdict,
) -> dict[str, Any]:
    """The row of a candidate, whose clip may not have come as far as scores. ``known`` are its rows
    of media, clips, scores of sound and of pictures, by id."""
    media, clips, audio, visual = known
    clip_id = candidate["clip_id"]
    stages = (media.get(clip_id), clips.get(clip_id))
    failed = next((row for row in stages if row and row["status"] != "ok"), None)
    if failed:
        return _failed(clip_id, failed)
    clip = {**clips[clip_id], **numbers[clip_id]}
    return _judge(candidate, clip, audio[clip_id], visual[clip_id], settings)


def has_numbers(results: Results, shard: str, settings: Verdict, row: Filter) -> bool:
    """Whether to read a filter's table: one that nothing is compared with need not be there."""
    there = row.table and results.table(row.table, shard).exists()
    return bool(there or (row.table and settings.is_on(row)))


def _failed(clip_id: str, row: Row) -> dict[str, Any]:
    """The row of a candidate without a decodable clip."""
    return {
        "clip_id": clip_id,
        "clip_key": "",
        "accepted": False,
        "reasons": [row["reason"]],
        "message": row["message"],
    }


def _judge(candidate: Row, clip: Row, audio: Row, visual: Row, settings: Verdict) -> dict[str, Any]:
    """Choose the window and compare every score with its threshold."""
    name = candidate["class_name"]
    window, audio_score = _best(audio, "scores", name)
    if window is None:  # the loudest one
        window = int(np.argmax(audio["window_level_dbfs"]))
    start_s = float(audio["window_start_s"][window])
    frame_times = np.array(clip["frame_times_s"])
    frame, visual_score = _best(visual, "cosines", name)
    keyframes = (
        windows.window_keyframes(frame_times, start_s, clip["duration_s"])
        if settings.keyframes_span == "window"
        else windows.spread(len(frame_times), windows.KEYFRAMES)
    )
    keyframes += keyframes[-1:] * (windows.KEYFRAMES - len(keyframes))
    numbers = {**clip, "audio_score": audio_score, "visual_score": visual_score}
    values = {column: numbers.get(column) for column in COLUMNS}
    reasons = failed_filters(values, limits_of(values, name, settings))
    return {
        "clip_id": candidate["clip_id"],
        "clip_key": clip["key"],
        "accepted": not reasons,
        "reasons": reasons,
        "message": "",
        **values,
        "window_start_s": start_s,
        "keyframes": keyframes,
        "keyframe_times_s": frame_times[keyframes].tolist(),
        "best_frame": (
            keyframes[0]
            if frame is None
            else int(np.abs(frame_times - visual["frame_times_s"][frame]).argmin())
        ),
    }


def _best(row: Row, column: str, name: str) -> tuple[int | None, float | None]:
    """Place and score of the window or frame that is most like the class, the earliest of equal
    ones; None where no model knows the class."""
    if name not in row["labels"]:
        return None, None
    scores = np.array(row[column])[:, row["labels"].index(name)]
    return int(scores.argmax()), float(scores.max())


def limits_of(values: Row, class_name: str, settings: Verdict) -> dict[str, float | None]:
    """The thresholds of a clip, by key. A null threshold is off, and so is that of a number which
    the model cannot give, as it does not know the class or the label."""
    unknown = [f.key for f in FILTERS if f.may_be_unknown and values.get(f.column) is None]
    return settings.limits(class_name) | dict.fromkeys(unknown)


def failed_filters(values: Row, limits: Mapping[str, float | None]) -> list[str]:
    """The reason of every filter that the values fail, in the order of the filters. ``limits`` are
    thresholds by key; a filter without one is off."""
    return [f.reason for f in FILTERS if f.fails(values.get(f.column), limits.get(f.key))]
