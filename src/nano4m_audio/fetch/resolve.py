"""Where the media of a video lies: yt-dlp is asked, and nothing is downloaded by it."""

from __future__ import annotations

import io
import os
import re
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from nano4m_audio.config.sources import Web
from nano4m_audio.errors import UserError
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.failures import retry_after_s
from nano4m_audio.fetch.guard import MAX_REDIRECTS, Budget, Guard, Refused

INSTALL = 'make web, or pip install ".[web]"'
#: A page, a player and its answers take some 5 MB.
_PAGE_BYTES = 100_000_000
_DIRECT = ("http", "https")
#: Media in many parts: yt-dlp's own downloader fetches them.
_IN_PARTS = ("m3u8_native", "m3u8", "http_dash_segments")
#: One file with sound is taken where its picture is this large, compared with picture alone.
_GOOD_ENOUGH = 0.7
_NOT_RECORDED = ("is_live", "is_upcoming", "post_live")
_COOKIE_FIELDS = 7
_MAX_WARNINGS, _WARNING_CHARS = 20, 500
_RUNTIMES = ("deno", "node", "quickjs")
_TOO_MANY = 429
#: What is left to say when no answer of the site came through.
_NOTHING_SAID = re.compile(
    "failed to extract any player response|no video formats found|requested format", re.I
)
_STATUS = re.compile(r"HTTP Error (\d{3})\b")
_COLOURS = re.compile("\x1b\\[[0-9;]*m")


@dataclass(frozen=True)
class Stream:
    """One file of a video, with both picture and sound or one of them.

    Addresses and headers may hold what belongs to the asker: they are never shown. ``height`` and
    ``filesize`` are what the site says, or None. ``vcodec`` and ``acodec`` are "none" for what the
    file has not, "" where nobody says. ``details`` is yt-dlp's own description.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    format_id: str
    container: str
    vcodec: str
    acodec: str
    height: int | None
    filesize: int | None
    protocol: str
    details: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @property
    def direct(self) -> bool:
        """Is it one file behind one address?"""
        return self.protocol in _DIRECT


@dataclass(frozen=True)
class Resolved:
    """A video whose files are known: one with everything, or one of pictures and one of sound."""

    video_id: str
    duration_s: float | None
    streams: tuple[Stream, ...]
    client: str
    warnings: tuple[str, ...]
    versions: Mapping[str, str]

    @property
    def format_id(self) -> str:
        """The formats of its streams, as yt-dlp writes them: 18, or 135+140."""
        return "+".join(stream.format_id for stream in self.streams)


def resolve(url: str, settings: Web) -> Resolved:
    """Ask what lies behind the page ``url``, with one session of yt-dlp.

    Raises FetchError (place "page") for whatever the site or yt-dlp says instead of a video;
    UserError when yt-dlp is not installed, or its cookies file is none.
    """
    log = Log()
    with session(settings, log) as ydl:
        try:
            ydl._guard.check(url)
            info = ydl.extract_info(url, download=False)
            return _resolved(ydl, info, settings, log)
        except Exception as error:
            answer = error if isinstance(error, FetchError) else said(error, log.warnings)
            if log.too_many and _NOTHING_SAID.search(answer.text):
                answer.status, answer.retry_after_s = _TOO_MANY, log.wait_s
            raise answer from error


class Log:
    """What yt-dlp says: warnings are kept, the rest is not needed.

    ``too_many`` requests, some server said, and to wait for ``wait_s``.
    """

    def __init__(self) -> None:
        self._warnings: list[str] = []
        self.too_many = False
        self.wait_s: float | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings, each once, without colours."""
        return tuple(dict.fromkeys(self._warnings))[:_MAX_WARNINGS]

    def debug(self, message: str) -> None:
        pass

    info = error = debug

    def warning(self, message: str, **_: Any) -> None:
        text = _COLOURS.sub("", str(message)).removeprefix("WARNING: ")
        self._warnings.append(text[:_WARNING_CHARS])


