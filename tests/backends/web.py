"""A real HTTP server on this machine whose behaviour a test chooses per path."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves ``answers`` on a free port of this machine, and notes what was asked in ``seen``."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.seen: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.sent = 0


class Handler(BaseHTTPRequestHandler):
    """Asks the server's ``answers[path]`` to answer; notes path and Range of every request."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Range")))
        self.close_connection = True
        self.server.answers.get(self.path, not_found)(self)

    def reply(
        self, status: int, body: bytes = b"", length: int | None = None, **headers: str
    ) -> None:
        """Send a body; ``length`` is what Content-Length claims (default: the truth)."""
        self.send_response(status)
        headers.setdefault("Content_Type", "application/octet-stream")
        headers.setdefault("Content_Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


Answer = Callable[[Handler], None]


def not_found(handler: Handler) -> None:
    handler.reply(404)


def whole(data: bytes, etag: str = '"1"') -> Answer:
    """A server that knows ranges and If-Range."""

    def answer(handler: Handler) -> None:
        asked = handler.headers.get("Range")
        fresh = handler.headers.get("If-Range", etag) == etag
        if not asked or not fresh:
            return handler.reply(200, data, ETag=etag)
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(data):
            return handler.reply(416)
        span = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return handler.reply(206, data[start:], Content_Range=span, ETag=etag)

    return answer


def broken_off(data: bytes, after: int, then: Answer, etag: str = '"1"') -> Answer:
    """Breaks the connection after some bytes, the first time."""
    return in_turn(lambda h: h.reply(200, data[:after], length=len(data), ETag=etag), then)


def in_turn(*answers: Answer) -> Answer:
    """One answer after the other; the last one for good."""
    left = list(answers)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


def status(code: int, **headers: str) -> Answer:
    return lambda handler: handler.reply(code, b"", None, **headers)


@contextmanager
def serving(answers: dict[str, Answer]) -> Iterator[Server]:
    """Serve on a free port of this machine; ``server.url`` is its address."""
    server = Server(answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
