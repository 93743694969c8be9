"""Files over HTTP in ranges: the same bytes as the file, or a FetchError that says what came."""

import time
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.fetch import http as http_module
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.failures import retry_after_s
from nano4m_audio.fetch.guard import Budget, Guard
from nano4m_audio.fetch.http import Client, NoRanges, RangeFile, download
from tests.fetch import server as serve
from tests.fetch.server import media, serving, status

DATA = np.random.default_rng(0).bytes(700_000)


def client(timeout_s: float = 1.0, n_bytes: int = 10**8, grace_s: float = 20, **more) -> Client:
    return Client(Guard(("127.0.0.1",), timeout_s, Budget(n_bytes, grace_s), **more))


def whole(source: RangeFile) -> bytes:
    reader, blocks = source.reader(), []
    while block := reader.read(50_000):
        blocks.append(block)
    return b"".join(blocks)


@pytest.fixture(scope="module")
def steady():
    """A server that sends DATA in ranges, at most so many bytes at once as the path says."""
    answers = {f"/{most}": media(DATA, most=most) for most in (0, 1000, 65_536)}
    with serving(answers) as server, client(grace_s=600, n_bytes=10**12) as asking:
        yield server.url, asking


@settings(max_examples=50)
@given(
    places=st.lists(st.tuples(st.integers(0, 800_000), st.integers(0, 300_000)), max_size=12),
    most=st.sampled_from([0, 1000, 65_536]),
)
def test_what_is_read_is_what_is_there(steady, places, most):
    url, asking = steady
    source = RangeFile(asking, f"{url}/{most}", {})
    assert source.size_bytes == len(DATA)
    for start, size in places:
        got = source.read_at(start, size)
        assert got == DATA[start : start + len(got)]
        assert got or size == 0 or start >= len(DATA)


def test_requests_are_bounded_and_grow_and_share_a_connection(monkeypatch):
    made = []
    connect = Guard.connect

    def counted(self, *arguments):
        made.append(arguments)
        return connect(self, *arguments)

    monkeypatch.setattr(Guard, "connect", counted)
    with serving({"/a": media(DATA)}) as server, client() as asking:
        source = RangeFile(asking, server.url + "/a", {})
        assert whole(source) == DATA == whole(source)
        sizes = [int(b) - int(a) + 1 for _, s in server.seen for a, b in [s[6:].split("-")]]
    assert sizes[0] == http_module.FIRST_BYTES
    assert sizes[:3] == [65536, 131072, 262144]
    assert sum(sizes[:-1]) < len(DATA) <= sum(sizes)
    assert max(sizes) <= http_module.MOST_BYTES
    assert len(made) == 1


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (status(403), 403, "403"),
        (status(404), 404, "404"),
        (status(410), 410, "410"),
        (status(416), 416, "416"),
        (status(429, Retry_After="77"), 429, "429"),
        (status(500), 500, "500"),
        (status(503), 503, "503"),
        (status(204), 204, "204"),
        (serve.page("<html>Sign in</html>"), 200, "HTML instead of media"),
        (status(206, b"{}", Content_Type="application/json"), 206, "json instead of media"),
        (media(b"<!DOCTYPE html><html>" + DATA), None, "HTML instead of media"),
        (serve.with_headers(media(DATA), Content_Range="bytes 5-9/10"), 206, "Conflicting range"),
        (serve.with_headers(media(DATA), Content_Range="garbage"), 206, "Conflicting range"),
        (serve.with_headers(media(DATA), Content_Range="bytes 0-9/5"), 206, "Conflicting range"),
        (serve.with_headers(media(DATA), Content_Range="bytes 0-9/700000"), 206, "Conflicting"),
        (serve.redirect("http://127.0.0.9/a"), None, "refused"),
        (serve.redirect("http://localhost:1/a"), None, "refused"),
        (serve.redirect("file:///etc/passwd"), None, "refused"),
        (serve.redirect("/a"), None, "refused: more than 5"),
        (lambda handler: handler.reset(), None, "connection|closed"),
        (lambda handler: handler.wfile.write(b"SSH-2.0\r\n"), None, "no HTTP answer"),
    ],
)
def test_what_is_no_media_is_said(answer, code, text):
    with serving({"/a": answer}) as server, client() as asking:
        for read in (
            lambda: RangeFile(asking, server.url + "/a", {}),
            lambda: download(asking, server.url + "/a", {}, Path("/dev/null")),
        ):
            with pytest.raises(FetchError, match=text) as caught:
                read()
            assert caught.value.status == code
            assert caught.value.place == "media"
            assert not isinstance(caught.value, NoRanges)


