"""Files of the web, read in ranges or as a whole, over connections that ``guard`` makes."""

from __future__ import annotations

import base64
import http.client
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urljoin, urlsplit

from nano4m_audio.acquire.source import Reader
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.failures import failure, may_pass, retry_after_s
from nano4m_audio.fetch.guard import MAX_REDIRECTS, Exhausted, Guard, Refused

#: Requests begin small after a jump and double while reading goes on from there.
FIRST_BYTES, MOST_BYTES = 64 << 10, 8 << 20
_CACHE_BYTES = 32 << 20
_BLOCK_BYTES = 64 << 10
#: So often in all is a file asked for again after a connection broke.
_RETRIES = 4
_PAUSE_S = 0.1
_REDIRECTS = (301, 302, 303, 307, 308)
#: What a server calls an error page or a form, and never a film.
_NO_MEDIA = re.compile(r"text/(?!plain)|application/(xhtml|json|xml)|.*\+(xml|json)", re.I)
_HTML = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.I | re.S)
#: Not for another host than the one they are meant for.
_PERSONAL = {"cookie", "authorization"}


class NoRanges(FetchError):
    """The server sends whole files only."""


@dataclass
class Answer:
    """The head of an HTTP answer, whose body is still to be read."""

    url: str
    status: int
    headers: http.client.HTTPMessage
    response: http.client.HTTPResponse

    def blocks(self) -> Iterator[bytes]:
        """The body, in pieces as they come."""
        while block := self.response.read1(_BLOCK_BYTES):
            yield block

    def finished(self) -> bool:
        """Is the body at its end, so that the connection can be used again?"""
        if self.response.length is None:  # in chunks: see the last one; else until it is closed
            return not self.response.will_close and not self.response.read1(1)
        if self.response.length == 0:
            self.response.close()
        return self.response.length == 0


