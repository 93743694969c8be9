"""Answers of HTTP servers that lie: what was asked for, or a fault that says what came.

A server of bare bytes answers the client of the fetch stage, and the download of weights.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import re
import socketserver
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from nano4m_audio.backends import download as weights
from nano4m_audio.errors import UserError
from nano4m_audio.fetch import guard, http
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.guard import Budget, Guard
from tests.fuzz.damage import many

DATA = random.Random(1).randbytes(150_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
#: The most that is read for one file, and so many seconds are left to a server that says nothing.
MOST_BYTES, GRACE_S = 2_000_000, 1.5
_BOMB = gzip.compress(bytes(30_000_000))
#: Where an answer may lead to, and must not: no name that a resolver would be asked for.
ELSEWHERE = (
    *("file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "gopher://127.0.0.1:70/_x"),
    *("http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "http://[::1]/", "http://0/"),
    *("http://localhost/", "http://2130706433/", "http://0x7f.1/", "http://[::ffff:127.0.0.1]/"),
    *("http://[::1", "http://127.0.0.1:99999/", "http://127.0.0.1:x/", "http://", "//"),
    *("http://user:pw@10.0.0.1/", "\u00ff", "x" * 70_000),
    *("?" * 9000, "http:///x"),
    *("javascript:alert(1)", "http://" + "a." * 200 + "b/", "http://a..b/", "/same"),
)  # fmt: skip


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    answer: Callable[[bytes], bytes]

    def handle_error(self, request, address) -> None:
        pass  # who is asked goes away


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked and (more := self.request.recv(65536)):
            asked += more
        if asked:
            self.request.sendall(self.server.answer(asked))  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def server():
    made = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(http, "_PAUSE_S", 0.0001)
    monkeypatch.setattr(guard, "verifying_context", ssl.create_default_context)  # without certifi
    monkeypatch.setattr(weights, "BACKOFF_S", (0.0, 0.0))
    monkeypatch.setattr(weights, "TIMEOUT_S", 5.0)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def _truth(asked: bytes) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body of an honest server."""
    headers = {"Content-Type": "video/mp4", "ETag": '"1"'}
    span = re.search(rb"Range: bytes=(\d+)-(\d*)", asked)
    if not span:
        return "HTTP/1.1 200 OK", {**headers, "Content-Length": str(len(DATA))}, DATA
    start, end = int(span[1]), min(int(span[2] or len(DATA)), len(DATA) - 1)
    body = DATA[start : end + 1]
    said = {"Content-Range": f"bytes {start}-{end}/{len(DATA)}", "Content-Length": str(len(body))}
    return "HTTP/1.1 206 Partial Content", {**headers, **said}, body


def _chunks(body: bytes, rng: random.Random) -> bytes:
    """A body in chunks, with sizes that may lie."""
    lie = rng.choice((None, b"ffffffffffffffff", b"-5", b"xyz", b"", b"0x10", b"1" * 70_000))
    extension = rng.choice((b"", b";a=b", b";" + b"x" * 70_000))
    out, size = b"", rng.choice((1 << 14, 1 << 16))
    for at in range(0, len(body), size):
        out += b"%x%b\r\n%b\r\n" % (len(body[at : at + size]), extension, body[at : at + size])
    end = rng.choice((b"0\r\n\r\n", b"0\r\n", b"", b"0\r\n" + b"a: b\r\n" * 5000 + b"\r\n"))
    return out + (lie + b"\r\n" + body[:100] if lie is not None else end)


