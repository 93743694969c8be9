"""Segments of films of a web server: few bytes, the same frames and samples as the film has."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nano4m_audio.acquire.decode import decode_clip
from nano4m_audio.errors import UserError
from nano4m_audio.fetch import pieces
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.kept import kept
from nano4m_audio.fetch.pieces import Fetched, Piece, Segment, fetch_piece, fetch_video
from nano4m_audio.fetch.resolve import Resolved, Stream
from tests.fetch import server as serve
from tests.fetch.films import film, window
from tests.fetch.server import media, page, serving, status

#: What is served together, and the local file that it is compared with.
KINDS = {
    "mp4": (("h264.mp4",), "h264.mp4"),
    "webm": (("vp9.webm",), "vp9.webm"),
    "apart": (("video.mp4", "audio.m4a"), "merged.mp4"),
}
VIDEO = '<html><body><video src="/{}"></video></body></html>'


def resolved(server: serve.Server, *paths: str) -> Resolved:
    """A video behind these paths of a server."""
    streams = [
        Stream(f"{server.url}/{path}", {}, path, path[-3:], "", "", None, None, "http")
        for path in paths
    ]
    return Resolved("id", None, tuple(streams), "", (), {})


@contextmanager
def served(folder: Path, *names: str) -> Iterator[tuple[serve.Server, Resolved]]:
    answers = {f"/{name}": media((folder / name).read_bytes()) for name in names}
    with serving(answers) as server:
        yield server, resolved(server, *names)


def got(fetched: Fetched) -> list[Piece]:
    """The pieces of all segments."""
    found = [result for result in fetched.results if isinstance(result, Piece)]
    assert fetched.error is None and len(found) == len(fetched.results) > 0, fetched
    return found


def files(folder: Path) -> list[str]:
    """What is in a folder, besides the notes about pieces."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".json")


def assert_same(piece: Piece, whole: Path, start_s: float, end_s: float) -> None:
    """The piece decodes to the frames and samples that the whole file has in its segment."""
    frames, samples = window(whole, start_s, end_s)
    cut, heard = window(piece.path, piece.file_start_s, piece.file_end_s)
    assert len(frames) == len(cut) > 0
    assert all(abs(a[0] - b[0]) < 1e-5 for a, b in zip(frames[1:], cut[1:], strict=True))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(frames, cut, strict=True))
    assert abs(samples.shape[1] - heard.shape[1]) <= 0.02 * 48000
    n = min(samples.shape[1], heard.shape[1])
    assert np.abs(samples[:, :n] - heard[:, :n]).max(initial=0) < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start_s", [0.0, 3.9, 30.0, 61.48, 112.0])
def test_ten_seconds_of_two_minutes(films, web, tmp_path, kind, start_s):
    names, whole = KINDS[kind]
    with served(films, *names) as (server, video):
        piece = fetch_piece(video, Segment(start_s, start_s + 10, tmp_path / "piece"), web)
        sent, n_requests = server.sent, len(server.seen)
    assert piece.route == "range"
    assert piece.bytes_read == pytest.approx(sent, rel=0.02)
    assert sent <= 0.3 * sum((films / name).stat().st_size for name in names)
    assert n_requests <= 14
    assert_same(piece, films / whole, start_s, min(start_s + 10, 120.0))


@pytest.mark.slow
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start_s=st.floats(0, 119), length_s=st.floats(0.1, 40), kind=st.sampled_from(list(KINDS)))
def test_any_segment(films, web, tmp_path, start_s, length_s, kind):
    names, whole = KINDS[kind]
    with served(films, *names) as (_, video):
        piece = fetch_piece(video, Segment(start_s, start_s + length_s, tmp_path / "p"), web)
    assert_same(piece, films / whole, start_s, min(start_s + length_s, 120.0))


