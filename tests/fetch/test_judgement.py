"""The loop of the fetch stage over a site that answers anything, killed anywhere, run again."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nano4m_audio.config.sources import Breaker as Settings
from nano4m_audio.config.sources import Web
from nano4m_audio.fetch import ledger as module
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.breaker import Breaker, Exhausted
from nano4m_audio.fetch.faults import classify
from nano4m_audio.fetch.history import due, next_attempt, probe_video
from nano4m_audio.fetch.ledger import Attempt, open_ledger
from nano4m_audio.fetch.pace import Pace

RATE = 4.0
CLIPS = {f"v{n}": [f"v{n}@{start}" for start in range(1 + n % 2)] for n in range(7)}
GONE = ["removed by the uploader", "This video is DRM protected", "members-only"]
ANSWERS = [
    "", "", *GONE, "Private video", "Video unavailable", "connection reset", "The cat is asleep",
    "HTTP Error 503", "content too short", "Premieres in 3 hours",
    "not available on this app", "failed to load cookies", "HTTP Error 429", "HTTP Error 404",
    "Sign in to confirm you're not a bot", "unable to download video data: HTTP Error 403",
]  # fmt: skip


class Killed(BaseException):
    """The process is gone."""


class World:
    """A site, a disk and a clock, which outlive the processes."""

    def __init__(self, folder: Path, script: list[int], fuses: list[int]) -> None:
        self.ledger, self.pieces = folder / "ledger", folder / "pieces"
        self.pieces.mkdir()
        self.script, self.fuses, self.fuse = script, fuses, -1
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.known_gone: set[str] = set()
        self.written: Counter[str] = Counter()
        self.appended = 0

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def step(self) -> None:
        """A moment at which a kill may come."""
        self.fuse -= 1
        if self.fuse == 0:
            raise Killed

    def answer(self, video_id: str) -> str:
        assert video_id not in self.known_gone, "a permanent video was asked for again"
        self.now += timedelta(seconds=2)
        return ANSWERS[self.script.pop() % len(ANSWERS)] if self.script else ""

    def missing(self, video_id: str) -> list[str]:
        return [clip for clip in CLIPS[video_id] if not (self.pieces / clip).exists()]

    def run(self, retry="") -> None:
        """One process: until nothing is due, the breaker ends it, or it is killed."""
        self.fuse = self.fuses.pop() if self.fuses else -1
        started = self.now
        try:
            with open_ledger(self.ledger) as ledger:
                past = ledger.attempts
                pace = Pace(Web(rate_per_hour=RATE, sleep_s=(1.0, 2.0)), lambda: self.now,
                            self.sleep, [a.started_at for a in past], random.Random(0))  # fmt: skip
                breaker = Breaker(
                    Settings(pauses_min=(5.0, 30.0)), lambda: self.now, self.sleep, past
                )
                for video_id in CLIPS:
                    looks, missing = ledger.looks(video_id), self.missing(video_id)
                    decision = due(looks, self.now, retry, missing=missing, started=started)
                    if missing and decision.ask == "now":
                        self.turn(ledger, breaker, pace, video_id)
        except (Killed, Exhausted):
            pass

    def turn(self, ledger: module.Ledger, breaker: Breaker, pace: Pace, video_id: str) -> None:
        with breaker.turn() as probe:
            video_id = (probe and probe_video(ledger.videos)) or video_id
            pace.wait()
            self.step()
            start, clips = self.now, self.missing(video_id)
            text = self.answer(video_id)
            row = Attempt(video_id, next_attempt(ledger.looks(video_id)), start, self.now,
                          clip_ids=CLIPS[video_id])  # fmt: skip
            self.step()
            if text:
                row = row.failed(classify(FetchError(text)))
            else:
                for clip in clips:
                    (self.pieces / clip).touch()
                    self.written[clip] += 1
                    self.step()
            ledger.append(row)
            self.appended += 1
            if row.kind == "permanent":
                self.known_gone.add(video_id)
            self.step()
            breaker.record(row)
            pace.finished()


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.integers(0, 10**6), max_size=60),
    st.lists(st.integers(1, 20), max_size=12),
    st.lists(st.tuples(st.sampled_from(["", "transient", "long", "all"]),
                       st.sampled_from([0.0, 1.0, 30.0, 3600.0, 86400.0, 31 * 86400.0])),
             min_size=1, max_size=10),
)  # fmt: skip
def test_nothing_is_asked_for_again_lost_or_counted_twice(tmp_path_factory, script, fuses, runs):
    world = World(tmp_path_factory.mktemp("world"), script, fuses)
    finished: set[str] = set()
    for retry, pause_s in runs:
        world.run(retry)
        here = {path.name for path in world.pieces.iterdir()}
        assert finished <= here
        finished = here
        if world.ledger.exists() and world.appended:
            table = pq.read_table(world.ledger)
            keys = list(zip(*(table[name].to_pylist() for name in ("video_id", "attempt")),
                            strict=True))  # fmt: skip
            assert len(set(keys)) == len(keys) == world.appended
        world.sleep(pause_s)
    # What was in flight when a kill came is not known to the next run.
    times = [attempt.started_at for attempt in module.read_attempts(world.ledger)]
    hour = timedelta(hours=1)
    assert all(sum(t <= other < t + hour for other in times) <= RATE for t in times)
    assert max(world.written.values(), default=1) == 1

    world.script, world.fuses = [], []  # at last all is well
    for _ in range(6):
        world.run("all")
        world.sleep(86400.0)
    for video_id, clips in CLIPS.items():
        assert video_id in world.known_gone or not world.missing(video_id), clips
