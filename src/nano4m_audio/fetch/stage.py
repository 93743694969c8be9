"""The fetch stage: every video that is due is asked for once, for all its segments.

Its segments become pieces in the folder of the source, and what was answered is a row of the
ledger. Both are durable before the next video: a kill loses at most the videos in flight, and the
next run goes on where this one stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from nano4m_audio.acquire.retry import last_attempt, record_attempt
from nano4m_audio.config.sources import Web
from nano4m_audio.fetch import ledger as books
from nano4m_audio.fetch.history import Retry, due
from nano4m_audio.fetch.kept import kept
from nano4m_audio.fetch.ledger import Attempt
from nano4m_audio.files import write_json
from nano4m_audio.paths import Results
from nano4m_audio.reasons import Reason
from nano4m_audio.tables import read_rows, write_rows

_COLUMNS = ["clip_id", "video_id", "start_s", "end_s", "class_name", "path", "url"]


@dataclass(frozen=True)
class Video:
    """A video and the candidates that are cut from it."""

    video_id: str
    url: str
    clips: tuple[Mapping[str, Any], ...]

    def missing(self, pieces: Path) -> list[Mapping[str, Any]]:
        """The candidates whose pieces are not there."""
        return [clip for clip in self.clips if kept(pieces / clip["path"]) is None]


def videos(results: Results) -> list[Video]:
    """All videos of the candidates, in an order that has nothing to do with their names: whoever
    stops early has some of every class."""
    rows = [
        row for table in results.tables("candidates")
        for row in read_rows(table, "candidates", _COLUMNS)
    ]  # fmt: skip
    rows.sort(key=lambda row: (_shuffled(row["video_id"]), row["video_id"], row["clip_id"]))
    groups = ((name, tuple(clips)) for name, clips in groupby(rows, lambda row: row["video_id"]))
    return [Video(name, clips[0]["url"], clips) for name, clips in groups]


def _shuffled(video_id: str) -> bytes:
    return hashlib.blake2b(video_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def fetch_segments(results: Results, settings: Web, retry: Retry = "", attempt: int = 0) -> None:
    """Ask for what is due, unless ``partial``; then write the fetched tables.

    A row is ok, with its piece and where in it the clip lies, or failed, with the reason that the
    last answer is. Raises TryLaterError at a wall, and UserError for what an installation or a
    config lacks.
    """
    if not settings.partial:
        from nano4m_audio.fetch.run import ask_for

        ask_for(videos(results), results, settings, retry)
    write_tables(results, settings)
    record_attempt(results, "fetched", "all", attempt)


def write_tables(results: Results, settings: Web) -> None:
    """Write what became of every candidate so far."""
    pieces = Path(settings.folder(results.root).root)
    looks = books.by_video(books.read_attempts(results.ledger))
    now = datetime.now(UTC)
    write_json(results.fetched, {"answers": sum(map(len, looks.values()))})
    for shard in results.shards:
        candidates = read_rows(results.table("candidates", shard), "candidates", _COLUMNS)
        rows = [_row(clip, pieces, looks.get(clip["video_id"], []), now) for clip in candidates]
        write_rows(results.table("fetched", shard), "fetched", rows)


def _row(
    clip: Mapping[str, Any], pieces: Path, looks: list[Attempt], now: datetime
) -> dict[str, Any]:
    own = {"clip_id": clip["clip_id"], "path": clip["path"]}
    if piece := kept(pieces / clip["path"]):
        where = {"file_start_s": piece.file_start_s, "file_end_s": piece.file_end_s}
        return {**own, "status": "ok", "reason": "", "message": "", **where}
    decision = due(looks, now, missing=[clip["clip_id"]])
    reason = decision.reason or Reason.NOT_FETCHED_YET
    last = looks[-1] if looks else None
    message = f"{last.name}: {last.raw}" if last and last.kind != "ok" else decision.why
    return {**own, "status": "failed", "reason": reason.value, "message": message}


def next_attempt(results: Results, settings: Web) -> int:
    """The number of the attempt that the next job makes: one more than the last while a video that
    is not fetched yet may be asked for. Where nothing is asked (``partial``), the ledger's rows."""
    if not results.listing.exists():
        return 0
    if settings.partial:
        return books.read(results.ledger, ["attempt"]).num_rows
    return last_attempt(results, "fetched", "all") + any(_waiting(results))


def _waiting(results: Results) -> Iterator[bool]:
    """Whether a video is due, for those that are not fetched yet by the fetched tables."""
    looks, now = books.by_video(books.read_attempts(results.ledger, books.STATE)), datetime.now(UTC)
    for shard in results.shards:
        table = results.table("fetched", shard)
        if not table.exists():
            continue
        reasons = {row["clip_id"]: row["reason"] for row in read_rows(table, "fetched")}
        for clip in read_rows(results.table("candidates", shard), "candidates", _COLUMNS):
            if reasons.get(clip["clip_id"]) == Reason.NOT_FETCHED_YET:
                missing = [clip["clip_id"]]
                yield due(looks.get(clip["video_id"], []), now, missing=missing).ask == "now"