class Client:
    """Asks for files with GET, keeping connections open. Close it after use.

    Raises OSError (Refused and Exhausted among them) and http.client.HTTPException.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._tls = guard.tls()
        self._open: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self._last: http.client.HTTPResponse | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
        self.guard.close()

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()
        if self._last:  # one that ends with its connection keeps that open itself
            self._last.close()

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """The answer for ``url``, or for where it leads to."""
        headers = {**headers, "Accept-Encoding": "identity"}
        for _ in range(MAX_REDIRECTS + 1):
            self.guard.check(url)
            response = self._ask(url, headers)
            target = response.headers.get("Location")
            if response.status not in _REDIRECTS or not target:
                return Answer(url, response.status, response.headers, response)
            response.close()
            self._drop(url)
            try:
                following = urljoin(url, target)
            except ValueError as error:
                raise Refused(f"refused: led to no address ({error})") from None
            if _host(following) != _host(url):
                headers = {k: v for k, v in headers.items() if k.lower() not in _PERSONAL}
            url = following
        raise Refused(f"refused: more than {MAX_REDIRECTS} redirects")

    def _ask(self, url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        kept = _host(url) in self._open
        try:
            return self._send(url, headers)
        except (http.client.HTTPException, OSError) as error:
            self._drop(url)
            idle = isinstance(error, http.client.RemoteDisconnected | BrokenPipeError)
            if not (kept and (idle or isinstance(error, http.client.CannotSendRequest))):
                raise
        try:  # the server closed an idle connection, or its last answer was not read to the end
            return self._send(url, headers)
        except (http.client.HTTPException, OSError):
            self._drop(url)
            raise

    def _send(self, url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        key = _host(url)
        if key not in self._open:
            self._open[key] = self._connection(url)
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        target = re.sub(r"[^!-~]", lambda m: "".join(f"%{b:02X}" for b in m[0].encode()), target)
        proxy = self._http_proxy(url)
        if proxy and parts.scheme == "http":
            target = f"http://{parts.netloc.rpartition('@')[2]}{target}"
            headers = {**headers, **_credentials(proxy)}
        self._open[key].request("GET", target, headers=dict(headers))
        self._last = self._open[key].getresponse()
        return self._last

    def _connection(self, url: str) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        proxy = self._http_proxy(url)
        at = urlsplit(proxy) if proxy else None
        where = (at.hostname or "", at.port or 80) if at else (host, port)
        made: http.client.HTTPConnection
        if parts.scheme == "https":
            made = http.client.HTTPSConnection(*where, timeout=30, context=self._tls)
            if proxy:
                made.set_tunnel(host, port or 443, headers=_credentials(proxy))
        else:
            made = http.client.HTTPConnection(*where, timeout=30)
        made._create_connection = self.guard.connect  # type: ignore[attr-defined]
        return made

    def _http_proxy(self, url: str) -> str | None:
        """The proxy, unless it is one that passes on connections: those the guard makes itself."""
        proxy = self.guard.proxy_of(url)
        return proxy if proxy and urlsplit(proxy).scheme == "http" else None

    def _drop(self, url: str) -> None:
        if connection := self._open.pop(_host(url), None):
            connection.close()


class RangeFile:
    """A file of the web that is read in bounded ranges, as ``acquire.source.Source`` reads one.

    Of all ranges the size and the ETag must agree. ``bytes_read`` counts what came. Whatever goes
    wrong is kept in ``fault`` as well, as libav may swallow it. Raises FetchError (place "media"),
    among them NoRanges when the server sends whole files only.
    """

    name = "media"

    def __init__(self, client: Client, url: str, headers: Mapping[str, str]) -> None:
        self._client, self._asked_url, self._url, self._headers = client, url, url, headers
        self._chunks: dict[int, bytes] = {}
        self._retries = _RETRIES
        self._tag: str | None = None
        self.size_bytes = -1
        self.bytes_read = 0
        self.most_bytes = MOST_BYTES
        self.fault: FetchError | None = None
        self.read_at(0, 1)

    def reader(self) -> Reader:
        """A place of its own at the beginning of the file."""
        return Reader(self)  # type: ignore[arg-type]

    def read_at(self, start: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``start``: at least one before the file's end."""
        if 0 <= self.size_bytes <= start or size <= 0:
            return b""
        try:
            at, chunk = self._chunk(start)
        except FetchError as error:
            self.fault = error
            raise
        return chunk[start - at : start - at + size]

    def check(self) -> None:
        """Raise what went wrong while something was read, if anything."""
        if self.fault:
            raise self.fault

    def _chunk(self, start: int) -> tuple[int, bytes]:
        before = 0
        for at, chunk in self._chunks.items():
            if at <= start < at + len(chunk):
                self._chunks[at] = self._chunks.pop(at)  # the one used last goes last
                return at, chunk
            if at + len(chunk) == start:
                before = max(before, len(chunk))
        wanted = min(max(2 * before, FIRST_BYTES), max(self.most_bytes, FIRST_BYTES))
        end = start + wanted
        ahead = [at for at in self._chunks if start < at < end]
        self._chunks[start] = chunk = self._fetch(start, min([end, *ahead]))
        while len(self._chunks) > 2 and sum(map(len, self._chunks.values())) > _CACHE_BYTES:
            self._chunks.pop(next(iter(self._chunks)))
        return start, chunk

    def _fetch(self, start: int, end: int) -> bytes:
        """The bytes [start, end), or those before the end of the file."""
        data = bytearray()
        while len(data) < (min(end, self.size_bytes) if self.size_bytes >= 0 else end) - start:
            try:
                answer = self._get(start + len(data), end)
                expected = self._expect(answer, start + len(data), end)
                self._read(answer, expected, data)
            except (OSError, http.client.HTTPException) as error:
                self._client.close()
                self._retries -= 1
                if self._retries < 0 or not may_pass(error):
                    raise failure(error) from error
                time.sleep(_PAUSE_S * 2 ** (_RETRIES - self._retries))
        if start == 0 and _HTML.match(data[:1024]):
            raise FetchError("HTML instead of media", place="media")
        return bytes(data)

    def _get(self, start: int, end: int) -> Answer:
        headers = {**self._headers, "Range": f"bytes={start}-{end - 1}"}
        answer = self._client.get(self._url, headers)
        if answer.status in (403, 404, 410) and self._url != self._asked_url:
            self._client.close()  # where it led to is gone: ask where it leads to now
            answer = self._client.get(self._asked_url, headers)
        self._url = answer.url
        return answer

    def _expect(self, answer: Answer, start: int, end: int) -> int:
        """How many bytes an answer brings. Raises FetchError for one that cannot be used."""
        try:
            return self._expected(answer, start, end)
        except FetchError:
            self._client.close()  # its body is not read
            raise

    def _expected(self, answer: Answer, start: int, end: int) -> int:
        check_answer(answer)
        if answer.status != 206:
            if self.size_bytes < 0:
                raise NoRanges("the server sends no ranges", status=200, place="media")
            raise FetchError("the server stopped sending ranges", status=200, place="media")
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise FetchError("a range of an encoded file", status=206, place="media")
        said = answer.headers.get("Content-Range", "")
        span = re.fullmatch(r"\s*bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\s*", said)
        if span and span[3] == "*" and self.size_bytes < 0:
            raise NoRanges("the server does not say how large the file is", place="media")
        if not span or int(span[1]) != start or not start <= int(span[2]) < end:
            said = said[:60]
            text = f"Conflicting range: asked for bytes {start}-{end - 1}, got {said!r}"
            raise FetchError(text, status=206, place="media")
        size = self.size_bytes if span[3] == "*" else int(span[3])
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if self.size_bytes >= 0 and (size, tag) != (self.size_bytes, self._tag):
            raise FetchError("the file changed while it was read", status=206, place="media")
        if size <= int(span[2]):
            raise FetchError(f"Conflicting range: {said[:60]!r}", status=206, place="media")
        self.size_bytes, self._tag = size, tag
        expected = int(span[2]) + 1 - start
        if answer.response.length not in (None, expected):
            text = f"Conflicting range: {expected} bytes said, {answer.response.length} sent"
            raise FetchError(text, status=206, place="media")
        return expected

    def _read(self, answer: Answer, expected: int, data: bytearray) -> None:
        left = expected
        for block in answer.blocks():
            data += block[:left]
            self.bytes_read += len(block)
            left -= len(block)
            if left <= 0:
                break
        if left > 0:
            raise http.client.IncompleteRead(b"", left)
        if left < 0 or not answer.finished():
            self._client.close()