SORTS: dict[str, dict[str, Any]] = {
    "fragmented": {"options": {"movflags": "+frag_keyframe+empty_moov+default_base_moof"}},
    "indexed fragments": {"options": {"movflags": "+dash+global_sidx+frag_keyframe"}},
    "index last": {"options": {}},
    "odd rates": {"fps": Fraction(30000, 1001), "rate_hz": 44100},
    "late start": {"start_s": 1.5, "options": {}},
    "silent": {"codecs": ("libx264", None)},
    "matroska h264": {"name": "film.mkv"},
    "matroska vp8": {"name": "film.webm", "codecs": ("libvpx", "libopus")},
    "transport stream": {"name": "film.ts"},
    "avi": {"name": "film.avi", "codecs": ("mpeg4", "libmp3lame")},
}


@pytest.mark.slow
@pytest.mark.parametrize("sort", SORTS)
def test_sorts_of_files(web, tmp_path, sort):
    how = dict(SORTS[sort])
    path = tmp_path / how.pop("name", "film.mp4")
    film(path, seconds=20, gop_s=2, bit_rates=(100_000, 64_000), **how)
    with served(tmp_path, path.name) as (_, video):
        for start_s in (0.0, 7.3, 15.0):
            piece = fetch_piece(video, Segment(start_s, start_s + 4, tmp_path / "p"), web)
            assert piece.has_sound == (sort != "silent")
            assert_same(piece, path, start_s, start_s + 4)


def test_a_piece_is_a_clip_for_the_decoder(short, web, tmp_path):
    with served(short.parent, short.name) as (_, video):
        piece = fetch_piece(video, Segment(5, 10, tmp_path / "a piece.x"), web)
    clip = decode_clip(piece.path)
    assert clip.duration_s >= piece.file_end_s
    assert 1 <= piece.file_start_s < 6
    assert not clip.message


def test_pieces_are_a_function_of_the_film(short, web, tmp_path):
    with served(short.parent, short.name) as (_, video):
        fetch_piece(video, Segment(5, 10, tmp_path / "a"), web)
        fetch_piece(video, Segment(5, 10, tmp_path / "b"), web)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_turned_pictures_stay_turned(short, web, tmp_path):
    from av.stream import Disposition

    path = tmp_path / "turned.mp4"
    with av.open(str(short)) as source, av.open(str(path), "w") as out:
        copies = {s.index: out.add_stream_from_template(s) for s in source.streams}
        copies[0].disposition = Disposition.default
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    turned = [0, 1 << 16, 0, -(1 << 16) & 0xFFFFFFFF, 0, 0, 0, 0, 1 << 30]
    data[matrix : matrix + 36] = b"".join(v.to_bytes(4, "big") for v in turned)
    path.write_bytes(data)
    with served(tmp_path, path.name) as (_, video):
        piece = fetch_piece(video, Segment(5, 10, tmp_path / "p"), web)
    whole, part = decode_clip(path), decode_clip(piece.path)
    assert (whole.width, whole.height) == (part.width, part.height) == (120, 160)


@pytest.mark.parametrize("end_s", [None, 12.0, 500.0])
def test_all_of_a_video_is_its_file(short, web, tmp_path, end_s):
    with served(short.parent, short.name) as (_, video):
        piece = fetch_piece(video, Segment(0, end_s, tmp_path / "p"), web)
    assert piece.path.read_bytes() == short.read_bytes()
    assert (piece.route, piece.file_start_s) == ("whole", 0)
    assert piece.file_end_s == pytest.approx(12.0, abs=0.05)


@pytest.mark.parametrize("route", ["auto", "whole"])
def test_servers_without_ranges_send_the_file_once(short, web, tmp_path, route):
    settings = web.model_copy(update={"route": route})
    answer = serve.without_ranges(short.read_bytes()) if route == "auto" else media(
        short.read_bytes()
    )  # fmt: skip
    segments = [Segment(s, e, tmp_path / f"{s}") for s, e in ((2, 5), (6, 9), (0, None))]
    with serving({"/film.mp4": answer}) as server:
        fetched = fetch_video(f"{server.url}/film.mp4", segments, settings)
        assert server.sent < 3 * short.stat().st_size + 200_000  # one for yt-dlp, one to see
    assert [piece.route for piece in got(fetched)] == ["whole"] * 3
    assert_same(got(fetched)[1], short, 6, 9)
    assert files(tmp_path) == ["0", "2", "6"]


