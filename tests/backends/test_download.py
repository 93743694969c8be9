"""Downloads from a real server that behaves badly."""

from __future__ import annotations

import hashlib
import random
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.backends import download as module
from nano4m_audio.backends.download import download, size_text
from nano4m_audio.errors import UserError
from tests.backends import web

DATA = random.Random(3).randbytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF_S", (0.0, 0.01))


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "model.bin"


def leftovers(target):
    return sorted(p.name for p in target.parent.iterdir()) if target.parent.exists() else []


def test_a_file_arrives_whole_and_reports_its_progress(target):
    told = []
    with web.serving({"/a": web.whole(DATA)}) as server:
        digest = download(
            [f"{server.url}/a"], target, SHA256, len(DATA), lambda *now: told.append(now)
        )
    assert digest == SHA256 and target.read_bytes() == DATA
    assert told[-1] == (len(DATA), len(DATA)) and len(told) > 2
    assert leftovers(target) == ["model.bin"]


def test_a_broken_transfer_continues_where_it_stopped(target):
    broken = web.broken_off(DATA, 1_234_567, web.whole(DATA))
    with web.serving({"/a": broken}) as server:
        download([f"{server.url}/a"], target, SHA256)
        assert server.seen == [("/a", None), ("/a", "bytes=1234567-")]
    assert target.read_bytes() == DATA


def test_a_later_call_continues_what_an_earlier_one_left(target):
    always_broken = web.status(503)
    with web.serving({"/a": web.broken_off(DATA, 1_000_000, always_broken)}) as server:
        with pytest.raises(UserError, match="HTTP 503"):
            download([f"{server.url}/a"], target, SHA256)
        assert not target.exists()
        server.answers["/a"] = web.whole(DATA)
        download([f"{server.url}/a"], target, SHA256)
        assert server.seen[-1] == ("/a", "bytes=1000000-")
    assert target.read_bytes() == DATA


def test_a_file_that_changed_meanwhile_starts_again(target):
    new = random.Random(4).randbytes(2_000_000)
    broken = web.broken_off(DATA, 1_000_000, web.whole(new, etag='"2"'), etag='"1"')
    with web.serving({"/a": broken}) as server:
        download([f"{server.url}/a"], target)
    assert target.read_bytes() == new


def test_a_server_without_ranges_starts_again(target):
    broken = web.broken_off(DATA, 1_000_000, lambda h: h.reply(200, DATA))
    with web.serving({"/a": broken}) as server:
        download([f"{server.url}/a"], target, SHA256)
    assert target.read_bytes() == DATA


def test_bytes_behind_the_end_start_again(target):
    target.parent.mkdir(parents=True)
    with web.serving({"/a": web.whole(DATA)}) as server:
        part = module._part_of(target, f"{server.url}/a")
        part.write_bytes(DATA + b"more")
        download([f"{server.url}/a"], target, SHA256)
    assert target.read_bytes() == DATA


def test_always_truncated_is_an_error_and_no_file(target):
    short = web.in_turn(lambda h: h.reply(200, DATA[:1000], length=len(DATA)))
    with web.serving({"/a": short}) as server:
        with pytest.raises(UserError, match=r"1000 of 3000000 bytes|sent others"):
            download([f"{server.url}/a"], target, SHA256)
        assert len(server.seen) <= 3
    assert not target.exists()


def test_busy_then_fine(target):
    busy = web.in_turn(web.status(503, Retry_After="0"), web.status(429), web.whole(DATA))
    with web.serving({"/a": busy}) as server:
        download([f"{server.url}/a"], target, SHA256)
        assert len(server.seen) == 3


def test_gone_is_not_asked_again_and_the_next_mirror_is(target):
    with web.serving({"/b": web.whole(DATA)}) as server:
        download([f"{server.url}/gone", f"{server.url}/b"], target, SHA256)
        assert [path for path, _ in server.seen] == ["/gone", "/b"]
    assert target.read_bytes() == DATA


