"""From what a video has answered so far to whether, and when, it is asked for again.

- ok: it is there; asked again only for further clips.
- permanent: never again, whatever the user says.
- long: after LONG; when answers over that time agree, it is given up.
- transient: when the answer said so, else soon, later, much later; given up after a few tries.
- address, config: the answer was not about the video, which keeps its turn. The breaker decides
  when anything is asked at all; a video that alone meets walls waits longer every time.
- media that are refused for one video time and again count as a transient fault of that video.

The user may ask for what waits or was given up (``retry``): transient, long, or all of both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from nano4m_audio.fetch.faults import NOT_THE_VIDEO, named
from nano4m_audio.fetch.ledger import Attempt
from nano4m_audio.reasons import Reason

Retry = Literal["", "transient", "long", "all"]
LONG = timedelta(days=30)
MAX_TRIES = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 60.0, 6 * 3600.0
#: The fourth wait is the longest.
_GROWTH = (LONGEST_WAIT_S / FIRST_WAIT_S) ** (1 / 3)
_WALL_WAIT_S = 900.0


@dataclass(frozen=True)
class Decision:
    """Whether a video is asked for: now, after a time, or never (again).

    ``why`` is for people; ``reason`` is what its candidates are until they are there, None when
    they are.
    """

    ask: Literal["now", "later", "never"]
    why: str
    reason: Reason | None = Reason.NOT_FETCHED_YET
    after: datetime | None = None


def due(
    looks: Sequence[Attempt],
    now: datetime,
    retry: Retry = "",
    *,
    missing: Collection[str] = (),
    started: datetime | None = None,
) -> Decision:
    """Decide by all attempts of one video, in their order.

    ``missing`` are the clips wanted of it that are not there: where its answer was ok, they decide.
    What was answered after ``started``, the start of this run, is not asked for by ``retry`` again.
    """
    if not looks:
        return Decision("now", "it was not asked for yet")
    if any(look.kind == "permanent" for look in looks):
        return _never(next(look for look in looks if look.kind == "permanent"))
    if not missing and any(look.kind == "ok" for look in looks):
        return Decision("never", "it is there", None)
    since = _since_ok(looks)
    told = [look for look in since if _counts(look)]
    if not told:
        return _after_walls(since, now)
    decision = _by_kind(told, now)
    if _asked_for(told[-1], retry) and (started is None or told[-1].ended_at < started):
        why = f"{_said(told[-1])}: asked again by --retry {retry}"
        decision = Decision("now", why, decision.reason)
    walls = _after_walls(since[since.index(told[-1]) + 1 :], now)
    return walls if decision.ask == "now" and walls.ask == "later" else decision


def next_attempt(looks: Sequence[Attempt]) -> int:
    """The number of the next attempt."""
    return looks[-1].attempt + 1 if looks else 1


def probe_video(videos: dict[str, list[Attempt]]) -> str | None:
    """The video that was ok last, and was nothing else since: one that tells a wall from a video
    that is gone."""
    fine = [looks[-1] for looks in list(videos.values()) if looks[-1].kind == "ok"]
    return max(fine, key=lambda look: (look.ended_at, look.video_id)).video_id if fine else None


def _since_ok(looks: Sequence[Attempt]) -> Sequence[Attempt]:
    """What came after the last time that it was ok: tries before it are forgotten."""
    last = max((i for i, look in enumerate(looks) if look.kind == "ok"), default=-1)
    return looks[last + 1 :]


def _counts(look: Attempt) -> bool:
    """Whether the answer was about the video. Media that are refused may be, or not; what is said
    of a client is."""
    limited = look.name == "media_403" or (look.kind == "config" and not named(look.name).stops)
    return look.kind not in NOT_THE_VIDEO or limited


def _by_kind(told: Sequence[Attempt], now: datetime) -> Decision:
    last = told[-1]
    name = named(last.name)
    if last.kind == "long":
        agreeing = [look for look in told if look.kind == "long"]
        if last.ended_at - agreeing[0].ended_at >= LONG:
            return Decision("never", f"{_said(last)}, and that for long", name.reason)
        return _later(last, last.ended_at + LONG, now, name.reason)
    tries = sum(look.kind != "long" for look in told)
    same = sum(look.name == last.name for look in told)
    if same >= name.tries or tries >= max(name.tries, MAX_TRIES):
        why = f"{_said(last)}: given up after {tries} tries"
        return Decision("never", why, Reason.FETCH_FAILED)
    return _later(last, last.ended_at + timedelta(seconds=_wait_s(last, tries)), now)


def _wait_s(look: Attempt, tries: int) -> float:
    """What the answer said, else 1 min to 6 h, a quarter more or less: the same for the same
    attempt, so that a restart changes nothing."""
    if look.retry_after_s is not None:
        return look.retry_after_s
    digest = hashlib.blake2b(f"{look.video_id}/{look.attempt}".encode(), digest_size=8).digest()
    jitter = 0.75 + 0.5 * int.from_bytes(digest, "big") / 2**64
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * _GROWTH ** (tries - 1)) * jitter


def _after_walls(walls: Sequence[Attempt], now: datetime) -> Decision:
    """The video was as good as not asked for. If it alone meets walls, it lets others go first."""
    if not walls:
        return Decision("now", "further clips of it are wanted")
    last, wait_s = walls[-1], walls[-1].retry_after_s or 0.0
    if last.kind == "address" and len(walls) > 1:
        wait_s = max(wait_s, min(LONGEST_WAIT_S, _WALL_WAIT_S * 2.0 ** min(len(walls) - 2, 9)))
    return _later(last, last.ended_at + timedelta(seconds=wait_s), now)


def _later(
    look: Attempt, after: datetime, now: datetime, reason: Reason = Reason.NOT_FETCHED_YET
) -> Decision:
    if now >= after:
        return Decision("now", f"{_said(look)}: time to ask again", reason)
    when = after.astimezone(UTC)
    return Decision("later", f"{_said(look)}: asked again {when:%Y-%m-%d %H:%M} UTC", reason, after)


def _never(look: Attempt) -> Decision:
    return Decision("never", f"{_said(look)}: never asked again", named(look.name).reason)


def _asked_for(last: Attempt, retry: Retry) -> bool:
    kind = "long" if last.kind == "long" else "transient"
    return retry in (kind, "all")


def _said(look: Attempt) -> str:
    return f"it answered {look.name} ({look.kind}) on {look.ended_at.astimezone(UTC):%Y-%m-%d}"
