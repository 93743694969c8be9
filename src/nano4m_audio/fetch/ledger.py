"""The ledger: one row for every time that a video was asked for, added when it was answered.

It is a folder of Parquet files of at most PART_ROWS rows. The last one is written anew, whole, with
every row, and renamed over the old one; so a kill at any moment leaves a row in it once or not at
all, and any reader of Parquet can read the folder at any time.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from threading import Lock

import pyarrow as pa

from nano4m_audio.checked import CheckedFile, DamagedError
from nano4m_audio.errors import UserError
from nano4m_audio.fetch.faults import Fault, cleaned
from nano4m_audio.files import remove_leftovers, user_errors
from nano4m_audio.locks import try_locked
from nano4m_audio.tables import F64, I64, STR, STRINGS, Column, write_table

PART_ROWS = 256
_WARNINGS = 5
#: A part, or one that was set aside: its number is not used again.
_NUMBERED = re.compile(r"_?(\d+)\.parquet")
_TIME = pa.timestamp("us", tz="UTC")
COLUMNS: list[Column] = [
    ("video_id", STR, "the video that was asked for"),
    ("clip_ids", STRINGS, "its candidates that were asked for; when ok, all of them are there"),
    ("attempt", I64, "how often the video had been asked for, this time included"),
    ("started_at", _TIME, "when it was asked for"),
    ("ended_at", _TIME, "when the answer was complete"),
    ("kind", STR, "ok, or permanent, long, transient, address or config (fetch/faults.yaml)"),
    ("name", STR, "ok, or the name of the fault in fetch/faults.yaml"),
    ("http_status", I64, "status of the HTTP answer, if that was it"),
    ("retry_after_s", F64, "when the answer said to ask again [s]; else null"),
    ("raw", STR, "the answer's text: at most 300 characters, without controls and secrets"),
    ("warnings", STRINGS, "what yt-dlp warned of before, likewise"),
    ("client", STR, "the clients of the site that were asked"),
    ("yt_dlp", STR, "version of yt-dlp"),
    ("ejs", STR, "version of yt-dlp's scripts for the site's JavaScript"),
    ("js_runtime", STR, "what ran them, with its version"),
    ("route", STR, "how segments were read: range or whole"),
    ("bytes", I64, "bytes of media that were read"),
    ("session", STR, "guest, or a digest of the file with cookies"),
]
SCHEMA = pa.schema([(name, kind) for name, kind, _ in COLUMNS])
#: What decides when a video is asked for again, and when anything is.
STATE = ("video_id", "clip_ids", "attempt", "started_at", "ended_at", "kind", "name",
         "retry_after_s", "session")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of the ledger; COLUMNS says what the fields mean. Times are aware, in UTC."""

    video_id: str
    attempt: int
    started_at: datetime
    ended_at: datetime
    kind: str = "ok"
    name: str = "ok"
    clip_ids: Sequence[str] = ()
    http_status: int | None = None
    retry_after_s: float | None = None
    raw: str = ""
    warnings: Sequence[str] = ()
    client: str = ""
    yt_dlp: str = ""
    ejs: str = ""
    js_runtime: str = ""
    route: str = ""
    bytes: int = 0
    session: str = "guest"

    def failed(self, fault: Fault) -> Attempt:
        """The same attempt, ended by a fault."""
        return replace(
            self,
            kind=fault.kind,
            name=fault.name,
            retry_after_s=fault.retry_after_s,
            raw=fault.raw,
        )


_FIELDS = [entry.name for entry in fields(Attempt)]


