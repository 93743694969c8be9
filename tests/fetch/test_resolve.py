"""What yt-dlp, the real one, finds on pages of a server of this machine."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.errors import UserError
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.resolve import choose, resolve
from tests.fetch import server as serve
from tests.fetch.server import media, page, serving, status

FILM = b"\x00\x00\x00\x18ftypmp42" + bytes(1000)
PAGE = '<html><head><title>a</title></head><body><video src="/film.mp4"></video></body></html>'
COOKIES = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tverysecret\n"


def fails(url: str, web) -> FetchError:
    with pytest.raises(FetchError) as caught:
        resolve(url, web)
    return caught.value


@pytest.mark.parametrize("path", ["/film.mp4", "/page"])
def test_a_video_is_found(web, path):
    with serving({"/page": page(PAGE), "/film.mp4": media(FILM)}) as server:
        found = resolve(server.url + path, web)
        (stream,) = found.streams
        assert stream.url == f"{server.url}/film.mp4"
        assert stream.direct
        assert found.versions["yt-dlp"]
        assert "User-Agent" in stream.headers
        assert server.url not in repr(found)  # addresses may hold secrets


@pytest.mark.parametrize(
    ("answer", "code", "wait_s", "text"),
    [
        (status(403), 403, None, "403"),
        (status(404), 404, None, "404"),
        (status(410), 410, None, "410"),
        (status(429, Retry_After="77"), 429, 77, "429"),
        (status(500), 500, None, "500"),
        (page("<html><body>nothing</body></html>"), None, None, "Unsupported URL"),
        (page('<video src="/a.mp4"></video><video src="/b.mp4"></video>'), None, None, "playlist"),
        (page('<video src="http://10.0.0.1/a.mp4"></video>'), None, None, "refused"),
        (page('<video src="file:///etc/passwd"></video>'), None, None, ""),
        (serve.redirect("http://localhost:9/"), None, None, "refused"),
        (serve.redirect("http://169.254.169.254/latest/"), None, None, "refused"),
        (serve.redirect("http://[::ffff:127.0.0.1]:9/"), None, None, "refused"),
        (serve.redirect("file:///etc/passwd"), 302, None, "refused"),
        (serve.redirect("ftp://example.org/a"), None, None, "ftp"),
        (serve.redirect("/a"), 302, None, "refused"),
        (lambda handler: handler.reset(), None, None, ""),
    ],
)
def test_what_a_page_says_instead(web, answer, code, wait_s, text):
    with serving({"/a": answer}) as server:
        error = fails(f"{server.url}/a", web)
    assert (error.status, error.retry_after_s) == (code, wait_s)
    assert text in error.text
    assert "\x1b" not in error.text


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/", "http://localhost/", "file:///etc/passwd", "http://2130706433/",
        "ytsearch:cats", "not an address", "",
    ],
)  # fmt: skip
def test_private_addresses_are_not_asked(web, url):
    closed = web.model_copy(update={"private_hosts": ()})
    assert "refused" in fails(url, closed).text


@pytest.mark.slow
def test_pages_end(web):
    """A page that never ends, or that drips, does not keep the worker."""
    quick = web.model_copy(update={"timeout_s": 1.0})
    drip = serve.endless("text/html", pause_s=0.05, block=b"<p>")
    stall = serve.broken_off(page(PAGE * 100), 50, linger_s=60)
    with serving({"/stall": stall, "/drip": drip}) as server:
        assert "timed out" in fails(f"{server.url}/stall", quick).text
        found = None
        try:
            found = resolve(f"{server.url}/drip", quick)
        except FetchError as error:
            assert "timed out" in error.text
        assert found is None or found.streams


def test_redirects_are_followed_a_few_times(web):
    hops = {f"/{n}": serve.redirect(f"/{n + 1}") for n in range(9)}
    with serving(hops | {"/5": media(FILM)}) as server:
        assert resolve(f"{server.url}/0", web).streams
    with serving(hops | {"/9": media(FILM)}) as server:
        assert "refused" in fails(f"{server.url}/0", web).text


def test_cookies_are_sent_and_their_file_stays_as_it_is(web, tmp_path):
    path = tmp_path / "cookies.txt"
    path.write_text(COOKIES)
    os.utime(path, (1, 1))
    with_cookies = web.model_copy(update={"cookies": str(path)})
    film = serve.with_headers(media(FILM))
    with serving({"/page": page(PAGE), "/film.mp4": film}) as server:
        server.answers["/page"] = status(
            200, PAGE.encode(), Content_Type="text/html", Set_Cookie="other=1"
        )
        found = resolve(f"{server.url}/page", with_cookies)
        assert server.headers[0]["Cookie"] == "session=verysecret"
    assert "session=verysecret" in found.streams[0].headers["Cookie"]
    assert "verysecret" not in repr(found)
    assert (path.read_text(), path.stat().st_mtime) == (COOKIES, 1)


@pytest.mark.parametrize(
    "text", ["[{\"name\": \"a\"}]", "a=b; c=d", COOKIES + "verysecret\n", "\x00\xff"]
)  # fmt: skip
def test_a_bad_cookies_file_is_one_line(web, tmp_path, text, capfd):
    path = tmp_path / "cookies.txt"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"^web\.cookies: .*cookies\.txt") as caught:
        resolve("http://127.0.0.1:9/", web.model_copy(update={"cookies": str(path)}))
    assert "\n" not in str(caught.value)
    assert "verysecret" not in str(caught.value) + "".join(capfd.readouterr())


def test_a_missing_cookies_file_is_one_line(web, tmp_path):
    with pytest.raises(UserError, match=r"web\.cookies"):
        resolve("http://127.0.0.1:9/", web.model_copy(update={"cookies": str(tmp_path / "no")}))


def test_without_yt_dlp_one_line_says_what_to_install(web, monkeypatch):
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(UserError, match=r"pip install \"\.\[web\]\""):
        resolve("http://127.0.0.1:9/", web)


def test_nothing_is_written(web, tmp_path, monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yt-dlp").mkdir()
    (tmp_path / "yt-dlp" / "config").write_text("--exec 'touch was_here'\n--nonsense\n")
    with serving({"/page": page(PAGE), "/film.mp4": media(FILM)}) as server:
        resolve(f"{server.url}/page", web)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["config", "yt-dlp"]


def test_through_a_proxy(web):
    with serving({"http://films.invalid/film.mp4": media(FILM)}) as proxy:
        through = web.model_copy(update={"proxy": proxy.url})
        assert resolve("http://films.invalid/film.mp4", through).streams


def one(format_id: str, height=None, v="none", a="none", protocol="https", **more):
    return {"format_id": format_id, "url": "http://a", "height": height, "vcodec": v,
            "acodec": a, "protocol": protocol, "ext": "mp4", **more}  # fmt: skip


def chosen(*formats, max_height_px=480):
    return "+".join(f["format_id"] for f in choose(formats, max_height_px))


def test_formats_are_chosen():
    audio, low, high = one("140", a="aac"), one("134", 360, "avc1"), one("135", 480, "avc1")
    both, small = one("18", 360, "avc1", "aac"), one("17", 144, "mp4v", "aac")
    hls = one("95", 480, "avc1", "aac", protocol="m3u8_native")
    assert chosen(audio, low, high) == "135+140"
    assert chosen(audio, low, both, high) == "18"  # one file of 360 for two of 480
    assert chosen(audio, small, high) == "135+140"
    assert chosen(small) == "17"
    assert chosen(audio, high, max_height_px=360) == ""
    assert chosen(hls) == "95"
    assert chosen(hls, small) == "17"
    assert chosen(hls, high) == "95"  # better than a film without sound
    assert chosen(high) == "135"
    assert chosen(audio) == ""
    assert chosen(one("x", 480, None, None)) == "x"  # nobody says what is in it
    assert chosen(one("x", 480, "a", "a", protocol="rtmp")) == ""
    assert chosen(one("upright", 854, "avc1", "aac", width=480)) == "upright"
    assert chosen(one("sb0", 45, "none", "none", protocol="mhtml", ext="mhtml")) == ""


@given(
    st.lists(
        st.builds(
            one,
            st.uuids().map(str),
            st.sampled_from([None, 144, 360, 480, 720]),
            st.sampled_from(["none", "avc1", None]),
            st.sampled_from(["none", "aac", None]),
            st.sampled_from(["https", "m3u8_native", "rtmp"]),
        ),
        max_size=6,
    )
)
def test_what_is_chosen_has_pictures_and_fits(formats):
    picked = choose(formats, 480)
    assert len(picked) <= 2
    assert all((f["height"] or 0) <= 480 and f["protocol"] != "rtmp" for f in picked)
    if picked:
        assert any(f["vcodec"] != "none" for f in picked)
    elif any(f["vcodec"] == "avc1" and f["acodec"] == "aac" for f in formats):
        assert all((f["height"] or 0) > 480 or f["protocol"] == "rtmp" for f in formats
                   if f["vcodec"] != "none")  # fmt: skip
