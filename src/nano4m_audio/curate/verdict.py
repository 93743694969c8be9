"""Verdicts: the one place where scores meet thresholds. No model, no media, fractions of a second.

Every candidate gets a row: accepted, or every reason why not; and for each decodable clip the
chosen audio window, its ten keyframes and the frame that looks most like its class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nano4m_audio.config.curate import Verdict
from nano4m_audio.filters import COLUMNS, FILTERS, Filter
from nano4m_audio.media import windows
from nano4m_audio.paths import Results
from nano4m_audio.tables import read_rows, write_rows

Row = Mapping[str, Any]
#: The artifacts of the shard that a verdict is made from.
INPUTS = ("candidates", "media", "clips", "scores/audio", "scores/visual", "scores/speech",
          "scores/fingerprints")  # fmt: skip


def verdicts(results: Results, shard: str, settings: Verdict) -> None:
    """Write verdicts/{shard}.parquet: one row per candidate of the shard, in their order.

    Reads the shard's candidates, media, clips and scores under ``results``.
    """

    def table(name: str, *columns: str) -> dict[str, Row]:
        rows = read_rows(results.table(name, shard), name, columns or None)
        return {row["clip_id"]: row for row in rows}

    media, clips, audio, visual = map(table, ("media", "clips", "scores/audio", "scores/visual"))
    numbers: dict[str, dict[str, Any]] = {}
    for row in FILTERS:
        if has_numbers(results, shard, settings, row):
            for clip_id, found in table(row.table, "clip_id", row.column).items():
                numbers.setdefault(clip_id, {}).update(found)
    rows = []
    for clip_id, candidate in table("candidates").items():
        stages = (media.get(clip_id), clips.get(clip_id))
        failed = next((row for row in stages if row and row["status"] != "ok"), None)
        if failed:
            rows.append(_failed(clip_id, failed))
        else:
            clip = {**clips[clip_id], **numbers[clip_id]}
            rows.append(_judge(candidate, clip, audio[clip_id], visual[clip_id], settings))
    write_rows(results.table("verdicts", shard), "verdicts", rows)


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
    """Choose the window and compare every score with its threshold; a null threshold is off, and so
    is that of a model which does not know the clip's class."""
    name = candidate["class_name"]
    unknown = [
        score
        for score, row in (("score.audio", audio), ("score.visual", visual))
        if name not in row["labels"]
    ]
    limits = settings.limits(name) | {f.key: None for f in FILTERS if f.score in unknown}
    window, audio_score = _best(audio, "scores", name)
    if window is None:  # the loudest one
        window = int(np.argmax(audio["window_level_dbfs"]))
    start_s = float(audio["window_start_s"][window])
    frame_times = np.array(clip["frame_times_s"])
    frame, visual_score = _best(visual, "cosines", name)
    keyframes = (
        windows.window_keyframes(frame_times, start_s)
        if settings.keyframes_span == "window"
        else windows.spread(len(frame_times), windows.KEYFRAMES)
    )
    keyframes += keyframes[-1:] * (windows.KEYFRAMES - len(keyframes))
    numbers = {**clip, "audio_score": audio_score, "visual_score": visual_score}
    values = {column: numbers.get(column) for column in COLUMNS}
    reasons = failed_filters(values, limits)
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


def failed_filters(values: Row, limits: Mapping[str, float | None]) -> list[str]:
    """The reason of every filter that the values fail, in the order of the filters. ``limits`` are
    thresholds by key; a filter without one is off."""
    return [f.reason for f in FILTERS if f.fails(values.get(f.column), limits.get(f.key))]