@dataclass
class Ledger:
    """The ledger, open for adding rows: ``with open_ledger(folder) as ledger``."""

    folder: Path
    #: What every video answered so far, in order.
    videos: dict[str, list[Attempt]]
    _part: Path
    _rows: pa.Table
    _lock: Lock = field(default_factory=Lock)

    @property
    def attempts(self) -> list[Attempt]:
        """All rows, by the time of their answer."""
        rows = [row for looks in list(self.videos.values()) for row in list(looks)]
        return sorted(rows, key=lambda row: row.ended_at)

    def looks(self, video_id: str) -> list[Attempt]:
        """The rows of one video, in order."""
        return list(self.videos.get(video_id, ()))

    def append(self, attempt: Attempt) -> None:
        """Add a row; it is on disk when this returns. Raises UserError, and adds nothing, where
        the disk is full. May be called from threads."""
        warnings = [cleaned(text) for text in attempt.warnings[:_WARNINGS]]
        row = replace(attempt, raw=cleaned(attempt.raw), warnings=warnings)
        new = pa.Table.from_pylist([asdict(row)], schema=SCHEMA)
        with self._lock:
            rows = pa.concat_tables([self._rows, new])
            write_table(self._part, rows)
            self._rows = rows
            self.videos.setdefault(row.video_id, []).append(row)
            if len(rows) >= PART_ROWS:
                self._part, self._rows = _following(self._part), SCHEMA.empty_table()


@contextlib.contextmanager
def open_ledger(folder: Path) -> Iterator[Ledger]:
    """Open a ledger for adding rows, alone. Parts that are damaged are set aside, with a line.

    Raises UserError when another process has it open.
    """
    with user_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with try_locked(folder) as held:
        if not held:
            raise UserError(f"{folder} is in use by another fetch: wait for it or stop it")
        remove_leftovers(folder)
        parts = [part for part in _parts(folder) if _sound(part)]
        named = (_NUMBERED.match(path.name) for path in folder.iterdir())
        last = max((int(match[1]) for match in named if match), default=-1)
        part, rows = folder / f"{last + 1:08d}.parquet", SCHEMA.empty_table()
        if parts and int(parts[-1].stem) == last:
            newest = _read(parts[-1], SCHEMA.names)
            if len(newest) < PART_ROWS:
                part, rows = parts[-1], newest
        yield Ledger(folder, by_video(read_attempts(folder, STATE)), part, rows)


def read(folder: Path, columns: Sequence[str] = tuple(SCHEMA.names)) -> pa.Table:
    """Some columns of all rows, in order; also while rows are added. Damaged parts are left out,
    with a line. A ledger that is not there has no rows."""
    tables = [pa.schema([SCHEMA.field(name) for name in columns]).empty_table()]
    for part in _parts(folder):
        try:
            tables.append(_read(part, columns))
        except DamagedError as error:
            print(f"warning: {error}: its rows are left out", file=sys.stderr)
    return pa.concat_tables(tables)


def read_attempts(folder: Path, columns: Sequence[str] = tuple(_FIELDS)) -> list[Attempt]:
    """All rows as attempts; columns that are not asked for have their defaults."""
    return [Attempt(**row) for row in read(folder, columns).to_pylist()]


def by_video(attempts: Sequence[Attempt]) -> dict[str, list[Attempt]]:
    """The attempts of every video, in their order."""
    videos: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        videos.setdefault(attempt.video_id, []).append(attempt)
    return videos


def _parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if path.stem.isdecimal())


def _following(part: Path) -> Path:
    return part.with_name(f"{int(part.stem) + 1:08d}.parquet")


def _read(part: Path, columns: Sequence[str]) -> pa.Table:
    try:
        with CheckedFile(part) as file:
            if not file.schema.equals(SCHEMA):
                raise UserError(f"{part} has the columns of another version: move its folder away")
            return file.read(list(columns))
    except OSError as error:
        raise UserError(f"{part} cannot be read ({error.strerror or error})") from None


def _sound(part: Path) -> bool:
    """Whether a part is what was written; else it is renamed, so that nobody reads it."""
    try:
        _read(part, SCHEMA.names)
    except DamagedError as error:
        aside = part.with_name(f"_{part.name}.damaged")
        print(f"warning: {error}: kept as {aside.name}, its rows are lost", file=sys.stderr)
        part.replace(aside)
        return False
    return True
