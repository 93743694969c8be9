"""What the jobs of a run are doing, read from what Snakemake says of them and from their logs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: What the first line of a job's log begins with: where and when it was started (shared_store.py).
STARTED = "started on "
_TAIL_BYTES = 16_384
_MOST_ERROR_LINES = 30
_MOST_CHARACTERS = 2_000
#: What a job leaves in its log about the finished rows of a table (``store.publish``).
_ROWS = re.compile(rb"^\S+: (\d+) rows, (\d+) computed\r?$", re.MULTILINE)
#: How far a job is (``progress.track``, ``nano4m.progress``): films: 269/325, 2.5/s, 22 s left
_PROGRESS = re.compile(r"[^,]*?: ((\d+)/(\d+)\b.*)$")
_PART = re.compile(r"\bpart (\d+) of (\d+)\b")
#: Ours, and what Slurm says of a job that it ended ("slurmstepd: error: ... DUE TO TIME LIMIT").
_ERROR = re.compile(r"(\w+: )?(error|fatal): ")
_LEFT = re.compile(r"\b(\d+) s left\b")


def duration(seconds: float) -> str:
    """5 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def printable(line: str, most: int = _MOST_CHARACTERS) -> str:
    """``line``, at most so many characters of it, without what could move the cursor, colour or
    turn round a terminal's text."""
    shown = line[:most].replace("\t", " ")
    return "".join(c if c.isprintable() else "\ufffd" for c in shown)


def rows_of_tables(log: Path) -> list[tuple[int, int]]:
    """Of every table that a job has finished by its log: its rows, and how many were computed.

    Raises OSError where the log cannot be read.
    """
    found = _ROWS.findall(log.read_bytes())
    return [(int(rows), int(computed)) for rows, computed in found]


@dataclass
class Job:
    """One job of the run, as Snakemake announced it."""

    rule: str
    wildcards: str
    logs: list[str]
    reason: str = ""
    started: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        return f"{self.rule} {self.wildcards}".rstrip()

    def last_line(self) -> str:
        """The last thing that the job said; "" when it has said nothing."""
        return next((lines[-1] for lines in self._tails()), "")

    def progress(self) -> tuple[float, str]:
        """The share that is done (0 where nobody said), and what the job says about it."""
        line = self.last_line()
        if not (found := _PROGRESS.match(line)):
            return 0.0, line
        said = _LEFT.sub(lambda left: f"{duration(int(left[1]))} left", found[1])
        share = min(1.0, int(found[2]) / max(1, int(found[3])))
        if part := _PART.search(line):
            share = min(1.0, (int(part[1]) - 1 + share) / max(1, int(part[2])))
        return share, said

    def rows(self) -> tuple[int, int]:
        """How many rows the finished job published in all its tables, and how many of them it
        computed."""
        try:
            tables = rows_of_tables(Path(self.logs[0])) if self.logs else []
        except OSError:
            tables = []
        return sum(rows for rows, _ in tables), sum(computed for _, computed in tables)

    def error(self) -> str:
        """Why the job failed: from the last error on in its log or a cluster's of it, or its last
        line (of a traceback)."""
        if self.reason:
            return self.reason
        tails = list(self._tails())
        for lines in tails:
            found = [(i, match) for i, line in enumerate(lines) if (match := _ERROR.match(line))]
            if found:
                start, match = found[-1]
                return "\n".join(lines[start:][: 1 if match[1] else _MOST_ERROR_LINES])
        return tails[0][-1] if tails else "it ended without a word (killed, or out of memory?)"

    def _tails(self) -> Iterator[list[str]]:
        """The last lines of every log that has any."""
        for log in self.logs:
            try:
                with open(log, "rb") as handle:
                    handle.seek(max(0, Path(log).stat().st_size - _TAIL_BYTES))
                    text = handle.read().decode("utf-8", "replace")
            except OSError:
                continue  # not written yet
            lines = [line.rstrip(" ,") for line in text.split("\n") if line.strip()]
            if said := [printable(line) for line in lines if not line.startswith(STARTED)]:
                yield said


@dataclass
class Stage:
    """All jobs of one rule: how many there are, are done, and what they did together."""

    rule: str
    total: int
    done: int = 0
    known: int = 0
    rows: int = 0
    computed: int = 0
    running: dict[int, Job] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def finish(self, job: Job) -> None:
        """Count a job that succeeded."""
        self.done += 1
        self.known += job.last_line().endswith("nothing to compute")
        rows, computed = job.rows()
        self.rows += rows
        self.computed += computed

    @property
    def complete(self) -> bool:
        return self.done >= self.total and not self.running

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def result(self) -> str:
        """What the finished jobs did, in a few words."""
        said = [f"done in {duration(self.elapsed_s)}"]
        if self.rows:
            reused = self.rows - self.computed
            said += [f"{self.rows:,} rows, {self.computed:,} computed, {reused:,} reused"]
        if self.known and self.known == self.done:
            said += ["known from before"]
        if self.done > 1:
            said += [f"{self.done} jobs"]
        return f"{self.rule}: {', '.join(said)}"

    def now(self) -> tuple[float, str]:
        """The share that is done, and one line about it: jobs, time left, what is running."""
        states = [job.progress() for job in list(self.running.values())]
        jobs = max(1, self.total, self.done + len(states))
        share = min(1.0, (self.done + sum(share for share, _ in states)) / jobs)
        oldest = next(iter(list(self.running.values())), None)
        said = states[0][1] if states else ""
        if jobs == 1:
            return share, ", ".join(filter(None, [duration(self.elapsed_s), said]))
        head = f"{self.done} of {jobs} jobs, {duration(self.elapsed_s)}"
        if share > 0:
            head += f", about {duration(self.elapsed_s * (1 - share) / share)} left"
        if oldest and oldest.wildcards:
            said = f"{oldest.wildcards}: {said}" if said else oldest.wildcards
        return share, "; ".join(filter(None, [head, said]))
