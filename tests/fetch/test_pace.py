"""No hour sees more videos than the config says, whatever happens in between."""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.config.sources import Web
from nano4m_audio.fetch.pace import Pace

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += timedelta(seconds=seconds)


def pace(clock: Clock, asked=(), **settings) -> Pace:
    return Pace(Web(**settings), clock, clock.sleep, asked, random.Random(0))


def most_in_an_hour(times: list[datetime]) -> int:
    hour = timedelta(hours=1)
    return max((sum(t <= other < t + hour for other in times) for t in times), default=0)


@given(
    st.integers(1, 300),
    st.lists(st.tuples(st.sampled_from(["ask", "restart", "stall"]), st.integers(0, 4000)),
             max_size=60),
)  # fmt: skip
def test_never_more_than_the_rate_within_any_hour(rate, events):
    clock = Clock()
    asked: list[datetime] = []
    turns = pace(clock, rate_per_hour=float(rate), sleep_s=(0.0, 0.0))
    for event, number in events:
        if event == "restart":
            turns = pace(clock, asked, rate_per_hour=float(rate), sleep_s=(0.0, 0.0))
        elif event == "stall":
            clock.sleep(number)
        else:
            for _ in range(number % 40):
                turns.wait()
                asked.append(clock.now)
    assert most_in_an_hour(asked) <= rate


def test_the_rate_is_reached():
    clock = Clock()
    asked: list[datetime] = []
    turns = pace(clock, rate_per_hour=250.0, sleep_s=(0.0, 0.0))
    while clock.now < START + timedelta(hours=4):
        turns.wait()
        asked.append(clock.now)
        clock.sleep(1)
    assert 975 <= len(asked) <= 1000


def test_pauses_lie_within_their_range():
    clock = Clock()
    turns = pace(clock, rate_per_hour=100_000.0, sleep_s=(10.0, 20.0))
    assert turns.wait() == 0
    waits = []
    for _ in range(200):
        turns.finished()
        waits.append(turns.wait())
    assert 10 <= min(waits) < 11 and 19 < max(waits) <= 20


def test_threads_take_turns_one_after_the_other():
    taken: list[float] = []
    turns = Pace(Web(rate_per_hour=60.0, sleep_s=(0.0, 0.0)), lambda: START, taken.append)

    def work() -> None:
        for _ in range(25):
            turns.wait()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 99  # the first does not wait
    assert all(after - before == 60 for before, after in pairwise(sorted(taken)))


def test_connections_to_one_host_are_few():
    turns = Pace(Web(per_host=2), lambda: START, lambda _: None)
    open_now, most, lock = 0, 0, threading.Lock()

    def read() -> None:
        nonlocal open_now, most
        with turns.connection("A.example" if threading.get_ident() % 2 else "a.example"):
            with lock:
                open_now += 1
                most = max(most, open_now)
            time.sleep(0.01)
            with lock:
                open_now -= 1

    threads = [threading.Thread(target=read) for _ in range(12)]
    for thread in threads:
        thread.start()
    with turns.connection("b.example"):
        for thread in threads:
            thread.join()
    assert most == 2
