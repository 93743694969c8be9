"""The stage from candidates to fetched tables, with the real yt-dlp and a server of our own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nano4m_audio.config.sources import Breaker, Web
from nano4m_audio.errors import TryLaterError, UserError
from nano4m_audio.fetch import ledger, run, tell
from nano4m_audio.fetch.stage import fetch_segments, next_attempt, videos
from nano4m_audio.paths import Results
from nano4m_audio.shards import set_shards
from nano4m_audio.tables import read_rows, write_rows
from tests.fetch.films import film
from tests.fetch.server import after, media, serving, status

FAST: dict[str, Any] = {
    "rate_per_hour": 100_000.0,
    "sleep_s": (0.0, 0.0),
    "request_sleep_s": 0.0,
    "timeout_s": 5.0,
    "private_hosts": ("127.0.0.1",),
}


@pytest.fixture(scope="module")
def film_bytes(tmp_path_factory) -> bytes:
    return film(tmp_path_factory.mktemp("film") / "a.mp4", seconds=12, gop_s=2).read_bytes()


def results_with(tmp_path: Path, url: str, names: str, clips: int = 1) -> Results:
    """A results folder whose candidates are cuts of videos NAME.mp4 on a server."""
    results = Results(tmp_path / "results")
    rows = [
        {
            "clip_id": f"{name}@{k * 4000}",
            "video_id": name,
            "start_s": 4.0 * k,
            "end_s": 4.0 * k + 4,
            "class_name": "dog",
            "sources": ["list"],
            "path": f"{name}{k}",
            "url": f"{url}/{name}.mp4",
        }
        for name in names.split()
        for k in range(clips)
    ]
    write_rows(results.table("candidates", "0000"), "candidates", rows)
    set_shards(results.root, 1)
    return results


def fetched(results: Results) -> dict[str, tuple[str, str]]:
    rows = read_rows(results.table("fetched", "0000"), "fetched")
    return {row["clip_id"]: (row["status"], row["reason"]) for row in rows}


def asked(server) -> Counter[str]:
    """How often the page of each video was asked for: yt-dlp looks at it without a range first."""
    return Counter(Path(path).stem for path, _ in server.seen)


def names_in(results: Results) -> list[str]:
    return [attempt.name for attempt in ledger.read_attempts(results.ledger)]


def test_what_is_there_is_fetched_and_what_is_not_says_why(tmp_path, film_bytes):
    answers = {"/a.mp4": media(film_bytes), "/b.mp4": status(404), "/c.mp4": media(film_bytes)}
    with serving(answers) as server:
        results = results_with(tmp_path, server.url, "a b c", clips=2)
        fetch_segments(results, Web(**FAST))
        assert fetched(results) == {
            "a@0": ("ok", ""), "a@4000": ("ok", ""),
            "b@0": ("failed", "gone"), "b@4000": ("failed", "gone"),
            "c@0": ("ok", ""), "c@4000": ("ok", ""),
        }  # fmt: skip
        n_asked = len(server.seen)
        fetch_segments(results, Web(**FAST), retry="all")
        assert len(server.seen) == n_asked, (
            "what is there, or gone for good, is not asked for again"
        )
    assert len(ledger.read_attempts(results.ledger)) == 3, "the unit of asking is a video"
    assert next_attempt(results, Web()) == 0


def test_a_piece_that_is_lost_is_fetched_again(tmp_path, film_bytes):
    with serving({"/a.mp4": media(film_bytes)}) as server:
        results = results_with(tmp_path, server.url, "a", clips=2)
        fetch_segments(results, Web(**FAST))
        (results / "web/pieces/a1").unlink()
        fetch_segments(results, Web(**FAST))
        assert set(fetched(results).values()) == {("ok", "")}
    rows = ledger.read_attempts(results.ledger)
    assert [list(row.clip_ids) for row in rows] == [["a@0", "a@4000"], ["a@4000"]]


def test_a_kill_between_a_piece_and_its_row_loses_no_answer(tmp_path, film_bytes):
    with serving({"/a.mp4": media(film_bytes)}) as server:
        results = results_with(tmp_path, server.url, "a", clips=2)
        fetch_segments(results, Web(**FAST))
        whole = ledger.read_attempts(results.ledger)[0]
        for part in results.ledger.glob("*.parquet"):
            part.unlink()
        n_asked = len(server.seen)
        for _ in range(2):
            fetch_segments(results, Web(**FAST))
            (row,) = ledger.read_attempts(results.ledger)
            same = ("video_id", "kind", "name", "clip_ids", "attempt", "route", "bytes", "session")
            assert [getattr(row, name) for name in same] == [getattr(whole, name) for name in same]
            assert whole.started_at <= row.ended_at <= whole.ended_at
        assert len(server.seen) == n_asked and len(fetched(results)) == 2


def test_what_passes_is_tried_again(tmp_path, film_bytes, monkeypatch):
    monkeypatch.setattr(run, "_PATIENCE_S", 0.0)
    answers = {"/a.mp4": after(1, status(503), media(film_bytes))}
    with serving(answers) as server:
        results = results_with(tmp_path, server.url, "a")
        fetch_segments(results, Web(**FAST))
        assert fetched(results)["a@0"] == ("failed", "not_fetched_yet")
        assert next_attempt(results, Web()) == 0, "it is not due yet"
        fetch_segments(results, Web(**FAST), retry="transient")
        assert fetched(results)["a@0"] == ("ok", "")


def test_walls_end_the_run_and_count_for_no_video(tmp_path, film_bytes):
    names = "a b c d e f g h"
    settings = Web(**FAST, breaker=Breaker(walls=3, among=10, pauses_min=()))
    with serving({f"/{n}.mp4": status(429) for n in names.split()}) as server:
        results = results_with(tmp_path, server.url, names)
        with pytest.raises(TryLaterError) as error:
            fetch_segments(results, settings)
        assert error.value.exit_status == 75
        assert "same command goes on" in str(error.value) and "\n" not in str(error.value)
        assert 1 <= len(names_in(results)) <= 3, "nobody else is asked for"
        assert not results.table("fetched", "0000").exists()
    fetch_segments(results, settings.model_copy(update={"partial": True}))
    assert set(fetched(results).values()) == {("failed", "not_fetched_yet")}


def test_the_order_is_not_that_of_the_names(tmp_path):
    names = " ".join(f"video{i:03d}" for i in range(100))
    results = results_with(tmp_path, "http://127.0.0.1:1", names)
    order = [video.video_id for video in videos(results)]
    assert order != sorted(order) and sorted(order) == names.split()


def test_only_one_run_at_a_time(tmp_path, film_bytes):
    results = results_with(tmp_path, "http://127.0.0.1:1", "a")
    with ledger.open_ledger(results.ledger), pytest.raises(UserError, match="in use"):
        fetch_segments(results, Web(**FAST))


def test_no_more_of_a_segment_is_read_than_the_config_says(tmp_path, film_bytes):
    with serving({"/a.mp4": media(film_bytes)}) as server:
        results = results_with(tmp_path, server.url, "a", clips=2)
        fetch_segments(results, Web(**FAST, max_segment_s=2.0))
    rows = read_rows(results.table("fetched", "0000"), "fetched")
    lengths = [row["file_end_s"] - row["file_start_s"] for row in rows]
    assert lengths == pytest.approx([2.0, 2.0], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_kill_loses_no_finished_piece(tmp_path, film_bytes, how):
    names = " ".join(f"v{i}" for i in range(8))
    with serving({f"/{n}.mp4": media(film_bytes) for n in names.split()}) as server:
        results = results_with(tmp_path, server.url, names)
        settings = tmp_path / "settings.json"
        settings.write_text(Web(**FAST, workers=2).model_dump_json())
        command = [sys.executable, "-m", "nano4m_audio.cli", "fetch",
                   f"--results={results}", f"--settings={settings}"]  # fmt: skip
        for _ in range(2):
            before = len(names_in(results))
            process = subprocess.Popen(command, start_new_session=True)
            while len(names_in(results)) < before + 2 and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(how)
            process.wait(120)
        known = asked(server)
        done = {row.video_id for row in ledger.read_attempts(results.ledger)}
        subprocess.run(command, check=True, timeout=300)
        assert set(fetched(results).values()) == {("ok", "")}
        again = asked(server)
        assert all(again[name] == known[name] for name in done), "no video is asked for twice"
    rows = ledger.read_attempts(results.ledger)
    assert Counter(row.video_id for row in rows) == Counter(names.split())


def test_commands_that_tell(tmp_path, film_bytes, capsys):
    with serving({"/a.mp4": media(film_bytes), "/b.mp4": status(404)}) as server:
        results = results_with(tmp_path, server.url, "a b c", clips=2)
        tell.tell_plan(results, Web(**FAST))
        assert "3 of 3 videos are due" in capsys.readouterr().out
        fetch_segments(results, Web(**FAST))
        tell.tell_plan(results, Web(**FAST))
        said = capsys.readouterr().out
        assert "0 of 3 videos are due" in said and "0.0% unknown" in said
        tell.tell_video(results, "b@4000")
        assert "HTTP 404" in capsys.readouterr().out
        with pytest.raises(UserError, match="no video"):
            tell.tell_video(results, "<script>")
        tell.tell_address(results, Web(**FAST))
        assert capsys.readouterr().out.startswith("a: ok")
    with serving({"/a.mp4": status(429)}) as server:
        other = results_with(tmp_path / "other", server.url, "a")
        with pytest.raises(TryLaterError):
            tell.tell_address(other, Web(**FAST))
