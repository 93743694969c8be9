"""What a fetch has to do, and what it did, in numbers and words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from nano4m_audio.config import sources
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.faults import classify
from nano4m_audio.fetch.ledger import Attempt, by_video
from nano4m_audio.fetch.plan import Wanted, duration, explain, make_plan, summarise

START = datetime(2026, 1, 1, tzinfo=UTC)
BREAKER = sources.Breaker()


def row(video_id: str, text: str = "", minute: float = 0, attempt: int = 1, **values) -> Attempt:
    at = START + timedelta(minutes=minute)
    made = Attempt(video_id, attempt, at, at + timedelta(seconds=1), **values)
    return made.failed(classify(FetchError(text))) if text else made


def wanted(video_id: str, there: int, missing: int, class_name: str = "dog") -> Wanted:
    names = {f"{video_id}@{n}": class_name for n in range(there + missing)}
    return Wanted(video_id, names, frozenset(list(names)[there:]))


def test_a_plan_counts_segments_by_class():
    looks = by_video([
        row("there"), row("gone", "removed by the uploader"), row("more"),
        row("private", "Private video"), row("other", "Private video"),
    ])  # fmt: skip
    videos = [wanted("there", 2, 0), wanted("gone", 0, 3), wanted("private", 0, 1, "cat"),
              wanted("more", 1, 1), wanted("new", 0, 4, "cat")]  # fmt: skip
    plan = make_plan(videos, looks, START + timedelta(days=1), 250.0)
    dog, cat = plan.classes["dog"], plan.classes["cat"]
    assert (dog.listed, dog.there, dog.due, dog.later, dog.given_up) == (7, 3, 1, 0, 3)
    assert (cat.listed, cat.there, cat.due, cat.later, cat.given_up) == (5, 0, 4, 1, 0)
    assert (plan.videos, plan.videos_due, plan.hours) == (5, 2, 2 / 250)
    assert plan.total.listed == 12 and plan.gone_share == 3 / 6
    lines = str(plan).splitlines()
    assert lines[0].split() == ["class", "listed", "there", "due", "later", "given", "up"]
    assert lines[3].split() == ["all", "12", "3", "5", "1", "3"]
    assert "2 of 5 videos are due" in lines[4] and "50.0%" in lines[5]
    assert make_plan(videos, looks, START, 250.0, "long").videos_due == 3
    assert "nothing is known" in str(make_plan(videos[-1:], {}, START, 250.0))
    assert make_plan([], {}, START, 1.0).hours == 0


def test_what_a_video_answered_is_explained():
    assert explain("abc", [], START) == "abc: it was not asked for yet"
    private = row("abc", "Private video <b>", 30, 2, warnings=["slow"], http_status=200)
    looks = [row("abc", "connection reset"), private]
    text = explain("abc", looks, START + timedelta(hours=1))
    assert text.splitlines() == [
        "abc: asked for 2 times",
        "  1. 2026-01-01 00:00 UTC network (transient): connection reset",
        "  2. 2026-01-01 00:30 UTC private (long) HTTP 200: Private video <b>",
        "     warning: slow",
        "it answered private (long) on 2026-01-01: asked again 2026-01-31 00:30 UTC",
        "advice: its owner made it private",
    ]
    assert explain("abc", [row("abc")], START).endswith("\nit is there")


def test_health_of_a_good_run():
    rows = [row(f"v{n}", "" if n % 10 else "Private video", n) for n in range(60)]
    found = summarise(rows, BREAKER, videos_due=120)
    assert found.share("ok") == 0.9 and found.share("long") == 0.1 and found.healthy
    assert 58 < found.asked_per_hour < 64 and 1.8 < found.eta_h < 2.1
    assert found.kinds == {"ok": 54, "long": 6} and found.names["private"] == 6
    assert found.health.startswith("61 asked an hour, 90.0% ok, 0.0% walls, 0.0% unknown, ")
    assert (found.bin_h, len(found.bins), found.bins[0].kinds) == (1, 1, {"ok": 54, "long": 6})


def test_too_many_unknown_answers_are_an_alarm():
    rows = [row(f"v{n}", "" if n % 33 else f"new words {n % 2}", n) for n in range(100)]
    found = summarise(rows, BREAKER)
    assert not found.healthy and "4.0% unknown: more than 2% of the answers are new" in found.health
    assert found.unknown_texts == [("new words 0", 2), ("new words 1", 2)]
    assert summarise(rows[1:33], BREAKER).healthy


def test_long_runs_are_counted_by_days_and_openings_are_found():
    rows = [row(f"v{n}", "", 60 * n) for n in range(100)]
    wall = "Sign in to confirm you're not a bot"
    rows += [row(f"w{n}", wall, 6000 + n, session="ab") for n in range(3)]
    found = summarise(rows, BREAKER)
    assert (found.bin_h, len(found.bins)) == (24, 5)
    assert [(o.names, (o.until - o.at).total_seconds()) for o in found.openings] == [
        (("bot_wall",), 3600.0)
    ]


def test_an_empty_ledger_has_a_summary():
    found = summarise([], BREAKER, videos_due=10, rate_per_hour=5.0)
    assert found.eta_h == 2.0 and found.healthy and found.bins == []


def test_durations_in_words():
    assert [duration(h) for h in (0.25, 1, 3.5, 100, 28 * 24)] == [
        "15 min", "1 h", "3.5 h", "4.17 days", "28 days"
    ]  # fmt: skip