def _lying(asked: bytes, rng: random.Random) -> bytes:
    """An answer with something wrong in it."""
    status, headers, body = _truth(asked)
    how = rng.randrange(10)
    if how == 0:
        headers["Content-Length"] = rng.choice(
            (
                "0",
                "-1",
                "1",
                str(len(body) + 1),
                str(len(body) - 1),
                "9" * 30,
                "9" * 400,
                "x",
                "",
                "²",
            )
        )
    elif how == 1:
        headers["Content-Range"] = rng.choice(
            ("bytes 0-0/1", "bytes */5", "bytes 0-999999999999/1000000000000", "bytes 5-1/2", "x",
             f"bytes 0-{len(body) - 1}/*", f"bytes 1-{len(body)}/{len(body) + 1}", "bytes -1--1/-1",
             "bytes 0-" + "9" * 400 + "/" + "9" * 401, f"bytes 0-10/{len(DATA)}")
        )  # fmt: skip
    elif how == 2:
        del headers["Content-Length"]
        headers["Transfer-Encoding"] = rng.choice(("chunked", "chunked", "gzip, chunked", "x"))
        body = _chunks(body, rng)
    elif how == 3:
        headers["Content-Encoding"] = rng.choice(("gzip", "GZIP", "br", "identity", "\u00e9"))
        body = _BOMB
        headers["Content-Length"] = str(len(body))
    elif how == 4:
        code = rng.choice((301, 302, 303, 307, 308))
        status, headers["Location"] = f"HTTP/1.1 {code} Found", rng.choice(ELSEWHERE)
    elif how == 5:
        status = rng.choice(
            ("HTTP/1.1 999 X", "HTTP/1.1 -1", "HTTP/1.1", "ICY 200 OK", "HTTP/9.9 200 OK", "",
             "x" * 99_999, "HTTP/1.1 200", "HTTP/1.0 206 X", "HTTP/1.1 100 Continue",
             "HTTP/1.1 304 X", "HTTP/1.1 416 X", "HTTP/1.1 204 X", "HTTP/1.1 429 X",
             "HTTP/1.1 500 \x1b[2J", "HTTP/1.1 0200 OK")
        )  # fmt: skip
        headers["Retry-After"] = rng.choice(("0", "-1", "9" * 30, "Fri, 99 Feb", "nan"))
    elif how == 6:
        headers |= {f"X-{n}": "y" for n in range(rng.choice((50, 500)))}
        headers["X-Long"] = "z" * rng.choice((10, 70_000))
    elif how == 7:
        headers["ETag"] = str(rng.random())
        headers["Content-Type"] = rng.choice(("text/html", "x" * 900, "", "a/b; charset=\x00", "/"))
    elif how == 8:
        body = rng.choice(
            (b"", body[: len(body) // 2], body * 3, b"<html>" + body, bytes(MOST_BYTES * 2))
        )
    head = status + "\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    data = bytearray(head.encode("utf-8", "replace") + b"\r\n" + body)
    if how == 9:
        for _ in range(rng.choice((1, 3, 20))):
            data[rng.randrange(min(len(data), 300))] = rng.randrange(256)
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)


def _answers(seed: str) -> Callable[[bytes], bytes]:
    """What a server says, request by request: mostly the truth, now and then something else."""
    rng = random.Random(seed)
    rate = rng.choice((0.3, 1.0))

    def answer(asked: bytes) -> bytes:
        if rng.random() < rate:
            return _lying(asked, rng)
        status, headers, body = _truth(asked)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{status}\r\n{lines}\r\n".encode() + body

    return answer


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_whatever_a_server_of_media_answers_is_a_file_or_a_fault(server, tmp_path):
    path, ends = tmp_path / "media", {"file": 0, "fault": 0}
    for number in range(many(60, 3000)):
        server.answer = _answers(f"media {number}")
        url, began = f"http://127.0.0.1:{server.server_address[1]}/a", time.monotonic()
        path.unlink(missing_ok=True)
        watch = Guard(("127.0.0.1",), 1.0, Budget(MOST_BYTES, GRACE_S, most_s=20))
        with http.Client(watch) as client:
            try:
                http.download(client, url, {}, path, in_ranges=number % 3 > 0)
                ends["file"] += 1
            except FetchError as fault:
                assert len(str(fault)) < 1000, number
                ends["fault"] += 1
            except (OSError, http.http.client.HTTPException) as error:
                # Before there is a file that could be read, as ``Client`` says.
                assert not isinstance(error, PermissionError), number
                ends["fault"] += 1
        assert _size(path) <= MOST_BYTES, number
        assert time.monotonic() - began < 60, number
    assert min(ends.values()) > 5, ends


def test_whatever_a_mirror_of_weights_answers_only_the_right_file_is_taken(
    server, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(weights, "_MAX_RETRY_AFTER_S", 1.0)  # a server asks for 10^30 seconds
    target, ends = tmp_path / "weights.bin", {"file": 0, "fault": 0}
    for number in range(many(60, 2000)):
        server.answer = _answers(f"weights {number}")
        url, began = f"http://127.0.0.1:{server.server_address[1]}/a", time.monotonic()
        target.unlink(missing_ok=True)
        known = number % 4 > 0
        try:
            weights.download([url], target, SHA256 if known else None, None, max_bytes=MOST_BYTES)
            assert target.read_bytes() == DATA or not known, number
            ends["file"] += 1
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000, number
            assert not target.exists(), number
            ends["fault"] += 1
        for left in tmp_path.glob(".*"):
            assert left.stat().st_size <= MOST_BYTES, number
            with suppress(FileNotFoundError):
                left.unlink()
        assert time.monotonic() - began < 60, number
    assert min(ends.values()) > 5, ends
