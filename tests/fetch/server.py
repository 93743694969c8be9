"""A media server on this machine whose behaviour a test chooses per path, and films to serve."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """Serves ``answers`` by path; ``seen`` holds (path, Range) of every request, ``sent`` bytes."""

    daemon_threads = True

    def __init__(self, answers: dict[str, Answer]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.seen: list[tuple[str, str | None]] = []
        self.headers: list[dict[str, str]] = []
        self.sent = 0
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.closing = threading.Event()

    def handle_error(self, request, address) -> None:
        pass  # clients that go away are what tests are about


class Handler(BaseHTTPRequestHandler):
    """Asks ``server.answers`` for each request; keeps connections open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Range")))
        self.server.headers.append(dict(self.headers.items()))
        path = self.path.partition("?")[0]
        self.server.answers.get(path, status(404))(self)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def reply(
        self, code: int, body: bytes = b"", length: int | None = None, **headers: str
    ) -> None:
        """Send a body; ``length`` is what Content-Length claims (the truth; -1: none)."""
        self.send_response(code)
        headers.setdefault("Content_Type", "application/octet-stream")
        if length != -1:
            headers.setdefault("Content_Length", str(len(body) if length is None else length))
        else:
            self.close_connection = True
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.send(body)

    def send(self, body: bytes) -> None:
        self.wfile.write(body)
        self.server.sent += len(body)

    def reset(self) -> None:
        """Break the connection off."""
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(2)

    def log_message(self, *_: object) -> None:
        pass


def media(data: bytes, kind: str = "video/mp4", etag: str = '"1"', most: int = 0) -> Answer:
    """A file with ranges, of which ``most`` bytes are sent at once."""

    def answer(handler: Handler) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range") or "")
        if not asked:
            return handler.reply(200, data, Content_Type=kind, ETag=etag, Accept_Ranges="bytes")
        start, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        if start >= len(data):
            return handler.reply(416, Content_Range=f"bytes */{len(data)}")
        end = min(end, start + most - 1) if most else end
        span = f"bytes {start}-{end}/{len(data)}"
        body = data[start : end + 1]
        return handler.reply(206, body, Content_Type=kind, Content_Range=span, ETag=etag)

    return answer


def without_ranges(data: bytes, kind: str = "video/mp4", length: int | None = None) -> Answer:
    """A file that is only sent as a whole."""
    return lambda handler: handler.reply(200, data, length, Content_Type=kind)


def page(html: str) -> Answer:
    return lambda handler: handler.reply(
        200, html.encode(), Content_Type="text/html; charset=utf-8"
    )


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    return lambda handler: handler.reply(code, body, None, **headers)


def redirect(target: str, code: int = 302) -> Answer:
    return status(code, Location=target)


def in_turn(*answers: Answer) -> Answer:
    """One answer after the other; the last one for good."""
    left = list(answers)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


def after(n: int, before: Answer, then: Answer) -> Answer:
    """``before`` n times, ``then`` for good."""
    return in_turn(*[before] * n, then)


def broken_off(answer: Answer, n_bytes: int, linger_s: float = 0.0) -> Answer:
    """The same answer, whose body breaks off (after a stall of ``linger_s``)."""

    def cut(handler: Handler) -> None:
        send = handler.send

        def some(body: bytes) -> None:
            send(body[:n_bytes])
            handler.wfile.flush()
            if linger_s:
                handler.server.closing.wait(linger_s)
            handler.reset()

        handler.send = some  # type: ignore[method-assign]
        answer(handler)

    return cut


def with_headers(answer: Answer, **replaced: str) -> Answer:
    """The same answer with other headers."""

    def changed(handler: Handler) -> None:
        send_header = handler.send_header
        names = {name.replace("_", "-").lower(): value for name, value in replaced.items()}
        handler.send_header = lambda keyword, value: send_header(  # type: ignore[method-assign]
            keyword, names.get(keyword.lower(), value)
        )
        answer(handler)

    return changed


def endless(kind: str = "video/mp4", pause_s: float = 0.0, block: bytes = bytes(65536)) -> Answer:
    """A body without an end, dripping with pauses or as fast as it goes."""

    def answer(handler: Handler) -> None:
        handler.reply(200, b"", -1, Content_Type=kind)
        with suppress(OSError):
            while not handler.server.closing.is_set():
                handler.send(block)
                time.sleep(pause_s)

    return answer


@contextmanager
def serving(answers: dict[str, Answer]) -> Iterator[Server]:
    """Serve on a free port of this machine; ``server.url`` is its address."""
    server = Server(answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
