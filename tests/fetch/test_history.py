"""When a video is asked for again, by what it answered before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.faults import classify, table
from nano4m_audio.fetch.history import LONG, due, next_attempt, probe_video
from nano4m_audio.fetch.ledger import Attempt
from nano4m_audio.reasons import Reason

START = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS = {
    "ok": "", "gone": "This video has been removed by the uploader", "private": "Private video",
    "network": "connection reset", "unknown": "The hamster is asleep", "wall": "captcha",
    "cookies": "failed to load cookies", "client": "not available on this app",
    "truncated": "content too short",
}  # fmt: skip
TEXTS["wall"] = "YouTube is requiring a captcha challenge before playback"


def looks(*answers: tuple[str, timedelta] | str, video_id: str = "v", **more) -> list[Attempt]:
    """Attempts at START + given times, or a second after each other."""
    rows: list[Attempt] = []
    for number, answer in enumerate(answers):
        name, after = answer if isinstance(answer, tuple) else (answer, timedelta(seconds=number))
        row = Attempt(video_id, number + 1, START + after, START + after, clip_ids=["v@0"])
        if name != "ok":
            row = row.failed(classify(FetchError(TEXTS.get(name, name), **more)))
        rows.append(row)
    return rows


def ask(rows: list[Attempt], after: timedelta = timedelta(0), retry="", **more) -> str:
    return due(rows, rows[-1].ended_at + after, retry, **more).ask


FAR = timedelta(days=10_000)


def test_what_was_never_asked_for_is_due():
    decision = due([], START)
    assert (decision.ask, decision.reason) == ("now", Reason.NOT_FETCHED_YET)
    assert next_attempt([]) == 1 and next_attempt(looks("network", "ok")) == 3


def test_what_is_there_is_not_asked_for_unless_more_is_wanted():
    rows = looks("network", "ok")
    assert due(rows, START + FAR, "all").ask == "never" and due(rows, START).reason is None
    assert due(rows, START + FAR, missing=["v@7"]).ask == "now"
    later = looks("ok", "private")
    assert due(later, START + FAR).ask == "never"
    assert due(later, START + timedelta(days=1), missing=["v@7"]).ask == "later"


@pytest.mark.parametrize("retry", ["", "transient", "long", "all"])
@pytest.mark.parametrize("rest", [[], ["wall"], ["network"], ["ok"]])
def test_permanent_is_for_ever(retry, rest):
    decision = due(looks("gone", *rest), START + FAR, retry, missing=["v@0"])
    assert (decision.ask, decision.reason) == ("never", Reason.GONE)


def test_long_means_two_looks_thirty_days_apart():
    once = looks("private")
    assert ask(once, LONG - timedelta(seconds=1)) == "later" and ask(once, LONG) == "now"
    assert due(once, START).reason == Reason.RESTRICTED and due(once, START).after == START + LONG
    twice = looks("private", ("private", LONG))
    assert ask(twice, FAR) == "never" and due(twice, START + FAR).reason == Reason.RESTRICTED
    assert ask(twice, retry="long") == ask(once, retry="long") == ask(once, retry="all") == "now"
    assert ask(once, retry="transient") == "later"
    soon = looks("private", ("private", timedelta(days=1)))  # asked early, by --retry
    assert ask(soon, LONG) == "now"


def test_transient_waits_longer_every_time_and_is_given_up():
    waits = []
    for tries in range(1, 5):
        rows = looks(*["network"] * tries)
        decision = due(rows, rows[-1].ended_at)
        assert decision.ask == "later" and decision.after and decision.reason == "not_fetched_yet"
        assert decision == due(rows, rows[-1].ended_at)  # a restart changes nothing
        waits.append((decision.after - rows[-1].ended_at).total_seconds())
        assert ask(rows, timedelta(seconds=waits[-1])) == "now"
    assert 45 <= waits[0] <= 75 and 0.75 * 6 * 3600 <= waits[3] <= 1.25 * 6 * 3600
    assert waits == sorted(waits)
    rows = looks(*["network"] * 5)
    assert due(rows, START + FAR).reason == Reason.FETCH_FAILED and ask(rows, FAR) == "never"
    assert ask(rows, retry="transient") == ask(rows, retry="all") == "now"
    assert ask(rows, retry="long") == "never"
    others = {due(looks("network", video_id=f"v{n}"), START).after for n in range(20)}
    assert len(others) == 20


@pytest.mark.parametrize(("name", "tries"), [("unknown", 2), ("truncated", 3), ("client", 2)])
def test_some_faults_have_fewer_tries(name, tries):
    assert ask(looks(*[name] * (tries - 1)), FAR) == "now"
    assert ask(looks(*[name] * tries), FAR) == "never"
    assert ask(looks(*["network"] * 3, name), FAR) == "now"
    assert ask(looks("network", name, "network", "network", "truncated"), FAR) == "never"


def test_an_ok_forgets_the_tries_before_it():
    rows = looks(*["network"] * 4, "ok", "network")
    assert due(rows, START + FAR, missing=["v@7"]).ask == "now"


def test_the_servers_word_counts():
    rows = looks("HTTP Error 503", retry_after_s=7200)
    assert ask(rows, timedelta(seconds=7199)) == "later" and ask(rows, timedelta(hours=2)) == "now"
    premiere = looks("Premieres in 3 days")
    assert ask(premiere, timedelta(days=3) - timedelta(seconds=1)) == "later"
    assert ask(premiere, timedelta(days=3)) == "now"
    assert ask(looks("live_status: is_live"), timedelta(hours=23)) == "later"


def test_walls_are_not_the_videos_fault():
    assert ask(looks("wall")) == "now" and ask(looks("cookies")) == "now"
    assert ask(looks("private", "wall"), retry="") == "later"
    many = looks(*["wall"] * 50)
    assert ask(many) == "later" and ask(many, timedelta(hours=6)) == "now"  # lets others go first
    assert due(many, START + FAR).reason == Reason.NOT_FETCHED_YET
    assert ask(looks("HTTP Error 429", retry_after_s=90), timedelta(seconds=89)) == "later"


def test_media_that_are_always_refused_are_given_up():
    rows = looks(*["unable to download video data: HTTP Error 403"] * 5)
    assert ask(rows[:4], FAR) == "now" and ask(rows, FAR) == "never"
    assert due(rows, START + FAR).reason == Reason.FETCH_FAILED


def test_retry_asks_once_a_run():
    rows = looks("private")
    before, after = START - timedelta(hours=1), START + timedelta(hours=1)
    assert ask(rows, retry="all", started=before) == "later"
    assert ask(rows, retry="all", started=after) == "now"


def test_the_probe_is_what_was_ok_last():
    videos = {"a": looks("ok", video_id="a"), "b": looks("network", "ok", video_id="b"),
              "c": looks("ok", "network", "gone", video_id="c")}  # fmt: skip
    assert probe_video(videos) == "b" and probe_video({}) is None


def test_every_fault_has_a_reason_that_says_it():
    reasons = {Reason.GONE, Reason.RESTRICTED, Reason.FETCH_FAILED, Reason.NOT_FETCHED_YET}
    assert {name.reason for name in table().names.values()} == reasons
    for row in (*table().statuses, *table().rows):
        reason = table().names[row.name].reason
        assert (row.kind not in ("permanent", "long")) or reason != Reason.NOT_FETCHED_YET
