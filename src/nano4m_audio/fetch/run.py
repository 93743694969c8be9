"""One run of the fetch stage: workers that ask for one video after the other, at a polite pace."""

from __future__ import annotations

import hashlib
import heapq
import queue
import sys
import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nano4m_audio.acquire.child import Child
from nano4m_audio.backends.weights import OFFLINE, is_offline
from nano4m_audio.config.sources import Web
from nano4m_audio.errors import TryLaterError, UserError
from nano4m_audio.fetch import pieces
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.breaker import Breaker, Exhausted
from nano4m_audio.fetch.faults import classify
from nano4m_audio.fetch.history import Decision, Retry, due, next_attempt, probe_video
from nano4m_audio.fetch.kept import Piece, kept, kept_at
from nano4m_audio.fetch.ledger import Attempt, Ledger, open_ledger
from nano4m_audio.fetch.pace import Pace
from nano4m_audio.fetch.stage import Video
from nano4m_audio.paths import Results
from nano4m_audio.progress import track

#: When nothing is due, but soon: a run waits so long for it, and ends otherwise [s].
_PATIENCE_S = 300.0
_NAP_S = 0.2
#: Of several faults of one video the first of these counts.
_WORST = ("config", "address", "transient", "long", "permanent")


def ask_for(videos: Sequence[Video], results: Results, settings: Web, retry: Retry = "") -> None:
    """Ask for all videos that are due. Raises TryLaterError at a wall; UserError for what the
    config or the installation lacks, or the disk."""
    check_online()
    with open_ledger(results.ledger) as ledger:
        run = Run(videos, Path(settings.folder(results.root).root), settings, ledger, retry)
        run.catch_up()
        for _ in track(run.answers(), run.n_due, "fetch", run.status):
            pass
        if later := run.later():
            words = f"{len(later)} videos did not answer as they should, and are asked again"
            print(f"fetch: {words} from {min(later):%Y-%m-%d %H:%M} UTC on", file=sys.stderr)


def check_online() -> None:
    """Raise UserError where the user has forbidden to ask for anything."""
    if is_offline(OFFLINE):
        raise UserError(f"web: offline mode is on: unset {OFFLINE}, or set web.partial: true")


