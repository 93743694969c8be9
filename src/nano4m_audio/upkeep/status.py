"""Where a run of the workflow stands, from files alone: its journal, logs, benchmarks and locks.

Nothing here is asked of Snakemake or of a cluster, so it can be read at any time, and on any
machine that sees the results folder. What the files cannot tell is not claimed: a job that began
and did not end is running only while the lock of its run is held, or its process is alive here.
"""

from __future__ import annotations

import csv
import fcntl
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median

from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.journal import BEGUN, DONE, FAILED, Past, Plan, Planned, read_journal
from nano4m_audio.paths import Results
from nano4m_audio.running import Job
from nano4m_audio.settings_files import COMMAND
from nano4m_audio.shared_store import Start, read_start

#: Clocks of machines differ by less.
_CLOCKS_S = 3.0


class State(StrEnum):
    """What a job can be, in the order in which a bar shows it.

    QUEUED: given to the executor, and nothing heard of it yet. UNFINISHED: started and not
    finished, and nothing says that it is at work.
    """

    DONE = "done"
    RUNNING = "running"
    QUEUED = "queued"
    UNFINISHED = "unfinished"
    FAILED = "failed"
    WAITING = "waiting"


class RunState(StrEnum):
    """What a run itself can be. AWAY: it was started on another machine and has not ended, and its
    lock cannot be seen here, as on some network file systems."""

    AT_WORK = "at work"
    AWAY = "away"
    KILLED = "killed"
    ENDED = "ended"


@dataclass(frozen=True)
class JobNow:
    """A job: what it is doing, its failures in this run, where and when (seconds since 1970) it
    last began, how long it took [s] or will still take, what it says and why it failed."""

    stage: str
    part: str
    state: State
    failures: int = 0
    host: str = ""
    pid: int = 0
    began: float | None = None
    took_s: float | None = None
    left_s: float | None = None
    says: str = ""
    error: str = ""
    log: str = ""


@dataclass(frozen=True)
class StageNow:
    """A stage: how many of its jobs are what, and the seconds of work that are left, one job after
    the other; None where no job of it has ever ended here."""

    name: str
    jobs: tuple[JobNow, ...]
    left_s: float | None

    def count(self, *states: State) -> int:
        """How many jobs are one of these."""
        return sum(job.state in states for job in self.jobs)

    @property
    def failures(self) -> int:
        return sum(job.failures for job in self.jobs)

    @property
    def finished(self) -> bool:
        return self.count(State.DONE) == len(self.jobs)


@dataclass(frozen=True)
class Now:
    """A run: its plan, what it is doing itself, how it was started, and its stages."""

    plan: Plan
    state: RunState
    command: str
    told: bool
    stages: tuple[StageNow, ...]

    @property
    def jobs(self) -> list[JobNow]:
        return [job for stage in self.stages for job in stage.jobs]

    @property
    def at_once(self) -> int:
        """How many jobs run now; 1 where none does."""
        return max(1, sum(job.state == State.RUNNING for job in self.jobs))

    @property
    def left_s(self) -> float | None:
        """Work that is left, one job after the other; None while there is a stage without a
        figure: what it takes may be most of it."""
        known = [stage.left_s for stage in self.stages if stage.left_s is not None]
        return sum(known) if len(known) == len(self.stages) else None

    @property
    def untimed(self) -> list[str]:
        """Stages that are not finished and of which no job has ever ended here."""
        return [stage.name for stage in self.stages if stage.left_s is None]


def look(results: Results) -> Now:
    """What the files of ``results`` say now. Raises UserError where no run has begun."""
    from nano4m_audio.report.costs import read_command

    plan, past = read_journal(results)
    state = run_state(results, plan)
    stages: dict[str, list[Planned]] = {}
    for job in plan.jobs:
        stages.setdefault(job.stage, []).append(job)
    # Another logger than ours keeps no journal.
    told = bool(past) or not any(job.needed for job in plan.jobs)
    seen = _Look(results, plan, state, past, told)
    found = tuple(seen.stage(name, jobs) for name, jobs in stages.items())
    command, _ = read_command(results.settings / COMMAND)
    return Now(plan, state, command, told, found)


def run_state(results: Results, plan: Plan) -> RunState:
    """Whether the process that runs Snakemake is alive, as far as locks tell."""
    if _held(results.store / ".lock"):
        return RunState.AT_WORK
    left = any((results.root.resolve().parent / ".snakemake" / "locks").glob("*"))
    if plan.host != socket.gethostname() and left:
        return RunState.AWAY
    return RunState.KILLED if left else RunState.ENDED