@contextmanager
def session(settings: Web, log: Log, budget: Budget | None = None, **more: Any) -> Iterator[Any]:
    """A yt-dlp that asks only through the guard, runs nothing and writes nothing.

    ``more`` are further params of yt_dlp.YoutubeDL.
    """
    os.environ["YTDLP_NO_PLUGINS"] = "1"
    try:
        import yt_dlp
        from yt_dlp.networking._urllib import UrllibRH
    except ImportError:
        raise UserError(f"source: web needs yt-dlp, which is not installed: {INSTALL}") from None
    pause_s = 40 * settings.request_sleep_s
    budget = budget or Budget(_PAGE_BYTES, 10 * settings.timeout_s + pause_s)
    guard = Guard(settings.private_hosts, settings.timeout_s, budget, settings.proxy)

    class GuardedRH(UrllibRH):  # type: ignore[misc]
        """The handler of the standard library, with every connection made by the guard."""

        _SUPPORTED_URL_SCHEMES = _DIRECT

        def _make_sslcontext(self, *arguments: Any, **named: Any) -> Any:
            return guard.tls(super()._make_sslcontext(*arguments, **named))

        def _create_instance(self, **named: Any) -> Any:
            opener = super()._create_instance(**named)
            for scheme in ("ftp", "file", "data"):
                opener.handle_open.pop(scheme, None)
            for handler in opener.handlers:
                if isinstance(handler, urllib.request.HTTPRedirectHandler):
                    setattr(handler, "max_redirections", MAX_REDIRECTS)  # noqa: B010
                elif isinstance(handler, urllib.request.AbstractHTTPHandler):
                    setattr(handler, "do_open", partial(_guarded, guard, log, handler.do_open))  # noqa: B010
            return opener

    class Session(yt_dlp.YoutubeDL):  # type: ignore[misc]
        _guard = guard

        def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
            return super().build_request_director([GuardedRH], preferences)

    try:
        with Session(_params(settings, log) | more) as ydl:
            yield ydl
    finally:
        guard.close()


def said(
    error: BaseException,
    warnings: tuple[str, ...] = (),
    place: Literal["page", "media"] = "page",
) -> FetchError:
    """What yt-dlp raised, as FetchError; UserError and what is no answer are raised as they are."""
    from yt_dlp.networking.exceptions import HTTPError
    from yt_dlp.utils import YoutubeDLError

    if isinstance(error, UserError | MemoryError):
        raise error
    if not isinstance(error, YoutubeDLError | OSError):
        # An extractor that meets what it does not know may raise anything.
        text = f"{type(error).__name__} in yt-dlp: {error}"
        return FetchError(text, place=place, warnings=warnings)
    text = _COLOURS.sub("", str(error)).removeprefix("ERROR: ")
    status = wait_s = None
    for cause in _causes(error):
        if isinstance(cause, Refused):
            text = str(cause)
        elif isinstance(cause, HTTPError):
            status, wait_s = cause.status, retry_after_s(cause.response.headers)
        elif countries := getattr(cause, "countries", None):
            text += f" (available in: {', '.join(map(str, countries))})"
    if status is None and (quoted := _STATUS.search(text)):
        status = int(quoted[1])  # of a part of the media, whose answer yt-dlp does not keep
    if status in range(300, 400):
        text = "refused: redirects to another kind of address, or too many of them"
    return FetchError(text, status=status, retry_after_s=wait_s, place=place, warnings=warnings)