class Run:
    """The workers' common state."""

    def __init__(
        self,
        videos: Sequence[Video],
        folder: Path,
        settings: Web,
        ledger: Ledger,
        retry: Retry = "",
    ) -> None:
        self.settings, self.ledger, self.retry, self.folder = settings, ledger, retry, folder
        self.by_id = {video.video_id: video for video in videos}
        self.started = _now()
        self.session = session_name(settings)
        past = ledger.attempts
        self.breaker = Breaker(settings.breaker, _now, self._sleep, past, self.session)
        self.pace = Pace(settings, _now, self._sleep, [attempt.started_at for attempt in past])
        self.n_asked = self.n_ok = 0
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._due: deque[Video] = deque()
        self._later: list[tuple[datetime, str]] = []
        for video in videos:
            self._put(video)
        self.n_due = len(self._due)
        self._answers: queue.Queue[Attempt | BaseException | None] = queue.Queue()
        self._children: list[Child] = []

    def catch_up(self) -> None:
        """Write down answers whose pieces are there though no row names them: a kill came between
        a piece and its row. What only yt-dlp could tell of them is lost."""
        for name, video in self.by_id.items():
            looks = self.ledger.looks(name)
            named = {clip_id for look in looks for clip_id in look.clip_ids}
            unnamed = [clip for clip in video.clips if clip["clip_id"] not in named]
            files = {clip["clip_id"]: self.folder / clip["path"] for clip in unnamed}
            found = {clip_id: piece for clip_id, file in files.items() if (piece := kept(file))}
            if found:
                when = max(kept_at(files[clip_id]) for clip_id in found)
                row = Attempt(name, next_attempt(looks), when, when, clip_ids=list(found))
                self.ledger.append(replace(row, session=self.session, **_read(found.values())))

    def answers(self) -> Iterator[Attempt]:
        """Start the workers and yield every answer. Raises what ends the run."""
        n_workers = min(self.settings.workers, max(1, self.n_due))
        workers = [threading.Thread(target=self._work) for _ in range(n_workers)]
        for worker in workers:
            worker.start()
        try:
            ended = 0
            while ended < len(workers):
                answer = self._answers.get()
                if isinstance(answer, BaseException):
                    raise answer
                if answer is None:
                    ended += 1
                else:
                    yield answer
        finally:
            self._stopped.set()
            while alive := [worker for worker in workers if worker.is_alive()]:
                for child in self._children:
                    child.close()
                alive[0].join(_NAP_S)

    def probe(self, count: int) -> Iterator[Attempt]:
        """Ask for some videos, none of their segments: those that were fine last, else any."""
        fine = [name for name, looks in self.ledger.videos.items() if looks[-1].kind == "ok"]
        names = [name for name in reversed(fine) if name in self.by_id] or list(self.by_id)
        with pieces.child() as child:
            for name in names[:count]:
                self.pace.wait()
                self._answer(child, self.by_id[name], [])
                self.pace.finished()
                yield self.ledger.looks(name)[-1]

    def later(self) -> list[datetime]:
        """When the videos may be asked for that were not due yet."""
        return [after for after, _ in self._later]

    def status(self) -> str:
        """How it goes, for the bar."""
        hours = max((_now() - self.started).total_seconds(), 1.0) / 3600
        share = f"{self.n_ok / self.n_asked:.0%} ok" if self.n_asked else ""
        state = self.breaker.state()
        parts = [f"{self.n_asked / hours:.0f} videos/h", share, "" if state == "closed" else state]
        return ", ".join(filter(None, parts))

    def _work(self) -> None:
        try:
            with pieces.child() as child:
                self._children.append(child)
                while video := self._next():
                    self._ask(child, video)
            self._answers.put(None)
        except Exhausted as wall:
            self._answers.put(TryLaterError(f"{wall}; the same command goes on then"))
        except BaseException as error:
            if not self._stopped.is_set():
                self._answers.put(error)

    def _next(self) -> Video | None:
        """The next video that is due; None when none will be soon."""
        while not self._stopped.is_set():
            with self._lock:
                while self._later and self._later[0][0] <= _now():
                    self._put(self.by_id[heapq.heappop(self._later)[1]])
                if self._due:
                    return self._due.popleft()
                soon = self._later and (self._later[0][0] - _now()).total_seconds() < _PATIENCE_S
            if not soon or self._stopped.wait(_NAP_S):
                break
        return None

    def _put(self, video: Video) -> None:
        """Put a video where it belongs: to those that are due, or will be, or to none."""
        decision = self._decide(video)
        if decision.ask == "now":
            self._due.append(video)
        elif decision.after:
            heapq.heappush(self._later, (decision.after, video.video_id))

    def _decide(self, video: Video) -> Decision:
        missing = [clip["clip_id"] for clip in video.missing(self.folder)]
        if not missing:
            return Decision("never", "it is there", None)
        looks = self.ledger.looks(video.video_id)
        return due(looks, _now(), self.retry, missing=missing, started=self.started)

    def _ask(self, child: Child, video: Video) -> None:
        self.pace.wait()
        with self.breaker.turn() as probe:
            fine = probe_video(self.ledger.videos) if probe else None
            if fine in self.by_id:
                self._due.appendleft(video)
                self._answer(child, self.by_id[fine], [])
            else:
                self._answer(child, video, video.missing(self.folder))
        self.pace.finished()

    def _answer(self, child: Child, video: Video, clips: Sequence[Mapping[str, Any]]) -> None:
        """Ask for some clips of a video, keep their pieces, and write down the answer."""
        begun = _now()
        wanted = [self._segment(clip) for clip in clips]
        with self.pace.connection(urlsplit(video.url).hostname or ""):
            fetched = pieces.ask(child, video.url, wanted, self.settings)
        if self._stopped.is_set():
            return  # the child was ended in the middle: that was no answer
        errors = [fetched.error] if fetched.error else []
        errors += [piece for piece in fetched.results if isinstance(piece, FetchError)]
        clip_ids = [clip["clip_id"] for clip in clips]
        attempt = self._attempt(video.video_id, clip_ids, begun, fetched)
        faults = sorted(map(classify, errors), key=lambda fault: _WORST.index(fault.kind))
        if faults:
            status = next((error.status for error in errors if error.status), None)
            attempt = replace(attempt.failed(faults[0]), http_status=status)
        self.ledger.append(attempt)
        n_openings = len(self.breaker.openings)
        self.breaker.record(attempt)
        with self._lock:
            if len(self.breaker.openings) > n_openings and not self.breaker.openings[-1].last:
                until = self.breaker.openings[-1].until
                print(f"fetch: {attempt.name}: nothing is asked until {until:%H:%M} UTC",
                      file=sys.stderr)  # fmt: skip
            self.n_asked += 1
            self.n_ok += not faults
            if clips:
                self._put(video)
        self._answers.put(attempt)
        if faults and faults[0].stops:
            raise UserError(f"web: {faults[0].raw}: {faults[0].advice}")

    def _segment(self, clip: Mapping[str, Any]) -> pieces.Segment:
        start_s, end_s = clip["start_s"], clip["end_s"]
        if end_s is not None:
            end_s = min(end_s, start_s + self.settings.max_segment_s)
        return pieces.Segment(start_s, end_s, self.folder / clip["path"])

    def _attempt(
        self, video_id: str, clip_ids: list[str], begun: datetime, fetched: pieces.Fetched
    ) -> Attempt:
        got = [piece for piece in fetched.results if isinstance(piece, pieces.Piece)]
        versions = dict(fetched.versions or {})
        return Attempt(
            video_id,
            next_attempt(self.ledger.looks(video_id)),
            begun,
            _now(),
            clip_ids=clip_ids,
            warnings=fetched.warnings,
            client=fetched.client,
            yt_dlp=versions.pop("yt-dlp", ""),
            ejs=versions.pop("yt-dlp-ejs", ""),
            js_runtime=", ".join(map(" ".join, versions.items())),
            session=self.session,
            **_read(got),
        )

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise InterruptedError


def _read(got: Collection[pieces.Piece | Piece]) -> dict[str, Any]:
    """What the row of a video says of the pieces that were read."""
    route = "+".join(sorted({piece.route for piece in got}))
    return {"route": route, "bytes": sum(piece.bytes_read for piece in got)}


def session_name(settings: Web) -> str:
    """Who asks: "guest", or a digest of the file with cookies."""
    if not settings.cookies:
        return "guest"
    try:
        return hashlib.blake2b(Path(settings.cookies).read_bytes(), digest_size=6).hexdigest()
    except OSError as error:
        raise UserError(f"web.cookies: {settings.cookies!r}: {error.strerror}") from None


def _now() -> datetime:
    return datetime.now(UTC)