def test_a_wrong_hash_is_refused_and_the_next_mirror_is_asked(target):
    evil = bytes(len(DATA))
    with web.serving({"/a": web.whole(evil), "/b": web.whole(DATA)}) as server:
        download([f"{server.url}/a", f"{server.url}/b"], target, SHA256)
        assert target.read_bytes() == DATA
        target.unlink()
        with pytest.raises(UserError, match=f"instead of {SHA256}"):
            download([f"{server.url}/a"], target, SHA256)
    assert leftovers(target) == []


def test_a_wrong_size_is_refused(target):
    with web.serving({"/a": web.whole(DATA)}) as server, pytest.raises(UserError, match="4000000"):
        download([f"{server.url}/a"], target, None, 4_000_000)
    assert leftovers(target) == []


def test_a_web_page_is_not_a_model(target):
    page = {"/a": lambda h: h.reply(200, b"<html>log in", Content_Type="text/html; charset=utf-8")}
    with web.serving(page) as server, pytest.raises(UserError, match="web page"):
        download([f"{server.url}/a"], target)
    assert not target.exists()


@pytest.mark.parametrize("scheme", ["file", "ftp", "data"])
def test_only_http_is_spoken(target, tmp_path, scheme):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    address = f"{scheme}://{secret}"
    with web.serving({"/a": web.status(302, Location=address)}) as server:
        for url in (address, f"{server.url}/a"):
            with pytest.raises(UserError, match="only http and https|refused|not allowed"):
                download([url], target)
    assert not target.exists()


def test_a_redirect_over_http_is_followed(target):
    answers = {"/a": web.status(302, Location="/b"), "/b": web.whole(DATA)}
    with web.serving(answers) as server:
        download([f"{server.url}/a"], target, SHA256)
    assert target.read_bytes() == DATA


def test_nobody_answers(target):
    with web.serving({}) as server:
        url = server.url
    with pytest.raises(UserError, match=r"refused|no mirror"):
        download([f"{url}/a"], target)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    target = tmp_path / "cache" / "model.bin"
    with web.serving({"/a": web.whole(DATA)}) as server, pytest.raises(UserError, match="written"):
        download([f"{server.url}/a"], target)


def endless(handler):
    """A body without a stated length that does not end by itself; counts what was taken of it."""
    handler.send_response(200)
    handler.end_headers()
    handler.server.sent = 0
    try:
        while handler.server.sent < 200_000_000:
            handler.server.sent += handler.wfile.write(bytes(1 << 16))
    except OSError:
        return  # the reader has had enough


