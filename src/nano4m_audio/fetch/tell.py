"""What ``fetch`` says instead of fetching: the plan, the state of an address, a video's answers."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from nano4m_audio.config.sources import Web
from nano4m_audio.errors import TryLaterError, UserError
from nano4m_audio.fetch import ledger as books
from nano4m_audio.fetch.plan import Wanted, explain, make_plan, summarise
from nano4m_audio.fetch.stage import Video, videos
from nano4m_audio.paths import Results

_PROBES = 5


def tell_plan(results: Results, settings: Web) -> None:
    """Print how much there is to do, how long it takes, and what is known to be gone."""
    folder = Path(settings.folder(results.root).root)
    attempts = books.read_attempts(results.ledger)
    looks = books.by_video(attempts)
    wanted = [_wanted(video, folder) for video in videos(results)]
    plan = make_plan(wanted, looks, datetime.now(UTC), settings.rate_per_hour)
    print(plan)
    if attempts:
        print(summarise(attempts, settings.breaker, videos_due=plan.videos_due).health)


def _wanted(video: Video, folder: Path) -> Wanted:
    classes = {clip["clip_id"]: clip["class_name"] for clip in video.clips}
    missing = frozenset(clip["clip_id"] for clip in video.missing(folder))
    return Wanted(video.video_id, classes, missing)


def tell_video(results: Results, video_id: str) -> None:
    """Print what a video (or the video of a clip) answered, and what that means."""
    listed = {video.video_id for video in videos(results)}
    name = video_id if video_id in listed else video_id.rpartition("@")[0]
    looks = books.by_video(books.read_attempts(results.ledger)).get(name, [])
    if name not in listed and not looks:
        raise UserError(f"{video_id!r} is no video of the candidates in {results}")
    print(explain(name, looks, datetime.now(UTC)))


def tell_address(results: Results, settings: Web) -> None:
    """Ask for five videos, if there are some that were fine before, and print what they answer.

    Raises TryLaterError where none of them is fine.
    """
    from nano4m_audio.fetch.run import Run, check_online

    check_online()
    with books.open_ledger(results.ledger) as ledger:
        run = Run(videos(results), Path(settings.folder(results.root).root), settings, ledger)
        answers = []
        for attempt in run.probe(_PROBES):
            print(f"{attempt.video_id}: {attempt.name} {attempt.raw}".rstrip(), flush=True)
            answers.append(attempt.kind)
    if not answers:
        print("there is no video to ask for", file=sys.stderr)
    elif "address" in answers and "ok" not in answers:
        raise TryLaterError("the site refuses this address: wait, or see docs/DATASET.md")