def versions(ydl: Any) -> dict[str, str]:
    """Versions of yt-dlp, of its scripts and of the JavaScript runtimes that it found."""
    found = {}
    for package in ("yt-dlp", "yt-dlp-ejs"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    for name, runtime in getattr(ydl, "_js_runtimes", {}).items():
        if runtime is not None and runtime.info is not None:
            found[name] = runtime.info.version + ("" if runtime.info.supported else " (too old)")
    return found


def choose(formats: Sequence[Mapping[str, Any]], max_height_px: int) -> list[Mapping[str, Any]]:
    """Of ``formats``, sorted from bad to good, one with everything or one each of both kinds.

    Files behind one address come before media in parts. Empty: there is nothing with pictures.
    """
    usable = [f for f in formats if _fits(f, max_height_px)]
    silent: list[Mapping[str, Any]] = []
    for protocols in (_DIRECT, _IN_PARTS):
        group = [f for f in usable if f.get("protocol") in protocols]
        both = [f for f in group if "none" not in (f.get("vcodec"), f.get("acodec"))]
        video = [f for f in group if f.get("acodec") == "none" and f.get("vcodec") != "none"]
        audio = [f for f in group if f.get("vcodec") == "none" and f.get("acodec") != "none"]
        if video and audio:
            if both and (_side(both[-1]) or 0) >= _GOOD_ENOUGH * (_side(video[-1]) or 0):
                return both[-1:]
            return [video[-1], audio[-1]]
        if both:
            return both[-1:]
        silent = silent or video[-1:]
    return silent


def _guarded(
    guard: Guard, log: Log, do_open: Any, http_class: Any, request: Any, **named: Any
) -> Any:
    """``AbstractHTTPHandler.do_open`` with a connection that the guard makes."""
    guard.check(request.full_url)

    def connection(*arguments: Any, **more: Any) -> Any:
        made = http_class(*arguments, **more)
        made._create_connection = guard.connect
        return made

    response = do_open(connection, request, **named)
    if response.status == _TOO_MANY:
        log.too_many, log.wait_s = True, retry_after_s(response.headers)
    return response


def _params(settings: Web, log: Log) -> dict[str, Any]:
    from yt_dlp.globals import supported_js_runtimes

    proxy = settings.proxy
    if proxy and not proxy.startswith("http://"):
        proxy = ""  # the guard connects through it
    clients = {"youtube": {"player_client": list(settings.clients)}} if settings.clients else {}
    return {
        "logger": log,
        "quiet": True,
        "color": "never",
        "noprogress": True,
        "ignoreerrors": False,
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "playlist_items": "1",
        "format": "all",
        "format_sort": ["lang", f"res:{settings.max_height_px}", "vcodec:h264", "acodec:aac"],
        "cachedir": False,
        "cookiefile": _cookies(settings.cookies),
        "usenetrc": False,
        "postprocessors": [],
        "external_downloader": {"default": "native"},
        "ffmpeg_location": os.devnull,
        "fixup": "never",
        "js_runtimes": {name: {} for name in _RUNTIMES if name in supported_js_runtimes.value},
        "extractor_args": clients,
        "extractor_retries": 1,
        "retries": 3,
        "fragment_retries": 3,
        "skip_unavailable_fragments": False,
        "socket_timeout": settings.timeout_s,
        "sleep_interval_requests": settings.request_sleep_s,
        "proxy": proxy,
        "enable_file_urls": False,
    }


def _cookies(path: str | None) -> io.StringIO | None:
    """The cookies as a text that yt-dlp may write back as it likes: the file stays as it is."""
    if not path:
        return None
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "no text"
        raise UserError(f"web.cookies: {path!r} cannot be read ({why}): name your file") from None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.removeprefix("#HttpOnly_")
        if line.strip() and not line.startswith("#") and line.count("\t") != _COOKIE_FIELDS - 1:
            raise UserError(
                f"web.cookies: line {number} of {path!r} is no cookie in Netscape format "
                "(seven fields with tabs between): export the file anew"
            )
    if "Netscape" not in text[:200] and "HTTP Cookie File" not in text[:200]:
        text = f"# Netscape HTTP Cookie File\n{text}"
    return io.StringIO(text)


def _resolved(ydl: Any, info: Any, settings: Web, log: Log) -> Resolved:
    if not info:
        raise FetchError("yt-dlp says nothing", warnings=log.warnings)
    if info.get("_type", "video") != "video":
        raise FetchError("a playlist and not a video", warnings=log.warnings)
    status = "is_live" if info.get("is_live") else info.get("live_status")
    if status in _NOT_RECORDED:
        raise FetchError(f"live_status: {status}", warnings=log.warnings)
    chosen = choose(info.get("formats") or [info], settings.max_height_px)
    if not chosen:
        text = f"Requested format is not available: no picture up to {settings.max_height_px} px"
        raise FetchError(text, warnings=log.warnings)
    streams = tuple(_stream(ydl, chosen_format) for chosen_format in chosen)
    for stream in streams:
        try:
            ydl._guard.check(stream.url)
        except Refused as error:
            raise FetchError(str(error), place="media", warnings=log.warnings) from error
    duration = info.get("duration")
    return Resolved(
        video_id=str(info.get("id") or ""),
        duration_s=float(duration) if duration else None,
        streams=streams,
        client=_client(streams, settings),
        warnings=log.warnings,
        versions=versions(ydl),
    )


def _client(streams: Sequence[Stream], settings: Web) -> str:
    """Which of YouTube's clients gave the addresses: they say so; else those that were asked."""
    said_by = {c for s in streams for c in parse_qs(urlsplit(s.url).query).get("c", [])[:1]}
    return ",".join(sorted(said_by) or settings.clients)[:100]


def _stream(ydl: Any, chosen: Mapping[str, Any]) -> Stream:
    headers = dict(chosen.get("http_headers") or {})
    if cookie := ydl.cookiejar.get_cookie_header(chosen["url"]):
        headers["Cookie"] = cookie
    return Stream(
        url=chosen["url"],
        headers=headers,
        format_id=str(chosen.get("format_id") or ""),
        container=str(chosen.get("ext") or ""),
        vcodec=str(chosen.get("vcodec") or ""),
        acodec=str(chosen.get("acodec") or ""),
        height=chosen.get("height"),
        filesize=chosen.get("filesize") or chosen.get("filesize_approx"),
        protocol=str(chosen["protocol"]),
        details=dict(chosen),
    )


def _fits(one: Mapping[str, Any], max_height_px: int) -> bool:
    known = one.get("url") and one.get("ext") != "mhtml" and not one.get("has_drm")
    return bool(known) and (_side(one) or 0) <= max_height_px


def _side(one: Mapping[str, Any]) -> int | None:
    """The shorter side of a picture, which is what 480p means of an upright film."""
    sides = [side for side in (one.get("height"), one.get("width")) if side]
    return min(sides) if sides else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, each once."""
    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or one in seen:
            continue
        seen.append(one)
        yield one
        inner = getattr(one, "exc_info", None) or (None, None, None)
        waiting += [one.__context__, one.__cause__, getattr(one, "cause", None), inner[1]]
        waiting.append(getattr(one, "reason", None))
