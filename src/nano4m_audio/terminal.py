"""What a run says on the terminal, as a logger plugin of Snakemake (``logger:`` in profiles/).

One line when a job starts and one when it ends, with how many rows it reused and computed; on a
terminal also a live view of the running jobs with the last line of their logs, elsewhere that line
once a minute. A failed job is one line, repeated with its error at the end. Snakemake's own record,
.snakemake/log/, stays complete, and dry runs look as Snakemake prints them.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from snakemake.logging import ColorizingTextHandler, DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

#: Off a terminal, a running job is reported this often.
HEARTBEAT_S = 60.0
_TAIL_BYTES = 16_384
_MOST_ERROR_LINES = 30
#: What a job leaves in its log about finished rows (``store.publish``).
_ROWS = re.compile(r"(\d+) rows, (\d+) computed$")
#: Ours, and what Slurm says of a job that it ended ("slurmstepd: error: ... DUE TO TIME LIMIT").
_ERROR = re.compile(r"(\w+: )?(error|fatal): ")
_NO_OUTPUT = re.compile(r"^Job (\d+) +completed successfully, but some", re.MULTILINE)
_NOT_COMPLETE = "At least one job did not complete successfully"


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

    @property
    def elapsed(self) -> str:
        return duration(time.monotonic() - self.started)

    def last_line(self) -> str:
        """The last thing that the job said; "" when it has said nothing."""
        return next((lines[-1] for lines in self._tails()), "")

    def result(self) -> str:
        """What a finished job did, in a few words: the rows that it computed, or ""."""
        line = self.last_line()
        found = _ROWS.search(line)
        if not found:
            return "known from before" if line.endswith("nothing to compute") else ""
        rows, computed = int(found[1]), int(found[2])
        return f"{rows:,} rows, {computed:,} computed, {rows - computed:,} reused"

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
            if lines := [line.rstrip(" ,") for line in text.splitlines() if line.strip()]:
                yield lines


def duration(seconds: float) -> str:
    """5 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def last_words(results: Path, shards: Sequence[str]) -> str:
    """What became of the clips, and where to look: the last line of a run that wrote a report."""
    from nano4m_audio.tables import read_rows  # pyarrow

    counts = [
        sum(len(read_rows(results / name / f"{s}.parquet", name, ["clip_id"])) for s in shards)
        for name in ("selected", "candidates")
    ]
    return f"{counts[0]:,} of {counts[1]:,} clips kept; open {results / 'report.html'}"