def download(
    client: Client, url: str, headers: Mapping[str, str], path: Path, *, in_ranges: bool = True
) -> None:
    """Write the whole file to ``path``; ``in_ranges`` where the server sends some.

    Raises FetchError (place "media"), and OSError of the disk.
    """
    try:
        source = RangeFile(client, url, headers) if in_ranges else None
    except NoRanges:
        source = None
    if source is None:
        return _download_at_once(client, url, headers, path)
    _check_size(client, source.size_bytes)
    with open(path, "wb") as out:
        while block := source.read_at(out.tell(), MOST_BYTES):
            out.write(block)


def _download_at_once(client: Client, url: str, headers: Mapping[str, str], path: Path) -> None:
    for left in reversed(range(3)):
        blocks = _whole(client, url, headers)
        with open(path, "wb") as out:
            while True:
                try:
                    block = next(blocks, b"")
                except (OSError, http.client.HTTPException) as error:
                    client.close()
                    if not left or not may_pass(error):
                        raise failure(error) from error
                    break
                if not block:
                    return
                out.write(block)


def _whole(client: Client, url: str, headers: Mapping[str, str]) -> Iterator[bytes]:
    """The body of a whole file. Raises what the network raises, and FetchError."""
    answer = client.get(url, headers)
    check_answer(answer)
    _check_size(client, answer.response.length or 0)
    first = True
    for block in answer.blocks():
        if first and _HTML.match(block):
            raise FetchError("HTML instead of media", place="media")
        first = False
        yield block
    if answer.response.length:
        raise http.client.IncompleteRead(b"", answer.response.length)


def _check_size(client: Client, n_bytes: int) -> None:
    most = client.guard.budget.n_bytes
    if n_bytes > most:
        said = f"{min(n_bytes, 10**18) / 1e6:.0f} MB, more than {most / 1e6:.0f}"
        raise failure(Exhausted(f"too large: {said}"))


def check_answer(answer: Answer) -> None:
    """Raise FetchError for an answer that is no media."""
    if answer.status not in (200, 206):
        raise FetchError(
            f"HTTP Error {answer.status}: {answer.response.reason}"[:200],
            status=answer.status,
            retry_after_s=retry_after_s(answer.headers),
            place="media",
        )
    kind = answer.headers.get_content_type() if answer.headers.get("Content-Type") else ""
    if _NO_MEDIA.match(kind):
        name = "HTML" if "html" in kind else kind[:60]
        raise FetchError(f"{name} instead of media", status=answer.status, place="media")


def _host(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def _credentials(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if not parts.username:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
