"""What ``status`` prints of a run: a row per stage, its failures, or a row per job."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from nano4m_audio.running import duration, printable
from nano4m_audio.upkeep.status import JobNow, Now, RunState, StageNow, State

#: How a job is drawn in a bar.
MARKS = {
    State.DONE: "#", State.RUNNING: ">", State.QUEUED: ":", State.UNFINISHED: "~",
    State.FAILED: "!", State.WAITING: ".",
}  # fmt: skip
WORDS = {State.UNFINISHED: "started, not finished"}
BAR = 24
#: Failures that are told in the overview.
_MOST_FAILURES = 8


def bar(counts: Sequence[int], width: int = BAR) -> list[int]:
    """How many of ``width`` cells every count gets: in proportion, and none that is not 0 gets none
    as long as there is room for all of them."""
    total, present = sum(counts), [i for i, count in enumerate(counts) if count]
    if total == 0 or width < len(present):
        return [0] * len(counts)
    cells = [max(1, count * width // total) if count else 0 for count in counts]
    while sum(cells) != width:
        off = [count * width / total - cell for count, cell in zip(counts, cells, strict=True)]
        if sum(cells) < width:
            cells[max(present, key=lambda i: off[i])] += 1
        else:
            cells[min((i for i in present if cells[i] > 1), key=lambda i: off[i])] -= 1
    return cells


def head(now: Now) -> Iterator[str]:
    """What the run is doing as a whole."""
    plan = now.plan
    if now.command:
        yield printable(now.command)
    started = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(plan.started))
    where = f"started {started} on {printable(plan.host)} (pid {plan.pid})"
    said = {
        RunState.AT_WORK: f"at work, {where}",
        RunState.AWAY: f"{where}, not ended; from here it cannot be seen whether it is at work",
        RunState.KILLED: f"killed, {where}: `snakemake --unlock`, then the same command",
        RunState.ENDED: f"ended, {where}",
    }[now.state]
    done = sum(job.state == State.DONE for job in now.jobs)
    yield said
    left = ""
    if now.left_s:
        how = f"at {now.at_once} at once" if now.state == RunState.AT_WORK else "one by one"
        left = f", about {duration(now.left_s / now.at_once)} left {how}"
    yield f"{done:,} of {len(now.jobs):,} jobs done{left}"
    if untimed := now.untimed:
        few = ", ".join(untimed[:3]) + (" ..." if len(untimed) > 3 else "")
        yield f"time left: not known, as no job has ended here of {few}"
    if not now.told:
        yield "note: this run noted no events: failed and waiting jobs cannot be told apart"


def stage_row(stage: StageNow, now: Now, width: int) -> str:
    """One line: name, bar, counts, time left."""
    counts = [stage.count(state) for state in State]
    cells = "".join(MARKS[state] * n for state, n in zip(State, bar(counts), strict=True))
    said = [f"{stage.count(State.DONE):,} of {len(stage.jobs):,}"]
    hosts = {job.host for job in stage.jobs if job.state == State.RUNNING and job.host}
    for state in State:
        if state != State.DONE and (count := stage.count(state)):
            on = f" on {len(hosts)} nodes" if state == State.RUNNING and len(hosts) > 1 else ""
            said.append(f"{count:,} {WORDS.get(state, state)}{on}")
    if stage.failures:
        said.append(f"{stage.failures:,} failed attempt{'s' * (stage.failures > 1)}")
    if not stage.finished and stage.left_s:
        said.append(f"{duration(stage.left_s / now.at_once)} left")
    return f"{stage.name:<{width}}  {cells}  {', '.join(said)}"


def failure(job: JobNow) -> str:
    """Which job failed, how often, where and why."""
    times = f"failed {job.failures} time{'s' * (job.failures != 1)}"
    host = f", last on {job.host}" if job.host else ""
    reason = printable(job.error.split("\n")[0])
    return f"{_name(job)}: {times}{host}: {reason}\n  (log: {job.log})"


def overview(now: Now) -> Iterator[str]:
    """The run on one screen."""
    yield from head(now)
    yield ""
    width = max((len(stage.name) for stage in now.stages), default=0)
    yield from (stage_row(stage, now, width) for stage in now.stages)
    used = [s for s in State if any(job.state == s for job in now.jobs)]
    yield f"{'':{width}}  {'  '.join(f'{MARKS[s]} {WORDS.get(s, s)}' for s in used)}"
    failed = [job for job in now.jobs if job.state == State.FAILED]
    yield from (failure(job) for job in failed[:_MOST_FAILURES])
    if len(failed) > _MOST_FAILURES:
        yield f"and {len(failed) - _MOST_FAILURES} more: --shards"


def job_rows(stages: Iterable[StageNow]) -> Iterator[str]:
    """A line per job: what it is doing, where, since when or how long it took."""
    jobs = [job for stage in stages for job in stage.jobs]
    name = max((len(_name(job)) for job in jobs), default=0)
    host = max((len(job.host) for job in jobs), default=0)
    for job in jobs:
        said = []
        if job.took_s is not None:
            said.append(f"took {duration(job.took_s)}")
        if job.state in (State.RUNNING, State.UNFINISHED, State.QUEUED) and job.began:
            said.append(time.strftime("since %H:%M:%S UTC", time.gmtime(job.began)))
        if job.left_s is not None and job.state == State.RUNNING:
            said.append(f"{duration(job.left_s)} left")
        if job.failures:
            said.append(f"failed {job.failures} time{'s' * (job.failures > 1)}")
        said += filter(None, [printable(job.says), printable(job.error.split("\n")[0])])
        state = WORDS.get(job.state, job.state)
        yield f"{_name(job):<{name}}  {state:<9}  {job.host:<{host}}  {', '.join(said)}".rstrip()


def _name(job: JobNow) -> str:
    return f"{job.stage} {job.part}".rstrip()


def as_json(now: Now, stages: Sequence[StageNow]) -> dict[str, Any]:
    """All of it for programs; times in seconds since 1970, durations in seconds, null where they
    are not known."""
    return {
        "run": {
            "id": now.plan.run, "state": now.state, "host": now.plan.host, "pid": now.plan.pid,
            "started": now.plan.started, "command": now.command, "events_noted": now.told,
            "left_s": None if now.left_s is None else now.left_s / now.at_once,
            "at_once": now.at_once, "untimed": now.untimed,
        },
        "stages": [
            {
                "name": stage.name, "jobs": len(stage.jobs), "failures": stage.failures,
                "left_s": stage.left_s, **{state: stage.count(state) for state in State},
            }
            for stage in stages
        ],
        "jobs": [asdict(job) for stage in stages for job in stage.jobs],
    }  # fmt: skip