class LogHandler(LogHandlerBase):
    """Snakemake's records in, lines for people out. It runs in a thread of its own."""

    def __post_init__(self) -> None:
        settings = self.common_settings
        self.stream = sys.stdout if settings.stdout else sys.stderr
        self.plain = ColorizingTextHandler(settings.nocolor, self.stream, DefaultFormatter())
        self.as_snakemake = settings.dryrun or settings.verbose or settings.debug_dag
        self.total = self.done = 0
        self.running: dict[int, Job] = {}
        self.failed: dict[str, Job] = {}
        self.last_words = ""
        self.stopped = threading.Event()  # by the user
        self.closed = threading.Event()
        self.live: Any = None
        self.heart: threading.Thread | None = None
        if not self.as_snakemake and threading.current_thread() is threading.main_thread():
            _note_interrupt(self.stopped)

    has_filter = False
    has_formatter = True
    needs_rulegraph = False
    writes_to_file = False

    @property
    def writes_to_stream(self) -> bool:
        return True

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event = getattr(record, "event", None)
            known = {
                LogEvent.RUN_INFO: self._run_info,
                LogEvent.JOB_INFO: self._job_info,
                LogEvent.JOB_FINISHED: self._job_finished,
                LogEvent.JOB_ERROR: self._job_error,
                LogEvent.ERROR: self._error,
                LogEvent.WORKFLOW_STARTED: _say_nothing,
                LogEvent.PROGRESS: _say_nothing,
                LogEvent.JOB_STARTED: _say_nothing,
                None: self._message,
            }
            if self.as_snakemake or event not in known:
                self.plain.emit(record)
            else:
                known[event](record)
        except Exception:  # as every logging handler does: a message must not stop the run
            self.handleError(record)

    def _run_info(self, record: logging.LogRecord) -> None:
        self.total = getattr(record, "stats", {}).get("total", 0)
        self.plain.emit(record)

    def _job_info(self, record: logging.LogRecord) -> None:
        values = record.__dict__
        job = Job(values["rule_name"], " ".join(values["wildcards"].values()), values["log"])
        self.running[values["jobid"]] = job
        if job.logs:
            self._say(f"rule {job.rule}: {job.wildcards}".rstrip(" "))
        self._start_watching()

    def _job_finished(self, record: logging.LogRecord) -> None:
        job = self.running.pop(record.__dict__["job_id"], None)
        self.done += 1
        self.failed.pop(job.name if job else "", None)  # it was tried again
        if job and job.logs:
            said = ", ".join(filter(None, [f"done in {job.elapsed}", job.result()]))
            self._say(f"  {job.name}: {said} ({self.done} of {self.total} jobs)")

    def _job_error(self, record: logging.LogRecord) -> None:
        values = record.__dict__
        job = self.running.pop(values["jobid"], None) or Job(values["rule_name"], "", [])
        job.logs = list(values["log"]) or job.logs  # a cluster's own log of it comes after its log
        self._fail(job)

    def _fail(self, job: Job) -> None:
        self.failed[job.name] = job
        if not self.stopped.is_set():
            where = f", see {job.logs[0]}" if job.logs else ""
            self._say(f"Error in rule {job.rule}: {job.name} failed{where}")

    def _error(self, record: logging.LogRecord) -> None:
        """Snakemake's report of an exception: for a failed command it is the whole command."""
        text = str(record.msg)
        if "CalledProcessError" in text:  # the job's own error follows
            return
        if _NOT_COMPLETE in text:
            self._tell_end()
        elif (found := _NO_OUTPUT.search(text)) and (job := self.running.pop(int(found[1]), None)):
            job.reason = " ".join(text[found.start() :].split())
            self._fail(job)
        elif not self.stopped.is_set():
            self.plain.emit(record)

    def _message(self, record: logging.LogRecord) -> None:
        text = str(record.msg)
        if words := getattr(record, "last_words", ""):
            self.last_words = words
        elif text.startswith("Terminating processes on user request"):
            self._say("Stopping, as you asked for (Ctrl-C) ...")
        elif not text.startswith(("Select jobs to execute", "Exiting because a job execution")):
            self.plain.emit(record)

    def _tell_end(self) -> None:
        """Why the run did not finish: once, after everything else."""
        kept = "What is finished is kept: the same command goes on from there."
        if self.stopped.is_set():
            self._say(f"Stopped by you: {self.done} of {self.total} jobs are done. {kept}")
            return
        count = f"{len(self.failed)} job{'s' if len(self.failed) != 1 else ''}"
        self._say(f"{_NOT_COMPLETE}: {self.done} of {self.total} jobs are done, {count} failed.")
        for job in self.failed.values():
            self._say(f"{job.name}: {job.error()}\n  (log: {', '.join(job.logs) or 'none'})")
        self._say(kept)

    def _say(self, text: str) -> None:
        line = f"[{time.strftime('%H:%M:%S')}] {text}"
        if self.live is not None:
            self.live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=self.stream, flush=True)

    def _start_watching(self) -> None:
        if self.heart is not None:
            return
        if self.plain.is_tty and os.environ.get("TERM") != "dumb":
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self.stream, stderr=not self.common_settings.stdout)
            self.live = Live(
                get_renderable=lambda: _View(self), console=console, refresh_per_second=2,
                transient=True, redirect_stdout=False,
            )  # fmt: skip
            self.live.start()
        self.heart = threading.Thread(target=self._beat, daemon=True)
        self.heart.start()

    def _beat(self) -> None:
        said: dict[int, str] = {}
        while not self.closed.wait(HEARTBEAT_S):
            for number, job in list(self.running.items()) if self.live is None else []:
                line = job.last_line()
                if line and said.get(number) != line:
                    said[number] = line
                    self._say(f"  {job.name}, {job.elapsed}: {line}")

    def close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            if self.live is not None:
                self.live.stop()
                self.live = None
            if self.last_words:
                self._say(self.last_words)
        super().close()


class _View:
    """The lines below the last message: how far the run is, and what its jobs say."""

    def __init__(self, handler: LogHandler) -> None:
        self.handler = handler

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        handler = self.handler
        filled = 30 * handler.done // max(1, handler.total)
        unicode = "utf" in (getattr(handler.stream, "encoding", None) or "").lower()
        done, left = "\u2501\u2500" if unicode else "#-"
        bar = done * filled + left * (30 - filled)
        yield Text(f"{bar} {handler.done} of {handler.total} jobs")
        for job in list(handler.running.values()):
            if job.logs:
                line = f"  {job.name}, {job.elapsed}: {job.last_line()}"
                yield Text(line, no_wrap=True, overflow="ellipsis")


def _say_nothing(record: logging.LogRecord) -> None:
    """For records that another line already tells, or that only .snakemake/log/ needs."""


def _note_interrupt(stopped: threading.Event) -> None:
    """Remember that the user pressed Ctrl-C, and leave the rest to who handles it now."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stopped.set()
        before(number, frame)

    signal.signal(signal.SIGINT, handle)