def _held(lock: Path) -> bool:
    """Whether somebody holds a lock of ``locks.in_use``."""
    try:
        with open(lock, "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none, or it cannot be asked
        return False
    return False


def _alive(start: Start) -> bool:
    """Whether the process of a job is there, on this machine, and one of ours."""
    if start.host != socket.gethostname():
        return False
    try:
        return b"nano4m" in Path(f"/proc/{start.pid}/cmdline").read_bytes()
    except OSError:
        if Path("/proc/self").exists():
            return False
    try:
        os.kill(start.pid, 0)
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class _Look:
    results: Results
    plan: Plan
    state: RunState
    past: dict[int, Past]
    told: bool

    def stage(self, name: str, jobs: Sequence[Planned]) -> StageNow:
        seconds = {job.number: read_seconds(self.benchmark(job)) for job in jobs}
        timed = [s for s in seconds.values() if s is not None]
        usual = median(timed) if timed else None
        now = tuple(self.job(job, seconds[job.number], usual) for job in jobs)
        left = [job.left_s for job in now if job.state != State.DONE]
        known = [s for s in left if s is not None]
        return StageNow(name, now, sum(known) if len(known) == len(left) else None)

    def benchmark(self, job: Planned) -> Path:
        return self.results / "benchmarks" / Path(job.log).with_suffix(".tsv")

    def job(self, job: Planned, took_s: float | None, usual_s: float | None) -> JobNow:
        log = self.results / "logs" / job.log
        past = self.past.get(job.number, Past())
        start = read_start(log) if job.needed or past.last else None
        mine = start if start and start.run == self.plan.run else None
        state = self._state(job, past, mine)
        said = Job(job.stage, job.part, [str(log), *past.logs[1:]], past.reason)
        share, says = said.progress() if state == State.RUNNING else (0.0, "")
        began = mine.at if mine else past.at if past.last == BEGUN else None
        where = (mine.host, mine.pid) if mine else ("", 0)
        left = _left(state, time.time() - began if began else 0.0, share, usual_s)
        error = said.error() if state == State.FAILED else ""
        took = took_s if state == State.DONE else None
        return JobNow(
            job.stage, job.part, state, past.failures, *where, began, took, left, says, error,
            str(log),
        )  # fmt: skip

    def _state(self, job: Planned, past: Past, start: Start | None) -> State:
        there = (self.results / job.output).exists()
        if not job.needed or past.last == DONE:
            return State.DONE if there else State.WAITING
        if past.last == FAILED:
            return State.FAILED
        if start and not self.told and there and self._timed_since(job):
            return State.DONE
        if start and not (past.failures and start.at < past.at - _CLOCKS_S):  # of this attempt
            held = self.told and self.state == RunState.AT_WORK
            return State.RUNNING if held or _alive(start) else State.UNFINISHED
        queued = past.last == BEGUN and self.state == RunState.AT_WORK
        return State.QUEUED if queued else State.WAITING

    def _timed_since(self, job: Planned) -> bool:
        """Whether the job's benchmark, which is written when it has ended well, is of this run."""
        try:
            return self.benchmark(job).stat().st_mtime >= self.plan.started
        except OSError:
            return False


def _left(state: State, elapsed_s: float, share: float, usual_s: float | None) -> float | None:
    """Seconds until a job is done, from how far it says that it is or how long others took."""
    if state == State.DONE:
        return 0.0
    if state == State.RUNNING and share > 0:
        return elapsed_s * (1 - share) / share
    if usual_s is None:
        return None
    return max(0.0, usual_s - elapsed_s) if state == State.RUNNING else usual_s


def read_seconds(benchmark: Path) -> float | None:
    """How long the last run of a job took by Snakemake's benchmark file; None without one."""
    try:
        with open(benchmark, newline="", encoding="utf-8") as handle:
            return float([row["s"] for row in csv.DictReader(handle, delimiter="\t")][-1])
    except (OSError, ValueError, KeyError, IndexError, csv.Error):
        return None


def matching(now: Now, stage: str) -> list[StageNow]:
    """The stage of that name, or all of a rule: ``tokenize`` is two; "" is all.

    Raises UserError for a name that no stage of the run has.
    """
    found = [
        s for s in now.stages if not stage or s.name == stage or s.name.startswith(f"{stage}_")
    ]
    if not found and stage:
        names = [s.name for s in now.stages]
        raise UserError(
            f"--stage {stage}: the last run has no such stage{did_you_mean(stage, names)} "
            f"(it has {', '.join(names)})"
        )
    return found
