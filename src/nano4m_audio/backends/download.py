"""Fetching one file over HTTP: resumed, retried, from the first mirror that works, never half done.

Only http and https are spoken, after redirects too, and never from https down to http. A file
appears under its name only when its size and SHA-256 are right. Whatever a server says about its
size, no more than the listed size is written, or ``max_bytes`` where none is listed.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from typing import Any
from urllib import request
from urllib.error import HTTPError, URLError

from nano4m_audio import files
from nano4m_audio.errors import UserError

#: Called with (bytes so far, bytes in all or None).
Progress = Callable[[int, int | None], None]

#: The most that is taken of a file whose size nobody has listed.
MAX_BYTES = 4_000_000_000
BACKOFF_S = (1.0, 4.0, 15.0)
TIMEOUT_S = 30.0
_MAX_RETRY_AFTER_S = 60.0
_BLOCK = 1 << 20
_MESSAGE_CHARS = 300
_MOST_COUNTED = 10**18
_PASSING = (408, 425, 429, 500, 502, 503, 504)


class _Fault(Exception):
    """What is wrong with a mirror. It may quote the mirror: one line of printable characters."""

    def __str__(self) -> str:
        text = "".join(c if c.isprintable() else " " for c in super().__str__())
        return " ".join(text.split())[:_MESSAGE_CHARS]


class _Refused(_Fault):
    """This mirror cannot give the file; asking again would not help."""


class _Interrupted(_Fault):
    """The transfer broke off; the next attempt goes on where it stopped, after ``wait_s``."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


def download(
    urls: Sequence[str],
    target: Path,
    sha256: str | None = None,
    size_bytes: int | None = None,
    progress: Progress = lambda done, total: None,
    max_bytes: int = MAX_BYTES,
) -> str:
    """Fetch ``target`` from the first of ``urls`` that gives the right bytes; return their SHA-256.

    An unfinished file stays beside the target as ``.part`` and is continued by the next call. With
    ``sha256`` None any content of the right size is taken, with ``size_bytes`` None any size up to
    ``max_bytes``. Raises UserError naming every mirror and what was wrong with it, and when the
    disk is too small.
    """
    problems = []
    for url in urls:
        part = _part_of(target, url)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _transfer_with_retries(url, part, _Limit(size_bytes, max_bytes), progress)
            digest = _checked(part, sha256, size_bytes)
            files.put_in_place(part, target)
            _etag_of(part).unlink(missing_ok=True)
            return digest
        except (_Refused, ValueError) as refused:  # ValueError: not an address
            problems.append(f"{url}: {refused}")
        except OSError as error:
            raise UserError(f"{target}: cannot be written ({error.strerror or error})") from None
    raise UserError(f"{target.name}: no mirror gave the file ({'; '.join(problems)})")


def size_text(size_bytes: int) -> str:
    """A size in the unit that suits it: 582 bytes, 14.1 kB, 4.0 MB, 1.15 GB."""
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    for unit, factor in (("kB", 1e3), ("MB", 1e6)):
        if size_bytes < 999.95 * factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes / 1e9:,.2f} GB"


def _part_of(target: Path, url: str) -> Path:
    """The unfinished file: one per mirror, so that two of them are never mixed."""
    mirror = hashlib.blake2b(url.encode(), digest_size=4).hexdigest()
    return target.with_name(f".{target.name}.{mirror}.part")


def _etag_of(part: Path) -> Path:
    return part.with_suffix(".etag")


def _checked(part: Path, sha256: str | None, size_bytes: int | None) -> str:
    """The SHA-256 of a finished transfer. A wrong file is deleted: continuing it cannot help."""
    size, digest = part.stat().st_size, files.sha256(part)
    wrong = ""
    if size_bytes not in (None, size):
        wrong = f"{size} bytes instead of {size_bytes}"
    elif sha256 not in (None, digest):
        wrong = f"SHA-256 {digest} instead of {sha256}"
    if wrong:
        _forget(part)
        raise _Refused(wrong)
    return digest


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _etag_of(part).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Limit:
    """How much of a file is taken: its listed size, or else at most so many bytes."""

    size_bytes: int | None
    max_bytes: int

    @property
    def bytes(self) -> int:
        return self.max_bytes if self.size_bytes is None else self.size_bytes

    def check(self, announced: int | None, start: int, folder: Path) -> None:
        """Refuse what a server announces before a byte is written: another size than the listed
        one, more than the limit, or (UserError) more than fits on the disk."""
        if announced is not None and self.size_bytes not in (None, announced):
            raise _Refused(f"{announced} bytes instead of {self.size_bytes}")
        if announced is not None and announced > self.bytes:
            raise _Refused(
                f"announces {size_text(announced)}, more than the {size_text(self.bytes)} allowed"
            )
        needed = (announced or self.size_bytes or 0) - start
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise UserError(
                f"{folder}: {size_text(needed)} are needed and {size_text(free)} are free: make "
                "room, or let NANO4M_AUDIO_CACHE name a folder on a larger disk"
            )


