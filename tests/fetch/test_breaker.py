"""The breaker: closed, open, half-open, and the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nano4m_audio.config import sources
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.breaker import Breaker, Exhausted
from nano4m_audio.fetch.faults import classify
from nano4m_audio.fetch.ledger import Attempt

START = datetime(2026, 1, 1, tzinfo=UTC)
WALL, GONE = "Sign in to confirm you're not a bot", "removed by the uploader"


class World:
    """A clock, a breaker, and the rows of the ledger from which another one can be made."""

    def __init__(self, **settings) -> None:
        self.now = START
        self.rows: list[Attempt] = []
        self.settings = sources.Breaker(**settings)
        self.restart()

    def restart(self, session: str = "guest") -> None:
        self.breaker = Breaker(self.settings, lambda: self.now, self.sleep, self.rows, session)

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 10
        self.now += timedelta(seconds=seconds)

    def ask(self, text: str = "", session: str = "guest", **more) -> tuple[bool, float]:
        """Ask once; gives whether it was the probe, and how long that waited [min]."""
        before = self.now
        with self.breaker.turn() as probe:
            waited = (self.now - before).total_seconds() / 60
            row = Attempt("v", 1, self.now, self.now + timedelta(seconds=1), session=session)
            self.now += timedelta(seconds=1)
            if text:
                row = row.failed(classify(FetchError(text, **more)))
            self.rows.append(row)
            self.breaker.record(row)
        return probe, waited

    def asks(self, *texts: str) -> list[tuple[bool, float]]:
        return [self.ask(text) for text in texts]


def test_good_answers_leave_it_closed():
    world = World()
    assert world.asks(*["", GONE, "Private video", "content too short"] * 20) == [(False, 0)] * 80
    world.asks(*[WALL, *[""] * 9] * 5, WALL, *[""] * 8)
    assert world.breaker.state() == "closed" and not world.breaker.openings


def test_walls_open_it_and_an_answer_closes_it():
    world = World()
    world.asks(WALL, "", WALL, GONE, WALL)
    assert world.breaker.state() == "open" and 59 < world.breaker.wait_s() / 60 <= 60
    probe, waited = world.ask()
    assert probe and 59 < waited <= 60.5 and world.breaker.state() == "closed"
    assert world.ask(WALL) == (False, 0) and world.breaker.state() == "closed"


def test_every_opening_lasts_longer_and_the_last_ends_the_run():
    world = World(walls=2)
    world.asks(WALL, WALL)
    assert world.ask(WALL)[1] > 59
    assert world.ask(WALL)[1] > 359
    with pytest.raises(Exhausted, match=r"bot_wall to whatever is asked: .*cookies.*; come back"):
        world.ask()
    with pytest.raises(Exhausted):
        world.ask()


@pytest.mark.parametrize("restart_after_min", [0, 20, 59, 61, 200])
def test_a_restart_forgets_nothing(restart_after_min):
    world = World()
    world.asks(WALL, WALL, WALL)
    world.now += timedelta(minutes=restart_after_min)
    world.restart()
    probe, waited = world.ask()
    assert probe and waited == pytest.approx(max(0, 60 - restart_after_min), abs=0.2)
    world.restart()
    assert world.breaker.state() == "closed"
    assert [opening.names for opening in world.breaker.openings] == [("bot_wall",)]


def test_after_the_end_a_restart_too_early_says_when_to_come_back():
    world = World(pauses_min=(1.0,))
    world.asks(WALL, WALL, WALL, WALL)
    world.restart()
    with pytest.raises(Exhausted, match="come back after 2026-01-01 00:02 UTC"):
        world.ask()
    world.now += timedelta(minutes=1)
    world.restart()
    assert world.ask()[0] and world.breaker.state() == "closed"


def test_without_pauses_it_ends_at_once_and_the_next_run_begins_with_a_probe():
    world = World(pauses_min=())
    world.asks(WALL, WALL, WALL)
    with pytest.raises(Exhausted):
        world.ask()
    world.restart()
    assert world.ask() == (True, 0)


def test_pauses_are_short_again_when_all_was_well_for_long():
    world = World()
    world.asks(WALL, WALL, WALL, *[""] * 12, WALL, WALL, WALL)
    assert world.ask()[1] == pytest.approx(60, abs=0.2)
    world.asks(*[""] * 3, WALL, WALL, WALL)
    assert world.ask()[1] == pytest.approx(360, abs=0.2)


def test_other_cookies_are_another_session():
    world = World()
    world.asks(WALL, WALL, WALL)
    world.restart("a1b2")
    assert world.breaker.state() == "closed"


def test_one_probe_at_a_time():
    world = World()
    world.asks(WALL, WALL, WALL)
    with world.breaker.turn() as probe:
        assert probe

        def give_up(_seconds: float) -> None:
            raise InterruptedError

        world.breaker._sleep = give_up
        with pytest.raises(InterruptedError), world.breaker.turn():
            pass
    with world.breaker.turn() as probe:  # the first one told nothing
        assert probe


def test_answers_to_older_questions_change_nothing():
    world = World()
    world.asks(WALL, WALL, WALL)
    late = Attempt("w", 1, START, world.now)
    world.now += timedelta(hours=2)
    world.breaker.record(late)
    assert world.breaker.state() == "half-open"


def test_a_network_that_is_down_opens_it():
    world = World()
    world.asks(*["connection reset"] * 9, "")
    assert world.breaker.state() == "closed"
    world.asks(*["connection reset"] * 10)
    assert world.breaker.state() == "open" and world.breaker.openings[0].names == ("network",)
    assert world.ask("connection reset")[0] and world.breaker.state() == "open"


def test_clients_that_are_never_served_end_the_run_without_a_pause():
    world = World()
    world.asks(*["not available on this app"] * 3, "")
    assert world.breaker.state() == "closed"
    world.asks(*["not available on this app"] * 10)
    with pytest.raises(Exhausted, match="client to whatever is asked: .*web.clients") as caught:
        world.ask()
    assert caught.value.after is None


def test_retry_after_holds_everything():
    world = World()
    world.ask("HTTP Error 429", retry_after_s=120)
    assert world.breaker.state() == "closed" and world.ask()[1] == pytest.approx(2, abs=0.1)
    world.ask("HTTP Error 429")
    assert world.ask()[1] == pytest.approx(15, abs=0.1)
    world.ask("HTTP Error 429", retry_after_s=1e9)
    with pytest.raises(Exhausted, match="long pause: .*rate_per_hour; come back after 2026-01-31"):
        world.ask()