@pytest.mark.parametrize("later", [403, 404, 410, 429, 500])
def test_a_file_that_goes_away_while_it_is_read(later):
    answer = serve.after(2, media(DATA), status(later, Retry_After="9"))
    with serving({"/a": answer}) as server, client() as asking:
        source = RangeFile(asking, server.url + "/a", {})
        with pytest.raises(FetchError) as caught:
            whole(source)
        assert (caught.value.status, caught.value.retry_after_s) == (later, 9)
        with pytest.raises(FetchError):
            source.check()


@pytest.mark.parametrize("then", [media(DATA, etag='"2"'), media(DATA + b"x"), media(DATA[:-1])])
def test_a_file_that_changes_while_it_is_read(then):
    with serving({"/a": serve.after(1, media(DATA), then)}) as server, client() as asking:
        source = RangeFile(asking, server.url + "/a", {})
        with pytest.raises(FetchError, match="changed"):
            whole(source)


@pytest.mark.parametrize("n_bytes", [0, 1, 30_000])
def test_a_broken_body_goes_on_where_it_broke_off(n_bytes):
    broken = serve.broken_off(media(DATA), n_bytes)
    answers = serve.in_turn(media(DATA), broken, broken, media(DATA))
    with serving({"/a": answers}) as server, client() as asking:
        source = RangeFile(asking, server.url + "/a", {})
        assert whole(source) == DATA
        starts = [int(span[6:].split("-")[0]) for _, span in server.seen]
        assert starts[1:4] == [65536, 65536 + n_bytes, 65536 + 2 * n_bytes]


def test_bodies_that_always_break_off_end():
    with serving({"/a": serve.broken_off(media(DATA), 10)}) as server, client() as asking:
        with pytest.raises(FetchError, match="content too short|reset"):
            RangeFile(asking, server.url + "/a", {})
        assert len(server.seen) == 5


def test_a_stall_ends():
    answer = serve.broken_off(media(DATA), 100, linger_s=60)
    with serving({"/a": answer}) as server, client(timeout_s=0.2) as asking:
        began = time.monotonic()
        with pytest.raises(FetchError, match="timed out"):
            RangeFile(asking, server.url + "/a", {})
        assert time.monotonic() - began < 8


def test_a_drip_ends():
    """Every block comes in time, and all of it never."""
    answer = serve.endless(pause_s=0.02, block=b"x")
    with serving({"/a": answer}) as server, client(timeout_s=0.5, grace_s=1) as asking:
        began = time.monotonic()
        with pytest.raises(FetchError, match="timed out"):
            download(asking, server.url + "/a", {}, Path("/dev/null"))
        assert time.monotonic() - began < 4


def test_a_drip_of_headers_ends():
    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 206 OK\r\n")
        while not handler.server.closing.wait(0.02):
            handler.wfile.write(b"x")

    with (
        serving({"/a": answer}) as server,
        client(timeout_s=0.5, grace_s=1) as asking,
        pytest.raises(FetchError, match="timed out"),
    ):
        RangeFile(asking, server.url + "/a", {})


def test_an_endless_body_ends(tmp_path):
    with (
        serving({"/a": serve.endless()}) as server,
        client(n_bytes=3_000_000) as asking,
        pytest.raises(FetchError, match="too large"),
    ):
        download(asking, server.url + "/a", {}, tmp_path / "out")
    assert (tmp_path / "out").stat().st_size <= 3_000_000


@pytest.mark.parametrize("answer", [media(DATA), serve.without_ranges(DATA)])
def test_a_file_that_is_too_large_is_not_begun(answer, tmp_path):
    with serving({"/a": answer}) as server, client(n_bytes=600_000) as asking:
        with pytest.raises(FetchError, match="too large"):
            download(asking, server.url + "/a", {}, tmp_path / "out")
        assert server.sent <= 600_000 or len(server.seen) <= 2


