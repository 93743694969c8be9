"""When nothing is asked for: too many of the last answers were about us and not about the videos.

    closed --walls--> open --pause--> half-open --a wall--> open, for longer --...--> Exhausted
      ^                                   |
      +----- an answer about a video -----+

The state is what the ledger's rows of this session make of it, so a restart knows it and there is
no second place for it. A network that is down, or clients that are never served, open it, too: when
all of the last answers say so.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Literal

from nano4m_audio.config import sources
from nano4m_audio.fetch.faults import NOT_THE_VIDEO, named
from nano4m_audio.fetch.ledger import Attempt

State = Literal["closed", "open", "half-open"]
#: Sleeps are cut into pieces of this length [s], so that a state can be shown meanwhile.
_NAP_S = 10.0
#: Answers to a probe that do not tell that the site serves us again, beside walls.
_UNCLEAR = frozenset({"network", "server_error", "unknown"})


class Exhausted(Exception):
    """The breaker opened more often than there are pauses, or no pause helps: end the run."""

    def __init__(self, why: str, advice: str, after: datetime | None) -> None:
        when = f"; come back after {after.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if after else ""
        super().__init__(f"{why}: {advice}{when}")
        self.why, self.advice, self.after = why, advice, after


@dataclass(frozen=True)
class Opening:
    """That the breaker opened: when, until when, by which answers; whether it was the last time."""

    at: datetime
    until: datetime
    names: tuple[str, ...]
    newest: str
    last: bool


class Breaker:
    """The state of one session. Thread-safe.

    ``past`` are the ledger's rows, of which those of ``session`` count. ``clock`` gives the time,
    aware; ``sleep`` waits so many seconds.
    """

    def __init__(
        self,
        settings: sources.Breaker,
        clock: Callable[[], datetime],
        sleep: Callable[[float], object],
        past: Iterable[Attempt] = (),
        session: str = "guest",
    ) -> None:
        self.settings, self.session = settings, session
        self.openings: list[Opening] = []
        self._clock, self._sleep, self._lock = clock, sleep, RLock()
        self._last: deque[Attempt] = deque(maxlen=settings.among)
        self._used = 0  # pauses since the last time that all was well for long
        self._shut = True
        self._hold: datetime | None = None
        self._probing = False
        self._ended: Opening | None = None
        for attempt in sorted(past, key=lambda row: row.ended_at):
            self.record(attempt)
        newest = self.openings[-1] if self.openings and not self._shut else None
        self._ended = newest if newest and newest.last and clock() < newest.until else None

    def state(self) -> State:
        """The state at this moment."""
        with self._lock:
            if self._shut:
                return "closed"
            return "open" if self._clock() < self.openings[-1].until else "half-open"

    def wait_s(self) -> float:
        """How long nothing may be asked for [s]: a pause, or what the site asked for."""
        with self._lock:
            ends = [] if self._shut else [self.openings[-1].until]
            ends += [self._hold] if self._hold else []
            return max([0.0, *((end - self._clock()).total_seconds() for end in ends)])

    @contextlib.contextmanager
    def turn(self) -> Iterator[bool]:
        """Wait until a video may be asked for; gives whether it is the probe, of which there is one
        at a time. ``record`` its answer inside. Raises Exhausted."""
        probe = self._wait()
        try:
            yield probe
        finally:
            if probe:
                self._probing = False

    def record(self, attempt: Attempt) -> None:
        """Count an answer. An answer to a question from before the breaker opened changes nothing
        of it."""
        if attempt.session != self.session:
            return
        with self._lock:
            wall = attempt.kind == "address"
            if wall and attempt.retry_after_s and attempt.name == "rate_limited":
                until = attempt.ended_at + timedelta(seconds=attempt.retry_after_s)
                self._hold = max(until, self._hold or until)
            if not self._shut:
                self._answer_when_open(attempt)
                return
            self._last.append(attempt)
            if self._too_many():
                self._open(attempt.ended_at)
            elif len(self._last) == self.settings.among and not any(map(_is_wall, self._last)):
                self._used = 0

    def _wait(self) -> bool:
        while True:
            with self._lock:
                wait_s, state = self.wait_s(), self.state()
                if self._ended or wait_s > 60 * max(self.settings.pauses_min, default=0.0):
                    raise self._exhausted(wait_s)
                if wait_s <= 0 and state == "closed":
                    return False
                if wait_s <= 0 and not self._probing:
                    self._probing = True
                    return True
            self._sleep(min(max(wait_s, 0.1), _NAP_S))

    def _answer_when_open(self, attempt: Attempt) -> None:
        if attempt.started_at < self.openings[-1].until:
            return
        if attempt.kind in NOT_THE_VIDEO or attempt.name in _UNCLEAR:
            self._last.append(attempt)
            self._open(attempt.ended_at)
        else:
            self._shut = True
            self._last.clear()

    def _too_many(self) -> bool:
        walls = sum(map(_is_wall, self._last))
        full = len(self._last) == self.settings.among
        down = full and all(
            look.kind in NOT_THE_VIDEO or look.name == "network" for look in self._last
        )
        return walls >= min(self.settings.walls, self.settings.among) or down

    def _open(self, at: datetime) -> None:
        pauses = self.settings.pauses_min
        walls = [look for look in self._last if look.kind in NOT_THE_VIDEO] or list(self._last)
        no_use = all(look.kind == "config" for look in walls)  # a pause installs nothing
        last = self._used >= len(pauses) or no_use
        pause = 0.0 if no_use or not pauses else pauses[min(self._used, len(pauses) - 1)]
        names = tuple(sorted({look.name for look in walls}))
        opening = Opening(at, at + timedelta(minutes=pause), names, walls[-1].name, last)
        self.openings.append(opening)
        self._ended = opening if last else None
        self._used = 0 if last else self._used + 1
        self._shut = False
        self._last.clear()

    def _exhausted(self, wait_s: float) -> Exhausted:
        after = self._clock() + timedelta(seconds=wait_s) if wait_s > 0 else None
        if not self._ended:
            return Exhausted("the site asks for a long pause", named("rate_limited").advice, after)
        why = f"the site answers {', '.join(self._ended.names)} to whatever is asked"
        return Exhausted(why, named(self._ended.newest).advice, after)


def _is_wall(attempt: Attempt) -> bool:
    """Whether the answer was about who asks."""
    return attempt.kind == "address"


def openings(settings: sources.Breaker, attempts: Sequence[Attempt], session: str) -> list[Opening]:
    """When the breaker opened, by the ledger's rows."""
    breaker = Breaker(settings, lambda: datetime.now(UTC), lambda _: None, attempts, session)
    return breaker.openings
