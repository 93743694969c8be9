"""What a run says on the terminal, as a logger plugin of Snakemake (``logger:`` in profiles/).

One line per stage (all jobs of a rule) when it is done, with the rows that it reused and computed.
On a terminal the running stages are shown live, each with a bar, the time left and what its job
says; elsewhere a stage also has a line when it starts, and that line once a minute. A failed job
is one line, told again with its error at the end. Snakemake's own record, .snakemake/log/, stays
complete, and dry runs look as Snakemake prints them.
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
from pathlib import Path
from types import FrameType
from typing import Any

from snakemake.logging import ColorizingTextHandler, DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from nano4m_audio.files import read_json
from nano4m_audio.journal import BEGUN, DONE, FAILED, Journal
from nano4m_audio.paths import Results
from nano4m_audio.running import Job, Stage

#: Where the person is who started this: Snakemake goes on into its --directory.
STARTED_IN = Path.cwd()
#: Off a terminal, a running job is reported this often.
HEARTBEAT_S = 60.0
#: Ctrl-C ends the jobs and this process at once: in so many seconds it has been seen here.
_SEEN_S = 0.2
_NO_OUTPUT = re.compile(r"^Job (\d+) +completed successfully, but some", re.MULTILINE)
_NOT_COMPLETE = "At least one job did not complete successfully"
#: Messages of Snakemake that are the same for every run of this workflow.
_ALWAYS = (
    *("Select jobs to execute", "Exiting because a job execution", "Using workflow specific"),
    *("Assuming unrestricted shared", "Building DAG", "Using shell:", "Rules claiming more"),
    "Conda environments: ignored",
)


def last_words(
    results: Results, shards: Sequence[str], experiment: str, started_in: Path = STARTED_IN
) -> str:
    """What became of the clips and of the model, and where to look, from the folder
    ``started_in``: the last line of a run that wrote a report."""
    from nano4m_audio.tables import read_rows  # pyarrow

    counts = [
        sum(len(read_rows(results.table(name, shard), name, ["clip_id"])) for shard in shards)
        for name in ("selected", "candidates")
    ]
    said = [f"{counts[0]:,} of {counts[1]:,} clips kept"]
    probe = results.probe(experiment, "classes")
    metrics = read_json(probe, "evaluate again")["metrics"] if probe.is_file() else []
    for metric in metrics:
        if metric["name"] == "audio_top1":
            right = round(metric["value"] * metric["n"])
            said += [f"sound names the class in {right:,} of {metric['n']:,}"]
    page = Path(results.report).absolute()
    inside = page.is_relative_to(started_in)
    return f"{', '.join(said)}; open {page.relative_to(started_in) if inside else page}"


class LogHandler(LogHandlerBase):
    """Snakemake's records in, lines for people out. It runs in a thread of its own."""

    def __post_init__(self) -> None:
        settings = self.common_settings
        self.stream = sys.stdout if settings.stdout else sys.stderr
        self.nocolor = settings.nocolor or bool(os.environ.get("NO_COLOR"))
        self.plain = ColorizingTextHandler(self.nocolor, self.stream, DefaultFormatter())
        self.as_snakemake = settings.dryrun or settings.verbose or settings.debug_dag
        self.total = self.done = 0
        self.stages: dict[str, Stage] = {}
        self.totals: dict[str, int] = {}
        self.journal = Journal(Results())
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
                LogEvent.RESOURCES_INFO: self._message,
                None: self._message,
            }
            if self.as_snakemake:
                self.plain.emit(record)
            elif event not in known:
                self._as_snakemake(record)
            else:
                known[event](record)
        except Exception:  # as every logging handler does: a message must not stop the run
            self.handleError(record)

    def _run_info(self, record: logging.LogRecord) -> None:
        self.totals = dict(getattr(record, "stats", {}))
        self.total = self.totals.pop("total", 0)
        self._as_snakemake(record)

    def _job_info(self, record: logging.LogRecord) -> None:
        values = record.__dict__
        job = Job(values["rule_name"], " ".join(values["wildcards"].values()), values["log"])
        if (stage := self.stages.get(job.rule)) is None:
            stage = self.stages[job.rule] = Stage(job.rule, self.totals.get(job.rule, 1))
            if job.logs and not self._draws:
                jobs = f" {stage.total} jobs" if stage.total > 1 else ""
                self._say(f"rule {job.rule}:{jobs}")
        stage.running[values["jobid"]] = job
        self.journal.note(BEGUN, values["jobid"])
        self._start_watching()

    def _job_finished(self, record: logging.LogRecord) -> None:
        number = record.__dict__["job_id"]
        job = self._end(number)
        self.done += 1
        self.journal.note(DONE, number)
        if job is None:
            return
        self.failed.pop(job.name, None)  # it was tried again
        stage = self.stages[job.rule]
        stage.finish(job)
        if job.logs and stage.complete:
            self._say(f"{stage.result()} ({self.done} of {self.total} jobs)")

    def _job_error(self, record: logging.LogRecord) -> None:
        values = record.__dict__
        job = self._end(values["jobid"]) or Job(values["rule_name"], "", [])
        job.logs = list(values["log"]) or job.logs  # a cluster's own log of it comes after its log
        self._fail(job, values["jobid"])

    def _end(self, number: int) -> Job | None:
        """The running job of this number, which runs no more."""
        jobs = [stage.running.pop(number, None) for stage in self.stages.values()]
        return next(filter(None, jobs), None)

    def running(self) -> list[Stage]:
        """The stages that have a running job, of those that are worth a word."""
        stages = [stage for stage in list(self.stages.values()) if stage.running]
        return [s for s in stages if any(job.logs for job in list(s.running.values()))]

    def _fail(self, job: Job, number: int) -> None:
        self.failed[job.name] = job
        # A job that was stopped with its run is not one that failed.
        if not self.stopped.wait(_SEEN_S):
            reason = {"reason": job.reason} if job.reason else {}
            self.journal.note(FAILED, number, logs=job.logs, **reason)
            where = f", see {job.logs[0]}" if job.logs else ""
            self._say(f"Error in rule {job.rule}: {job.name} failed{where}")

    def _error(self, record: logging.LogRecord) -> None:
        """Snakemake's report of an exception: for a failed command it is the whole command."""
        text = str(record.msg)
        if "CalledProcessError" in text:  # the job's own error follows
            return
        if _NOT_COMPLETE in text:
            self._tell_end()
        elif (found := _NO_OUTPUT.search(text)) and (job := self._end(int(found[1]))):
            job.reason = " ".join(text[found.start() :].split())
            self._fail(job, int(found[1]))
        elif not self.stopped.is_set():
            self._as_snakemake(record)

    def _message(self, record: logging.LogRecord) -> None:
        text = str(record.msg)
        if words := getattr(record, "last_words", ""):
            self.last_words = words
        elif text.startswith("Terminating processes on user request"):
            self._say("Stopping, as you asked for (Ctrl-C) ...")
        elif not text.startswith(_ALWAYS):
            self._as_snakemake(record)

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
        line = self.fitting(f"[{time.strftime('%H:%M:%S')}] {text}")
        if self.live is not None:
            self.live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=self.stream, flush=True)

    def _as_snakemake(self, record: logging.LogRecord) -> None:
        """Snakemake's own words, above what is drawn live."""
        if self.live is None:
            self.plain.emit(record)
        elif (text := self.plain.format(record)) and text != "None":
            style = {logging.WARNING: "yellow", logging.ERROR: "red"}.get(record.levelno)
            self.live.console.print(
                self.fitting(text), style=style, markup=False, highlight=False, soft_wrap=True
            )

    @property
    def encoding(self) -> str:
        return getattr(self.stream, "encoding", None) or "ascii"

    def fitting(self, text: str) -> str:
        """``text`` in the characters that the stream has."""
        return text.encode(self.encoding, "backslashreplace").decode(self.encoding)

    @property
    def _draws(self) -> bool:
        return self.plain.is_tty and os.environ.get("TERM") != "dumb"

    def _start_watching(self) -> None:
        if self.heart is not None:
            return
        if self._draws:
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self.stream, no_color=self.nocolor)
            self.live = Live(
                get_renderable=lambda: _View(self), console=console, refresh_per_second=2,
                transient=True, redirect_stdout=False,
            )  # fmt: skip
            self.live.start()
        self.heart = threading.Thread(target=self._beat, daemon=True)
        self.heart.start()

    def _beat(self) -> None:
        said: dict[str, str] = {}
        while not self.closed.wait(HEARTBEAT_S):
            for stage in self.running() if self.live is None else []:
                state = [job.last_line() for job in list(stage.running.values())]
                news = f"{stage.done} {state}"
                if (stage.done or any(state)) and said.get(stage.rule) != news:
                    said[stage.rule] = news
                    self._say(f"  {stage.rule}, {stage.now()[1]}")

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
    """The lines below the last message: how far the run and each of its running stages are."""

    def __init__(self, handler: LogHandler) -> None:
        self.handler = handler

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        handler, wide = self.handler, options.max_width
        share = handler.done / max(1, handler.total)
        yield self._line("", share, min(30, wide // 2), f"{handler.done} of {handler.total} jobs")
        stages = handler.running()
        longest = min(wide // 2, max((len(stage.rule) for stage in stages), default=0))
        for stage in stages:
            share, said = stage.now()
            bar = 16 if wide >= 70 else 0
            yield self._line(f"  {stage.rule:<{longest}} ", share, bar, said)

    def _line(self, name: str, share: float, width: int, said: str) -> Any:
        from rich.text import Text

        unicode = "utf" in self.handler.encoding.lower()
        done, left = "\u2501\u2500" if unicode else "#-"
        filled = int(width * share)
        parts = (name, (done * filled, "green"), (left * (width - filled), "dim"))
        text = Text.assemble(*parts, " " if width else "", self.handler.fitting(said))
        text.no_wrap, text.overflow = True, "ellipsis" if unicode else "crop"
        return text


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