@pytest.mark.parametrize(
    "answer",
    [
        media(DATA),
        media(DATA, most=100_000),
        serve.without_ranges(DATA),
        serve.without_ranges(DATA, length=-1),
        serve.in_turn(
            serve.without_ranges(DATA),
            serve.broken_off(serve.without_ranges(DATA), 300_000),
            serve.without_ranges(DATA),
        ),
    ],
)
def test_a_whole_file_is_that_file(answer, tmp_path):
    with serving({"/a": answer}) as server, client() as asking:
        download(asking, server.url + "/a", {}, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == DATA


def test_a_whole_file_that_stays_short_is_said(tmp_path):
    answer = serve.without_ranges(DATA, length=len(DATA) + 5)

    def short(handler):
        answer(handler)
        handler.reset()

    with (
        serving({"/a": short}) as server,
        client() as asking,
        pytest.raises(FetchError, match="content too short: 5 more"),
    ):
        download(asking, server.url + "/a", {}, tmp_path / "out")


def test_servers_without_ranges_are_told_apart():
    answers = {"/a": serve.without_ranges(DATA)}
    with serving(answers) as server, client() as asking, pytest.raises(NoRanges):
        RangeFile(asking, server.url + "/a", {})


def test_cookies_stay_with_their_host():
    with serving({"/b": media(DATA)}) as other, serving({}) as server, client() as asking:
        server.answers |= {"/a": serve.redirect(other.url + "/b"), "/c": serve.redirect("/d")}
        server.answers["/d"] = media(DATA)
        own = {"Cookie": "secret=1", "Authorization": "x", "Referer": "http://page.test/"}
        RangeFile(asking, server.url + "/a", own)
        RangeFile(asking, server.url + "/c", own)
        assert all(h["Cookie"] == "secret=1" for h in server.headers)
        assert other.headers and not {"Cookie", "Authorization"} & set(other.headers[0])
        assert other.headers[0]["Referer"] == "http://page.test/"


def test_an_address_that_redirects_anew_is_asked_anew():
    """Where it led to expires; the address itself does not."""
    old = serve.after(1, media(DATA), status(403))
    to = serve.in_turn(serve.redirect("/old"), serve.redirect("/new"))
    with serving({"/a": to, "/old": old, "/new": media(DATA)}) as server, client() as asking:
        assert whole(RangeFile(asking, server.url + "/a", {})) == DATA


def test_through_a_proxy():
    with serving({"http://films.invalid/a": media(DATA)}) as proxy:
        with client(proxy=proxy.url.replace("//", "//me:word@")) as asking:
            assert whole(RangeFile(asking, "http://films.invalid/a", {})) == DATA
        assert proxy.headers[0]["Proxy-Authorization"] == "Basic bWU6d29yZA=="


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [
        ("77", 77),
        ("", None),
        ("soon", None),
        ("-5", None),
        (formatdate(0, usegmt=True), 0),
    ],
)
def test_retry_after_is_a_number_or_a_date(said, wait_s):
    assert retry_after_s({"Retry-After": said}) == wait_s


def test_retry_after_is_a_date_to_come():
    got = retry_after_s({"Retry-After": formatdate(time.time() + 5000, usegmt=True)})
    assert got is not None and 4000 <= got <= 5000


def test_a_redirect_to_no_address_is_refused(tmp_path):
    with serving({"/a": serve.redirect("http://[::1")}) as server, client() as asking:
        for in_ranges in (True, False):
            with pytest.raises(FetchError, match="led to no address"):
                download(asking, server.url + "/a", {}, tmp_path / "a", in_ranges=in_ranges)


def test_a_length_of_hundreds_of_digits_is_too_large(tmp_path):
    answer = serve.without_ranges(b"film", length=int("9" * 400))
    with (
        serving({"/a": answer}) as server,
        client() as asking,
        pytest.raises(FetchError, match="too large"),
    ):
        download(asking, server.url + "/a", {}, tmp_path / "a", in_ranges=False)