def test_only_ranges_where_only_ranges_are_wanted(short, web, tmp_path):
    settings = web.model_copy(update={"route": "range"})
    with serving({"/film.mp4": serve.without_ranges(short.read_bytes())}) as server:
        video = resolved(server, "film.mp4")
        with pytest.raises(FetchError, match="no ranges"):
            fetch_piece(video, Segment(1, 5, tmp_path / "p"), settings)


@pytest.mark.parametrize(
    ("start_s", "end_s", "file_s"), [(8, 20, 4), (11.5, 13, 0.5), (3, None, 9)]
)
def test_a_segment_ends_with_its_video(short, web, tmp_path, start_s, end_s, file_s):
    with served(short.parent, short.name) as (_, video):
        piece = fetch_piece(video, Segment(start_s, end_s, tmp_path / "p"), web)
    assert piece.file_end_s - piece.file_start_s == pytest.approx(file_s, abs=0.05)


def test_a_segment_after_the_end_is_too_short(short, web, tmp_path):
    tooshort = pytest.raises(FetchError, match="content too short")
    with served(short.parent, short.name) as (_, video), tooshort:
        fetch_piece(video, Segment(12.5, 20, tmp_path / "p"), web)
    assert not list(tmp_path.iterdir())


def test_a_film_that_was_cut_off_on_the_server(short, web, tmp_path):
    data = short.read_bytes()[: short.stat().st_size // 2]
    with serving({"/a.mp4": media(data)}) as server:
        video = resolved(server, "a.mp4")
        fetch_piece(video, Segment(1, 3, tmp_path / "there"), web)
        with pytest.raises(FetchError, match="content too short"):
            fetch_piece(video, Segment(8, 11, tmp_path / "p"), web)
        with pytest.raises(FetchError, match="content too short"):
            fetch_piece(video, Segment(0, None, tmp_path / "p"), web)
    assert files(tmp_path) == ["there"]


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (status(403), 403, "403"),
        (status(404), 404, "404"),
        (status(410), 410, "410"),
        (status(429, Retry_After="77"), 429, "429"),
        (status(503), 503, "503"),
        (page("<html>who are you</html>"), 200, "HTML instead of media"),
        (media(b"not a film at all" * 500), None, "no media container"),
        (media(b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n" * 9), None, "no media container"),
        (serve.redirect("file:///etc/passwd"), None, "refused"),
        (serve.redirect("http://localhost:9/"), None, "refused"),
    ],
)
def test_what_the_media_server_says(short, web, tmp_path, answer, code, text):
    """The address of the page is fine, that of the media is not."""
    with serving({"/page": page(VIDEO.format("film.mp4")), "/film.mp4": answer}) as server:
        segments = [Segment(1, 3, tmp_path / "a"), Segment(4, 6, tmp_path / "b")]
        fetched = fetch_video(f"{server.url}/page", segments, web)
        n_pages = sum(path == "/page" for path, _ in server.seen)
    assert fetched.error is None
    assert len(fetched.results) == 2
    for result in fetched.results:
        assert isinstance(result, FetchError)
        assert result.place == "media"
        assert result.status == code
        assert text in result.text
    assert n_pages == (2 if code in (403, 404, 410) else 1)
    assert not list(tmp_path.iterdir())


def test_addresses_that_expire_are_asked_for_again(short, web, tmp_path):
    """The first address is valid for three requests, the second one for good."""
    data = short.read_bytes()
    pages = serve.in_turn(page(VIDEO.format("old.mp4")), page(VIDEO.format("new.mp4")))
    old = serve.after(3, media(data), status(403))
    with serving({"/page": pages, "/old.mp4": old, "/new.mp4": media(data)}) as server:
        segments = [Segment(s, s + 2, tmp_path / f"{s}") for s in (1, 5, 9)]
        fetched = fetch_video(f"{server.url}/page", segments, web)
    for result, start_s in zip(got(fetched), (1, 5, 9), strict=True):
        assert_same(result, short, start_s, start_s + 2)


def test_a_piece_is_noted_as_soon_as_it_is_finished(short, web, tmp_path):
    segments = [Segment(1, 3, tmp_path / "a"), Segment(0, None, tmp_path / "all")]
    with served(short.parent, short.name) as (server, _):
        some, whole = got(fetch_video(f"{server.url}/{short.name}", segments, web))
    noted = kept(some.path)
    assert (noted.file_start_s, noted.file_end_s) == (some.file_start_s, some.file_end_s)
    assert (kept(whole.path).file_start_s, kept(whole.path).file_end_s) == (None, None)
    some.path.write_bytes(b"cut off")
    assert kept(some.path) is None


def test_one_bad_segment_does_not_stop_the_others(short, web, tmp_path):
    with served(short.parent, short.name) as (server, _):
        segments = [Segment(s, s + 2, tmp_path / f"{s}") for s in (1, 50, 5)]
        fetched = fetch_video(f"{server.url}/{short.name}", segments, web)
    assert [type(result) for result in fetched.results] == [Piece, FetchError, Piece]


def test_a_page_without_a_video(web, tmp_path):
    with serving({"/a": page("<p>none</p>")}) as server:
        fetched = fetch_video(f"{server.url}/a", [Segment(0, 5, tmp_path / "p")], web)
    assert fetched.results == ()
    assert "Unsupported URL" in fetched.error.text


def test_a_video_larger_than_allowed(films, web, tmp_path):
    settings = web.model_copy(update={"max_mb": 1})
    with served(films, "h264.mp4") as (_, video):
        fetch_piece(video, Segment(50, 55, tmp_path / "some"), settings)
        with pytest.raises(FetchError, match="too large"):
            fetch_piece(video, Segment(0, None, tmp_path / "all"), settings)
        with pytest.raises(FetchError, match="too large"):
            fetch_piece(video, Segment(10, 100, tmp_path / "much"), settings)


@pytest.mark.slow
def test_in_a_process_of_its_own(short, web, tmp_path):
    with served(short.parent, short.name) as (server, _), pieces.child() as fetching:
        url = f"{server.url}/{short.name}"
        segments = [Segment(2, 5, tmp_path / "a"), Segment(70, 75, tmp_path / "b")]
        fetched = pieces.ask(fetching, url, segments, web)
        done, failed = fetched.results
        assert isinstance(done, Piece) and isinstance(failed, FetchError)
        assert_same(done, short, 2, 5)
        assert "content too short" in failed.text
        gone = pieces.ask(fetching, f"{server.url}/none", segments, web)
        assert (gone.error.status, gone.error.place) == (404, "page")
        bad = web.model_copy(update={"cookies": str(tmp_path / "none.txt")})
        with pytest.raises(UserError, match=r"web\.cookies"):
            pieces.ask(fetching, url, segments, bad)


def test_a_reader_that_does_not_end_is_an_answer(web):
    from nano4m_audio.acquire.child import Child, Limits

    with Child(pieces._answer, Limits(3000, 10, 0.01)) as fetching:
        fetched = pieces.ask(fetching, "http://127.0.0.1:9/", [], web)
    assert "the reader ended: no end after" in fetched.error.text


def test_what_is_sent_between_processes_arrives():
    error = FetchError("a", status=403, retry_after_s=2.0, place="media", warnings=("w",))
    piece = Piece(Path("p"), "range", 0.5, 10.5, 99, "18")
    fetched = pickle.loads(pickle.dumps(Fetched((piece, error), None, 3.0)))
    assert fetched.results[0] == piece
    assert vars(fetched.results[1]) == vars(error)


def test_leftovers_of_killed_processes_go(tmp_path):
    import os
    import socket
    import subprocess

    ended = subprocess.Popen(["true"])
    ended.wait()
    host = socket.gethostname()
    for name in (f".whole-{host}-{ended.pid}-x", f".whole-{host}-{os.getpid()}-x", ".whole-o-1-x"):
        (tmp_path / name).mkdir()
    pieces.remove_leftovers(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([f".whole-{host}-{os.getpid()}-x", ".whole-o-1-x"])


HLS_MASTER = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=200000,RESOLUTION=160x120,CODECS="avc1.64000b,mp4a.40.2"
media.m3u8
"""


@pytest.fixture(scope="module")
def parts(short, tmp_path_factory) -> dict[str, bytes]:
    """The short film in parts of a few seconds, and their playlist."""
    folder = tmp_path_factory.mktemp("hls")
    how = {"hls_time": "4", "hls_list_size": "0", "hls_playlist_type": "vod"}
    with (
        av.open(str(short)) as source,
        av.open(str(folder / "media.m3u8"), "w", format="hls", options=how) as out,
    ):
        copies = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    return {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def playlist(parts) -> dict[str, serve.Answer]:
    """The film as a web server of HLS sends it."""
    kinds = {"m3u8": "application/vnd.apple.mpegurl", "ts": "video/mp2t"}
    answers = {name: media(part, kinds[name.split(".")[1]]) for name, part in parts.items()}
    return answers | {"/master.m3u8": media(HLS_MASTER.encode(), kinds["m3u8"])}


def test_media_in_parts(playlist, parts, web, tmp_path):
    """yt-dlp's own downloader puts them together; what is wanted is cut from that."""
    segments = [Segment(s, s + 3, tmp_path / f"{s}") for s in (2, 8)]
    with serving(playlist) as server:
        fetched = fetch_video(f"{server.url}/master.m3u8", segments, web)
    assert [piece.route for piece in got(fetched)] == ["whole", "whole"]
    assert files(tmp_path) == ["2", "8"]
    whole = tmp_path / "whole.ts"
    whole.write_bytes(b"".join(parts[name] for name in sorted(parts) if name.endswith(".ts")))
    for piece, start_s in zip(got(fetched), (2, 8), strict=True):
        assert_same(piece, whole, start_s, start_s + 3)


# yt-dlp leaves the file of what it has put together open, to be closed some time later
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (status(403), 403, "403"),
        (status(404), 404, "404"),
        (serve.redirect("http://127.0.0.9/x"), None, "refused"),
        (serve.redirect("file:///etc/passwd"), 302, "refused"),
    ],
)
def test_a_part_that_is_missing(playlist, web, tmp_path, answer, code, text):
    names = sorted(name for name in playlist if name.endswith(".ts"))
    with serving(playlist | {names[1]: answer}) as server:
        fetched = fetch_video(f"{server.url}/master.m3u8", [Segment(2, 5, tmp_path / "p")], web)
    (result,) = fetched.results
    assert isinstance(result, FetchError)
    assert (result.status, result.place) == (code, "media")
    assert text in result.text
    assert not list(tmp_path.iterdir())


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=20),
    kind=st.sampled_from(["short.mp4", "short.webm"]),
)
def test_damaged_films_are_answers(short, web, tmp_path, flips, kind):
    """Whatever is in the file, there is a piece or a FetchError, and nothing half written."""
    path = short.parent / kind
    if not path.exists():
        film(path, seconds=12, codecs=("libvpx-vp9", "libopus"))
    data = bytearray(path.read_bytes())
    for place, flip in flips:
        data[min(int(place**4 * len(data)), len(data) - 1)] ^= flip  # mostly where the index is
    out = tmp_path / "p"
    for file in tmp_path.iterdir():
        file.unlink()
    with serving({"/a": media(bytes(data))}) as server:
        try:
            fetch_piece(resolved(server, "a"), Segment(3, 6, out), web)
        except FetchError:
            assert not files(tmp_path)
        else:
            assert files(tmp_path) == ["p"]