def chunked(data):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(data), 100_000):
            chunk = data[start : start + 100_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        handler.wfile.write(b"0\r\n\r\n")

    return answer


@pytest.mark.parametrize("listed", [True, False])
def test_a_body_without_an_end_is_cut_off(target, listed):
    limits: dict[str, Any] = {"size_bytes": 1_000_000} if listed else {"max_bytes": 1_000_000}
    with web.serving({"/a": endless}) as server:
        with pytest.raises(UserError, match="sends more than 1000000 bytes"):
            download([f"{server.url}/a"], target, **limits)
        assert server.sent < 50_000_000
        assert len(server.seen) == 1
    assert leftovers(target) == []


def test_an_announced_size_above_the_limit_is_refused_unread(target):
    told = []
    refused = pytest.raises(UserError, match="announces 3.0 MB, more than the 2.0 MB allowed")
    with web.serving({"/a": web.whole(DATA)}) as server, refused:
        url = f"{server.url}/a"
        download([url], target, max_bytes=2_000_000, progress=lambda *n: told.append(n))
    assert told == [] and leftovers(target) == []


def test_an_announced_size_that_is_not_the_listed_one_is_refused_unread(target):
    for claimed in (1000, 10**12):
        with web.serving(
            {"/a": partial(web.Handler.reply, status=200, body=b"x", length=claimed)}
        ) as server:
            with pytest.raises(UserError, match=f"{claimed} bytes instead of 3000000"):
                download([f"{server.url}/a"], target, SHA256, len(DATA))
            assert len(server.seen) == 1
    assert leftovers(target) == []


def test_a_stated_length_below_the_body_is_not_the_file(target):
    """What stands behind the stated length is never read, so the hash tells."""
    short = {"/a": lambda h: h.reply(200, DATA, length=1000)}
    with web.serving(short) as server, pytest.raises(UserError, match="SHA-256"):
        download([f"{server.url}/a"], target, SHA256)
    assert leftovers(target) == []


@pytest.mark.parametrize("length", ["-5", "\xb2", "many", "1e6", ""])
def test_a_length_that_is_no_number_counts_as_none(target, length):
    with web.serving({"/a": lambda h: h.reply(200, DATA, Content_Length=length)}) as server:
        assert download([f"{server.url}/a"], target, SHA256, max_bytes=len(DATA)) == SHA256


def test_a_file_of_exactly_the_limit_is_taken(target):
    with web.serving({"/a": chunked(DATA)}) as server:
        download([f"{server.url}/a"], target, SHA256, max_bytes=len(DATA))
        target.unlink()
        with pytest.raises(UserError, match="more than 2999999"):
            download([f"{server.url}/a"], target, SHA256, max_bytes=len(DATA) - 1)


def test_a_leftover_above_the_limit_starts_again(target):
    target.parent.mkdir(parents=True)
    with web.serving({"/a": web.whole(DATA)}) as server:
        module._part_of(target, f"{server.url}/a").write_bytes(bytes(len(DATA) + 1))
        download([f"{server.url}/a"], target, SHA256, len(DATA))
        assert server.seen == [("/a", None)]


def test_a_disk_that_is_too_small_is_said_before_a_byte_is_fetched(target):
    huge = {"/a": lambda h: h.reply(200, b"x", length=10**15)}
    with web.serving(huge) as server, pytest.raises(UserError, match="needed and .* are free"):
        download([f"{server.url}/a"], target, None, 10**15)
    assert leftovers(target) == []


def test_a_body_in_a_coding_that_nobody_asked_for_is_refused(target):
    zipped = {"/a": lambda h: h.reply(200, DATA, Content_Encoding="gzip")}
    with web.serving(zipped) as server, pytest.raises(UserError, match="'gzip'"):
        download([f"{server.url}/a"], target)


@pytest.mark.parametrize("url", ["http://[", "http://exa mple/x", "http://a..b/x", "nothing"])
def test_what_is_no_address_is_one_line(target, url):
    with pytest.raises(UserError, match="no mirror gave the file") as error:
        download([url], target)
    assert "\n" not in str(error.value)


def test_a_pause_is_announced(target, monkeypatch, capsys):
    monkeypatch.setattr(module, "BACKOFF_S", (1.0,))
    with web.serving({"/a": web.in_turn(web.status(503), web.whole(DATA))}) as server:
        download([f"{server.url}/a"], target, SHA256)
    assert "HTTP 503 Service Unavailable; trying again in 1 s" in capsys.readouterr().err


@given(st.integers(0, 10**13))
def test_a_size_reads_well(size):
    number, unit = size_text(size).split()
    value = float(number.replace(",", ""))
    factor = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
    assert abs(value * factor - size) <= max(0.06 * factor, 0)
    assert value >= 1 or size == 0
    assert value < 1000 or unit == "GB"


@pytest.mark.parametrize("status", [b"x\n\x1b[2J" * 500, b"", b"HTTP/1.1 404 \x1b[2J" + b"y" * 900])
def test_what_a_mirror_says_is_one_short_line(target, status):
    def answer(handler: web.Handler) -> None:
        handler.wfile.write(status + b"\r\n\r\n")

    with web.serving({"/a": answer}) as server, pytest.raises(UserError) as caught:
        download([f"{server.url}/a"], target)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


def test_a_length_of_hundreds_of_digits_is_too_much(target):
    answer = partial(web.Handler.reply, status=200, body=DATA, length=int("9" * 400))
    with (
        web.serving({"/a": answer}) as server,
        pytest.raises(UserError, match="announces 1,000,000,000.00 GB, more than the 4.00 GB"),
    ):
        download([f"{server.url}/a"], target)