def _transfer_with_retries(url: str, part: Path, limit: _Limit, progress: Progress) -> None:
    for pause_s in (*BACKOFF_S, None):
        try:
            return _transfer(url, part, limit, progress)
        except _Interrupted as broken:
            if pause_s is None:
                raise _Refused(f"{broken} ({len(BACKOFF_S) + 1} attempts)") from None
            wait_s = max(pause_s, broken.wait_s)
            if wait_s >= 1:
                print(f"{url}: {broken}; trying again in {wait_s:.0f} s", file=sys.stderr)
            time.sleep(wait_s)


def _transfer(url: str, part: Path, limit: _Limit, progress: Progress) -> None:
    """One request, appended to ``part`` from where it ends."""
    start = part.stat().st_size if part.exists() else 0
    if start > limit.bytes:
        _forget(part)
        start = 0
    try:
        with _open(url, start, _etag_of(part)) as response:
            _refuse_wrong_body(response.headers, start if response.status == 206 else None)
            if response.status != 206:
                start = 0
            total = _total_bytes(response.headers, start)
            limit.check(total, start, part.parent)
            _etag_of(part).write_text(response.headers.get("ETag", ""))
            done = _append(_blocks(response), part, start, limit.bytes, total, progress)
    except HTTPError as error:
        _explain(error, part)
    except URLError as error:
        if "unknown url type" in str(error.reason):
            raise _Refused("only http and https are fetched") from None
        raise _Interrupted(str(error.reason)) from None
    except (TimeoutError, ConnectionError, SSLError, HTTPException) as error:
        raise _Interrupted(str(error) or type(error).__name__) from None
    else:
        if total is not None and done < total:
            raise _Interrupted(f"broke off after {done} of {total} bytes")


def _blocks(response: Any) -> Iterator[bytes]:
    """The body as it arrives. What goes wrong here is the network's fault, not the disk's."""
    while True:
        try:
            block = response.read1(_BLOCK)
        except (OSError, HTTPException) as error:
            raise _Interrupted(str(error) or type(error).__name__) from None
        if not block:
            return
        yield block


def _append(
    blocks: Iterator[bytes],
    part: Path,
    start: int,
    limit_bytes: int,
    total: int | None,
    progress: Progress,
) -> int:
    """Write the body behind the first ``start`` bytes of ``part``; returns its size."""
    with open(part, "r+b" if start else "wb") as handle:
        handle.seek(start)
        handle.truncate()
        done = start
        for block in blocks:
            done += len(block)
            if done > limit_bytes:
                _forget(part)
                raise _Refused(f"sends more than {limit_bytes} bytes, the most that is taken")
            handle.write(block)
            progress(done, total)
        return done


def _open(url: str, start: int, etag_file: Path) -> Any:
    headers = {"User-Agent": "nano4m-audio", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        etag = etag_file.read_text() if etag_file.exists() else ""
        if etag and not etag.startswith("W/"):
            headers["If-Range"] = etag  # a file that changed since is sent from its beginning
    return _opener().open(request.Request(url, headers=headers), timeout=TIMEOUT_S)


class _SafeRedirects(request.HTTPRedirectHandler):
    def redirect_request(
        self, req: request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> request.Request | None:
        scheme = newurl.partition(":")[0].lower()
        if scheme != "https" and scheme != req.type:
            raise _Refused(f"redirected to {newurl!r}, which is refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> request.OpenerDirector:
    """An opener for http and https alone: no file, ftp or data URLs, whatever a list says."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.UnknownHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        _SafeRedirects(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _count(text: str | None) -> int | None:
    """A number of a header, or the largest that counts; None for anything else that a server may
    write there."""
    text = (text or "").strip()
    if not (text.isascii() and text.isdecimal()):
        return None
    return int(text) if len(text) <= 18 else _MOST_COUNTED


def _total_bytes(headers: Message, start: int) -> int | None:
    """Size of the whole file, from ``Content-Range: bytes 5-9/10`` or the length of the rest."""
    whole = _count((headers.get("Content-Range") or "").rpartition("/")[2])
    length = _count(headers.get("Content-Length"))
    return whole if whole is not None else None if length is None else start + length


def _refuse_wrong_body(headers: Message, start: int | None) -> None:
    """``start`` is where the bytes of a partial answer should begin, None for a whole answer."""
    if headers.get_content_type() == "text/html":
        raise _Refused("answered with a web page (a login or a proxy?) instead of the file")
    if (coding := headers.get("Content-Encoding", "identity").lower()) != "identity":
        raise _Refused(f"answered in the coding {coding!r}, which was not asked for")
    if start is not None and not (headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
        raise _Refused(f"asked for the bytes from {start}, sent others")


def _explain(error: HTTPError, part: Path) -> None:
    """Turn an HTTP status into another attempt or another mirror."""
    if error.code == 416:  # the unfinished file is longer than the real one
        _forget(part)
        raise _Interrupted("asked for bytes behind the end of the file") from None
    if error.code in _PASSING:
        wait_s = min(_count(error.headers.get("Retry-After")) or 0, _MAX_RETRY_AFTER_S)
        raise _Interrupted(f"HTTP {error.code} {error.reason}", wait_s) from None
    raise _Refused(f"HTTP {error.code} {error.reason}") from None
