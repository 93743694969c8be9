"""Fetch segments of a video: one question to its site, then only the bytes that are needed."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nano4m_audio.acquire.child import Child, Died, Limits
from nano4m_audio.acquire.source import Source
from nano4m_audio.config.sources import Web
from nano4m_audio.errors import UserError
from nano4m_audio.fetch import kept
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.cut import Cut, Media, cut, look
from nano4m_audio.fetch.guard import Budget, Guard
from nano4m_audio.fetch.http import MOST_BYTES, Client, NoRanges, RangeFile, download
from nano4m_audio.fetch.resolve import Log, Resolved, Stream, resolve, said, session
from nano4m_audio.files import atomic_path, user_errors

Route = Literal["range", "whole"]
#: Addresses that are no longer valid: the site is asked for new ones, once.
_GONE = (403, 404, 410)
#: Requests are not larger than this share of what a segment takes, so that little is read in vain.
_SHARE = 4
_USUAL_S = 10.0
#: The end of a video whose length nobody says.
_NEVER_S = 1e6
_MEMORY_MB = 3000
_CPU_S = 900.0
#: A video may take so long in all, pauses between requests included.
WALL_S = 3600.0


@dataclass(frozen=True)
class Segment:
    """What is wanted of a video: [start_s, end_s), None for up to its end, and where it goes."""

    start_s: float
    end_s: float | None
    out: Path


@dataclass(frozen=True)
class Piece:
    """A file with a segment: its frames and its sound are at [file_start_s, file_end_s) [s].

    Times count from the start of the file's container, as ``acquire.decode`` counts them. A segment
    that runs past the end of the video ends with it. ``bytes_read`` is what the media's servers
    sent for it. ``route`` is "range" when only the segment was read,
    "whole" when the whole file was. ``has_sound`` is false for a film without,
    ``is_all`` true for a file that is the site's own, byte for byte.
    """

    path: Path
    route: Route
    file_start_s: float
    file_end_s: float
    bytes_read: int
    format_id: str
    has_sound: bool = True
    is_all: bool = False


@dataclass(frozen=True)
class Fetched:
    """What a video gave: for every segment, in order, its piece or why there is none.

    ``error`` says why there is nothing at all; then ``results`` is empty. ``warnings``,
    ``versions`` and ``client`` are yt-dlp's, for the record.
    """

    results: tuple[Piece | FetchError, ...] = ()
    error: FetchError | None = None
    duration_s: float | None = None
    client: str = ""
    warnings: tuple[str, ...] = ()
    versions: dict[str, str] | None = None


def fetch_safely(url: str, segments: Sequence[Segment], settings: Web) -> Fetched:
    """``fetch_video`` in a child process with limits on memory and time.

    For many videos keep a ``child`` and call ``ask`` with it. Raises UserError for what is wrong
    with the installation, the config or the disk.
    """
    with child() as fetching:
        return ask(fetching, url, segments, settings)


def child() -> Child:
    """The process that media of unknown origin are read in; use it with ``with``, then ``ask``."""
    return Child(_answer, Limits(memory_mb=_MEMORY_MB, cpu_s=_CPU_S, wall_s=WALL_S))


def ask(fetching: Child, url: str, segments: Sequence[Segment], settings: Web) -> Fetched:
    """Call ``fetch_video`` in the ``child``. Never raises for what came from the web.

    A child that dies is an error "the reader ended: ..." of the video. Raises UserError.
    """
    try:
        answer = fetching(url, tuple(segments), settings)
    except Died as death:
        text = f"the reader ended: {death.message}"
        return Fetched(error=FetchError(text, place="media"))
    if isinstance(answer, UserError):
        raise answer
    return answer


def _answer(url: str, segments: Sequence[Segment], settings: Web) -> Fetched | UserError:
    try:
        return fetch_video(url, segments, settings)
    except UserError as error:
        return error


def fetch_video(url: str, segments: Sequence[Segment], settings: Web) -> Fetched:
    """Ask for the video of the page ``url`` once, and write the ``segments`` of it.

    A piece is noted (``kept.keep``) as soon as it is finished, so that a kill loses no other one.
    Addresses that were valid a moment ago and are not any more are asked for again, once. Segments
    after one that failed are still tried, unless the server refuses (403, 404, 410, 429).
    Raises UserError only.
    """
    try:
        resolved = resolve(url, settings)
    except FetchError as error:
        return Fetched(error=error, warnings=error.warnings)
    results: list[Piece | FetchError] = []
    again = True
    with _Fetching(resolved, settings) as fetching:
        for segment in segments:
            result = fetching.piece(segment)
            if again and isinstance(result, FetchError) and result.status in _GONE:
                again = False
                try:
                    resolved = resolve(url, settings)
                except FetchError as error:
                    result = error
                else:
                    fetching.renew(resolved)
                    result = fetching.piece(segment)
            results.append(result)
            if isinstance(result, FetchError) and result.status in (*_GONE, 429):
                results += [result] * (len(segments) - len(results))
                break
    versions = dict(resolved.versions)
    return Fetched(
        tuple(results),
        None,
        resolved.duration_s,
        resolved.client,
        resolved.warnings,
        versions,
    )


def _note(piece: Piece) -> kept.Piece:
    """What is noted of a piece; one that is all of its video has no window."""
    return kept.Piece(
        size_bytes=piece.path.stat().st_size,
        file_start_s=None if piece.is_all else piece.file_start_s,
        file_end_s=None if piece.is_all else piece.file_end_s,
        route=piece.route,
        format_id=piece.format_id,
        bytes_read=piece.bytes_read,
    )


def fetch_piece(resolved: Resolved, segment: Segment, settings: Web) -> Piece:
    """Write one segment of a video whose addresses are known. Raises FetchError, UserError."""
    with _Fetching(resolved, settings) as fetching:
        result = fetching.piece(segment)
    if isinstance(result, FetchError):
        raise result
    return result


class _Fetching:
    """The open files of one video, shared by its segments."""

    def __init__(self, resolved: Resolved, settings: Web) -> None:
        self._settings = settings
        self._budget = Budget(settings.max_mb * 1_000_000, 4 * settings.timeout_s)
        guard = Guard(settings.private_hosts, settings.timeout_s, self._budget, settings.proxy)
        self._client = Client(guard)
        self._folder: Path | None = None
        self._sources: list[Any] = []
        self._media: Media | None = None
        self.renew(resolved)

    def __enter__(self) -> _Fetching:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()
        self._client.__exit__()

    def renew(self, resolved: Resolved) -> None:
        """Read from other addresses from now on."""
        self._close()
        self._resolved, self._in_ranges = resolved, True
        wanted: str = self._settings.route
        in_parts = not all(stream.direct for stream in resolved.streams)
        self._route: Route = "whole" if wanted == "whole" or in_parts else "range"

    def _close(self) -> None:
        if self._media:
            self._media.close()
        for source in self._sources:
            if isinstance(source, Source):
                source.__exit__(None, None, None)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._media, self._sources, self._folder = None, [], None

    def piece(self, segment: Segment) -> Piece | FetchError:
        """The piece of a segment, or why there is none."""
        before = self._budget.used
        try:
            with user_errors(segment.out):
                piece = self._piece(segment, before)
                kept.keep(segment.out, _note(piece))
                return piece
        except FetchError as error:
            return error

    def _piece(self, segment: Segment, before: int) -> Piece:
        alone = self._resolved.streams[0] if len(self._resolved.streams) == 1 else None
        try:
            if alone and alone.direct and self._covers(segment):
                return self._store(alone, segment, before)
            media = self._open(segment.out.parent)
            end_s = media.video_s if segment.end_s is None else segment.end_s
            made = cut(media, segment.start_s, _NEVER_S if end_s is None else end_s, segment.out)
            for source in self._sources:
                source.check()
        except FetchError as error:
            faults = [f for source in self._sources if (f := getattr(source, "fault", None))]
            self._close()
            raise (faults or [error])[0] from error
        return self._made(segment, self._route, made, before)

    def _made(self, segment: Segment, route: Route, made: Cut, before: int) -> Piece:
        return Piece(
            segment.out,
            route,
            made.start_s,
            made.end_s,
            self._budget.used - before,
            self._resolved.format_id,
            made.has_sound,
        )

    def _covers(self, segment: Segment) -> bool:
        """Is the segment all of the video? Its files may have to be opened to say so."""
        if segment.start_s > 0 or segment.end_s is None:
            return segment.start_s <= 0
        known_s = self._resolved.duration_s
        if known_s is not None and segment.end_s < known_s:
            return False
        ends_s = self._open(segment.out.parent).video_s
        return ends_s is not None and segment.end_s >= ends_s

    def _store(self, stream: Stream, segment: Segment, before: int) -> Piece:
        """The whole file, byte for byte."""
        with atomic_path(segment.out) as temp:
            if self._folder:
                shutil.copyfile(self._folder / "0", temp)
            else:
                self._download(stream, temp)
            with Source(temp) as source:
                media = Media.open([source])
                try:
                    made = look(temp, media, 0.0, segment.end_s or _NEVER_S)
                finally:
                    media.close()
        return replace(self._made(segment, "whole", made, before), is_all=True)

    def _open(self, folder: Path) -> Media:
        if self._media is None:
            if self._route == "range":
                self._open_ranges()
            if self._route == "whole":
                self._open_whole(folder)
            self._media = Media.open(self._sources)
            self._read_sparingly(self._media)
        return self._media

    def _open_ranges(self) -> None:
        try:
            for stream in self._resolved.streams:
                self._sources.append(RangeFile(self._client, stream.url, stream.headers))
        except NoRanges:
            if self._settings.route == "range":
                raise
            self._sources, self._route, self._in_ranges = [], "whole", False

    def _open_whole(self, folder: Path) -> None:
        remove_leftovers(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=_prefix(), dir=folder))
        for number, stream in enumerate(self._resolved.streams):
            path = self._folder / str(number)
            if stream.direct:
                self._download(stream, path)
            else:
                self._download_parts(stream, path)
            self._sources.append(Source(path))

    def _download(self, stream: Stream, path: Path) -> None:
        download(self._client, stream.url, stream.headers, path, in_ranges=self._in_ranges)

    def _download_parts(self, stream: Stream, path: Path) -> None:
        """Let yt-dlp's own downloader put together what is sent in parts (HLS, DASH)."""
        log = Log()
        with session(self._settings, log, self._budget, outtmpl=str(path)) as ydl:
            from yt_dlp.downloader import get_suitable_downloader

            protocol = stream.protocol.replace("m3u8_native", "m3u8").replace("m3u8", "m3u8_native")
            details = {"id": "media", "title": "media", **stream.details, "protocol": protocol}
            try:
                loader = get_suitable_downloader(details, ydl.params)(ydl, ydl.params)
                done, _ = loader.download(str(path), details)
            except Exception as error:
                raise said(error, log.warnings, "media") from error
        if not done or not path.is_file():
            raise FetchError("The downloaded file is empty", place="media", warnings=log.warnings)

    def _read_sparingly(self, media: Media) -> None:
        """Requests of a size that fits segments: about a quarter of ten seconds."""
        for source in self._sources:
            if isinstance(source, RangeFile) and media.video_s:
                share = _USUAL_S / max(media.video_s, _USUAL_S) / _SHARE
                source.most_bytes = min(MOST_BYTES, int(source.size_bytes * share))


def _prefix() -> str:
    return f".whole-{socket.gethostname()}-{os.getpid()}-"


def remove_leftovers(folder: Path) -> None:
    """Remove whole files that a killed process of this machine left in ``folder``."""
    start = f".whole-{socket.gethostname()}-"
    for left in folder.glob(f"{glob.escape(start)}*"):
        pid = left.name.removeprefix(start).partition("-")[0]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)
