"""What a run of the workflow plans, and what becomes of each job: results/logs/run.jsonl.

The first line is the plan, written when the run starts. Each further line is an event, added by the
process that runs Snakemake (``terminal.LogHandler``) when a job begins, is done or has failed. The
next run begins the file anew. ``upkeep.status`` reads it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nano4m_audio.errors import UserError
from nano4m_audio.files import write_bytes
from nano4m_audio.paths import Results

BEGUN, DONE, FAILED = "begun", "done", "failed"


@dataclass(frozen=True)
class Planned:
    """A job of the plan: its number, its log and first output under the results folder, and
    whether it has something to do."""

    number: int
    log: str
    output: str
    needed: bool

    @property
    def stage(self) -> str:
        """Such as ``tokenize_clips`` or ``train_base``: what logs and benchmarks begin with."""
        return self.log.partition("/")[0].removesuffix(".log")

    @property
    def part(self) -> str:
        """The shard, or what else tells the jobs of the stage apart; "" where there is one."""
        return self.log.partition("/")[2].removesuffix(".log")


@dataclass(frozen=True)
class Plan:
    """A run: its id, where it was started and when (seconds since 1970), and its jobs in the order
    of the pipeline."""

    run: str
    host: str
    pid: int
    started: float
    jobs: tuple[Planned, ...]


@dataclass
class Past:
    """What became of a job in this run: the last event and when it was, the failures before it, and
    what was said of the last of these (its logs, a reason)."""

    last: str = ""
    at: float = 0.0
    failures: int = 0
    logs: list[str] = field(default_factory=list)
    reason: str = ""


def planned(results: Results, number: int, log: str, output: str, needed: bool) -> Planned:
    """A job whose files Snakemake names."""
    return Planned(
        number, os.path.relpath(log, results / "logs"), os.path.relpath(output, results), needed
    )


def write_plan(results: Results, run: str, jobs: Sequence[Planned]) -> None:
    """Begin the journal of a run that this process starts now."""
    plan = Plan(run, socket.gethostname(), os.getpid(), time.time(), tuple(jobs))
    rows = [list(asdict(job).values()) for job in plan.jobs]
    line = json.dumps({**asdict(plan), "jobs": rows}, ensure_ascii=False)
    write_bytes(results.journal, f"{line}\n".encode())


class Journal:
    """Adds events, once this process has begun a journal: a dry run, or the part of Snakemake that
    runs on a node of a cluster, has begun none."""

    def __init__(self, results: Results) -> None:
        self._path = results.journal
        self._mine: bool | None = None

    def note(self, event: str, job: int, **more: Any) -> None:
        """Add an event of a job."""
        if self._mine is None:
            self._mine = self._is_mine()
        if self._mine:
            line = json.dumps({"at": round(time.time(), 2), "job": job, "event": event, **more})
            with open(self._path, "a", encoding="utf-8") as handle:
                handle.write(f"{line}\n")

    def _is_mine(self) -> bool:
        try:
            with open(self._path, encoding="utf-8") as handle:
                plan = json.loads(handle.readline())
            return (plan["host"], plan["pid"]) == (socket.gethostname(), os.getpid())
        except (OSError, ValueError, KeyError, TypeError):
            return False


def read_journal(results: Results) -> tuple[Plan, dict[int, Past]]:
    """The plan of the last run, and what became of its jobs by their number.

    Raises UserError where no run has begun. A line that a kill cut short is left out.
    """
    path = results.journal
    try:
        first, *lines = path.read_text("utf-8", "replace").split("\n")
        values = json.loads(first)
        values["jobs"] = tuple(Planned(*job) for job in values["jobs"])
        plan = Plan(**values)
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: no run of the workflow has begun here "
            "(snakemake --cores 8 results/report.html)"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}): the next run writes it anew") from None
    past: dict[int, Past] = {}
    for line in lines:
        try:
            values = json.loads(line)
            event, one = values["event"], past.setdefault(values["job"], Past())
            one.last, one.at = event, float(values["at"])
        except (ValueError, KeyError, TypeError):
            continue
        if event == FAILED:
            one.failures += 1
            one.logs = [str(log) for log in values.get("logs", [])]
            one.reason = str(values.get("reason", ""))
    return plan, past
