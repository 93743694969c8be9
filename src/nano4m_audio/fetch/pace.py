"""How fast videos are asked for: so many an hour, a pause after each, few connections to a host."""

from __future__ import annotations

import contextlib
import math
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from nano4m_audio.config.sources import Web

HOUR_S = 3600.0
#: Videos that may be made up for after a delay: a fiftieth of an hour's, at most so many.
_MOST_AT_ONCE = 5


class Pace:
    """A token bucket that never lets more than ``rate_per_hour`` videos begin within any hour.

    ``asked`` are the times at which videos were asked for before, by the ledger: those of the last
    hours count, so that restarts make nothing faster. ``clock`` gives the time, aware; ``sleep``
    waits so many seconds. Thread-safe; pauses between videos are those of each thread.
    """

    def __init__(
        self,
        settings: Web,
        clock: Callable[[], datetime],
        sleep: Callable[[float], object],
        asked: Iterable[datetime] = (),
        draw: random.Random | None = None,
    ) -> None:
        self.settings = settings
        rate = settings.rate_per_hour
        burst = max(1, min(_MOST_AT_ONCE, int(rate / 50)))
        per_turn_us = math.ceil(1e6 * HOUR_S / (rate - burst + 1))
        self._interval = timedelta(microseconds=per_turn_us)
        self._burst = self._interval * (burst - 1)
        self._clock, self._sleep, self._draw = clock, sleep, draw or random.Random()
        self._lock, self._own = threading.Lock(), threading.local()
        self._hosts: dict[str, threading.BoundedSemaphore] = {}
        self._next: datetime | None = None
        for at in sorted(asked):
            if at >= clock() - timedelta(seconds=2 * HOUR_S) - self._interval:
                self._take(at)

    def wait(self) -> float:
        """Wait until the next video may be asked for; gives how long that took [s]."""
        now = self._clock()
        with self._lock:
            turn = self._take(max(now, getattr(self._own, "rested", now)))
        waited = max(0.0, (turn - now).total_seconds())
        if waited:
            self._sleep(waited)
        return waited

    def finished(self) -> None:
        """Say that this thread's video is done: its pause begins."""
        pause = self._draw.uniform(*sorted(self.settings.sleep_s))
        self._own.rested = self._clock() + timedelta(seconds=pause)

    @contextlib.contextmanager
    def connection(self, host: str) -> Iterator[None]:
        """Hold one of the connections that may be open to a host at once."""
        with self._lock:
            free = self._hosts.setdefault(
                host.casefold(), threading.BoundedSemaphore(self.settings.per_host)
            )
        with free:
            yield

    def _take(self, wanted: datetime) -> datetime:
        """Take the next turn that is not before ``wanted``."""
        turn = wanted if self._next is None else max(wanted, self._next - self._burst)
        self._next = max(turn, self._next or turn) + self._interval
        return turn
