"""What people see of a run: a small workflow under Snakemake, with a terminal and without."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake.settings.types import OutputSettings
from snakemake_interface_logger_plugins.common import LogEvent

from nano4m_audio import progress, terminal
from nano4m_audio.files import write_json
from nano4m_audio.journal import Planned, write_plan
from nano4m_audio.paths import Results
from nano4m_audio.running import Job, Stage, duration
from nano4m_audio.terminal import LogHandler, last_words
from nano4m_audio.upkeep.status import State, look
from nano4m_audio.upkeep.status_lines import overview
from tests.conftest import ROOT
from tests.report.fake import Fate, write_results

SNAKEFILE = r"""
rule all:
    input: "c.txt", "bad.txt" if config["code"] else []
rule tables:
    output: "{shard}.txt"
    log: "logs/{shard}.log"
    wildcard_constraints: shard="a|b"
    shell: "echo 'clips: 1200 rows, 30 computed' > {log}; touch {output}"
rule both:
    input: "a.txt", "b.txt"
    output: "c.txt"
    log: "logs/both.log"
    shell:
        "for i in 1 2 3 4; do echo \"train: $i/4, $(cat {workflow.basedir}/said) tokens/s, 65 s left\" >> {log}; sleep {config[sleep]}; done;"
        "touch {output}"
rule bad:
    output: "bad.txt"
    log: "logs/bad.log"
    params: settings='{"json": 1}'
    shell: "echo {params.settings:q} > /dev/null; echo 'error: decode.fps: wrong' > {log}; exit {config[code]}"
"""  # noqa: E501


@pytest.fixture
def project(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "said").write_text("505")
    (tmp_path / "profiles/default").mkdir(parents=True)
    shutil.copy(ROOT / "profiles/default/config.yaml", tmp_path / "profiles/default")
    return tmp_path


def command(*arguments: str, **config: str) -> list[str]:
    values = [f"{key}={value}" for key, value in {"sleep": "0", "code": "0", **config}.items()]
    return [sys.executable, "-m", "snakemake", "--cores", "1", *arguments, "--config", *values]


def run(project, *arguments: str, **config: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments, **config),
        cwd=project, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def without_codes(drawn: str) -> str:
    """What was written, without what moves the cursor or colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn)


def run_on_terminal(
    project, columns: int = 100, environment: Mapping[str, str] | None = None,
    interrupt_after: str = "", raw: str = "", **config: str,
) -> tuple[int, str]:  # fmt: skip
    """Exit status and all that was drawn; Ctrl-C is typed once ``interrupt_after`` is seen."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(project)
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
        known = {**inherited, "TERM": "xterm-256color", **(environment or {})}
        os.execve(sys.executable, command(**config), known)
    seen, typed, deadline = b"", False, time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                seen += os.read(terminal, 1 << 16)
            except OSError:  # the other end is closed
                break
        if interrupt_after and not typed and interrupt_after.encode() in seen:
            os.write(terminal, b"\x03")
            typed = True
    _, status = os.waitpid(child, 0)
    drawn = seen.decode("utf-8", "replace")
    return os.waitstatus_to_exitcode(status), drawn if raw else without_codes(drawn)


@pytest.mark.slow
def test_a_stage_is_two_lines_and_a_plan_looks_as_ever(project):
    plan = run(project, "-n")
    assert "rule both:" in plan.stderr + plan.stdout
    assert "input: a.txt, b.txt" in plan.stderr + plan.stdout
    done = run(project)
    assert done.returncode == 0
    lines = [line[11:] for line in done.stderr.splitlines() if line[:1] == "["]
    assert lines[0] == "rule tables: 2 jobs"
    assert re.fullmatch(
        r"tables: done in \d+ s, 2,400 rows, 60 computed, 2,340 reused, 2 jobs \(2 of 4 jobs\)",
        lines[1],
    )
    assert lines[2] == "rule both:"
    assert re.fullmatch(r"both: done in \d+ s \(3 of 4 jobs\)", lines[3])
    assert len(lines) == 4 and "input:" not in done.stderr
    for noise in ("Workflow ID", "Building DAG", "Assuming", "Provided cores: 2"):
        assert noise not in done.stderr
    assert "Nothing to be done" in run(project).stderr
    kept = "".join(log.read_text() for log in (project / ".snakemake/log").glob("*.log"))
    assert "input: a.txt, b.txt" in kept


@pytest.mark.slow
def test_the_last_line_names_the_page_from_where_the_run_was_started(project):
    with (project / "Snakefile").open("a") as snakefile:
        snakefile.write(
            "from snakemake.logging import logger\n"
            "from nano4m_audio.terminal import STARTED_IN\n"
            "onsuccess: logger.info('x', extra={'last_words': f'started in {STARTED_IN}'})\n"
        )
    done = run(project, "--directory", "elsewhere")
    assert (project / "elsewhere/c.txt").is_file(), done.stderr
    assert done.stderr.splitlines()[-1][11:] == f"started in {project}"


@pytest.mark.slow
def test_a_failure_is_told_once_with_its_error_and_without_the_command(project):
    done = run(project, code="3")
    assert done.returncode == 1
    text = done.stderr
    assert text.count("error: decode.fps: wrong") == 1 and "json" not in text
    assert "Error in rule bad: bad failed" in text and "RuleException" not in text
    assert "3 of 5 jobs are done, 1 job failed" in text and "log: logs/bad.log" in text
    assert text.rstrip().endswith("the same command goes on from there.")


@pytest.mark.slow
def test_a_missing_output_is_a_failure_too(project):
    path = project / "Snakefile"
    path.write_text(path.read_text().replace("exit {config[code]}", "true"))
    text = run(project, "--latency-wait", "0", code="1").stderr
    assert "1 job failed" in text and "some output files are missing" in text
    assert text.count("MissingOutputException") == 0


@pytest.mark.slow
def test_a_terminal_shows_what_jobs_say_and_ctrl_c_ends_as_a_wish(project):
    status, text = run_on_terminal(project, interrupt_after="2/4", sleep="2")
    assert status == 1
    assert re.search(r"  both \u2501{4}\u2500{12} \d+ s, 1/4, 505 tokens/s, 1 min 5 s left", text)
    assert re.search(r"\u2501+\u2500+ 2 of 4 jobs", text)
    assert "rule both" not in text and "tables: done in" in text
    assert "Stopped by you: 2 of 4 jobs are done" in text
    for noise in ("Traceback", "RuleException", "CalledProcessError", "Error in rule", "Workflow"):
        assert noise not in text.split("tables: done in")[1], noise
    assert not (project / ".snakemake/locks").exists() or not list(
        (project / ".snakemake/locks").iterdir()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "environment", "bar"),
    [
        (40, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}, r"#+-+ 2 of 4 jobs"),
        (40, {"NO_COLOR": "1"}, r"\u2501+\u2500+ 2 of 4 jobs"),
        (20, {"TERM": "xterm"}, r"\u2501+\u2500+ 2 of 4"),
        (100, {"TERM": "dumb"}, r"rule both:"),
    ],
)
def test_any_terminal_will_do(project, columns, environment, bar):
    (project / "said").write_text("505 \u00b5 \u5c71\u202e")
    status, drawn = run_on_terminal(project, columns, environment, sleep="1", raw="1")
    assert status == 0
    assert "Traceback" not in drawn and "UnicodeEncodeError" not in drawn and "\u202e" not in drawn
    text = without_codes(drawn)
    assert re.search(bar, text)
    assert "both: done in" in text.replace("\r\n", "")
    if "ascii" in environment.values():
        assert text.isascii()
    if "NO_COLOR" in environment:
        assert not re.findall(r"\x1b\[(?:[0-9;]*;)?3[0-9]m", drawn)
    lines = map(without_codes, re.split(r"\r|\n|\x1b\[2K", drawn))
    live = [line for line in lines if re.match(r"[#\u2501\u2500-]+ \d|  both ", line)]
    assert environment.get("TERM") == "dumb" or live
    assert all(len(line) <= columns for line in live), live


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_the_error_of_a_job_is_its_last_error_line(tmp_path):
    log = tmp_path / "a.log"
    job = Job("decode", "0000", [str(log)])
    assert job.last_line() == "" and "without a word" in job.error()
    log.write_text("clips: 3/9, 1.0/s\nerror: weights are missing: a\n  put them here\n\n")
    assert job.error() == "error: weights are missing: a\n  put them here"
    log.write_text("Traceback (most recent call last):\n  File x\nKeyError: 'a'\n")
    assert job.error() == "KeyError: 'a'"
    log.write_text("train: 5/30, 9 s left, \n")
    assert job.last_line() == "train: 5/30, 9 s left"


def test_what_a_cluster_says_of_a_job_is_its_error_where_its_own_log_has_none(tmp_path):
    own, cluster = tmp_path / "train.log", tmp_path / "7.log"
    job = Job("train", "base", [str(own), str(cluster)])
    cluster.write_text(
        "Building DAG of jobs...\nslurmstepd: error: *** JOB 7 ON node1 CANCELLED AT "
        "2026-11-26T10:48:18 DUE TO TIME LIMIT ***\n[Thu Nov 26 10:48:21 2026]\nrule train:\n"
    )
    for said in ("", "step 40 of 400\n"):
        own.write_text(said)
        assert job.error().startswith("slurmstepd: error: *** JOB 7") and "\n" not in job.error()
    own.write_text("step 40 of 400\nerror: no space left\n  delete something\n")
    assert job.error() == "error: no space left\n  delete something"


def test_a_log_cannot_move_the_cursor(tmp_path):
    log = tmp_path / "a.log"
    job = Job("fetch", "", [str(log)])
    log.write_text("error: \x1b[2Jtitle \u202e\x07 \x9b1A" + "x" * 10_000 + "\n")
    for said in (job.last_line(), job.error(), job.progress()[1]):
        assert said.isprintable() and said.startswith("error: ") and len(said) <= 2_000


def test_a_stage_adds_up_its_jobs(tmp_path):
    stage = Stage("tokenize", 3)
    said = [
        "clips: 6 rows, 2 computed\nmore: 3 rows, 0 computed\n",
        "\udcff" * 9 + "\nclips: 1000 rows, 0 computed\n",
    ]
    for number, text in enumerate(said):
        log = tmp_path / f"{number}.log"
        log.write_bytes(text.encode("utf-8", "surrogateescape"))
        stage.finish(Job("tokenize", str(number), [str(log)]))
    assert not stage.complete
    assert stage.result() == ("tokenize: done in 0 s, 1,009 rows, 2 computed, 1,007 reused, 2 jobs")
    log.write_text("rgb 0002: 30/60, 8.6/s, 4000 s left\n")
    stage.running[7] = Job("tokenize", "rgb 2", [str(log)])
    stage.started -= 50
    assert stage.now() == (
        2.5 / 3, "2 of 3 jobs, 50 s, about 10 s left; rgb 2: 30/60, 8.6/s, 1 h 6 min left"
    )  # fmt: skip
    log.write_text("a: 5 rows, 5 computed\nrgb 0002: 30/60, 8.6/s, 9 s left, part 2 of 4\n")
    assert stage.running[7].progress() == (1.5 / 4, "30/60, 8.6/s, 9 s left, part 2 of 4")
    assert not stage.complete
    log.write_text("train: base is known, nothing to compute\n")
    one = Stage("train", 1)
    one.finish(Job("train", "base", [str(log)]))
    assert one.complete and one.result() == "train: done in 0 s, known from before"


def test_lines_of_progress_say_which_part_of_the_work_it_is(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LOG_EVERY_S", -1.0)
    for _ in progress.parts(["depth", "normals"]):
        list(progress.track([1, 2], 2, "maps"))
    list(progress.track([1], 1, "alone"))
    said = capsys.readouterr().err.splitlines()
    ends = [line.rpartition("left")[2] for line in said]
    assert ends == [", part 1 of 2"] * 2 + [", part 2 of 2"] * 2 + [""]


@given(st.text(), st.integers(0, 5), st.integers(0, 5))
def test_whatever_a_log_says_the_share_is_a_share(said, total, done):
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "a.log")
        log.write_text(said, "utf-8", errors="replace")
        stage = Stage("decode", total, done, running={1: Job("decode", "0000", [str(log)])})
        share, text = stage.now()
    assert 0 <= share <= 1 and text.isprintable()


def handler(stream: io.StringIO) -> LogHandler:
    """The plugin as Snakemake makes it, writing to ``stream``, which is no terminal."""
    made = LogHandler(OutputSettings(), None)
    made.stream = made.plain.stream = stream
    return made


def tell(made: LogHandler, event: LogEvent, message: str = "", **values: Any) -> None:
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, message, None, None)
    record.__dict__.update(event=event, **values)
    made.emit(record)


def test_shards_that_run_are_one_line_now_and_then(tmp_path, monkeypatch):
    """Off a terminal: once per heartbeat, and only where there is news; a retry is no failure."""
    monkeypatch.setattr(terminal, "HEARTBEAT_S", 0.05)
    stream = io.StringIO()
    made = handler(stream)
    tell(made, LogEvent.RUN_INFO, "Job stats:", stats={"decode": 2, "total": 3})
    log = str(tmp_path / "a.log")
    for number in (1, 2):
        shard = {"shard": f"000{number}"}
        tell(made, LogEvent.JOB_INFO, rule_name="decode", wildcards=shard, log=[log], jobid=number)
    time.sleep(0.2)
    assert "decode," not in stream.getvalue()  # nothing was said yet
    Path(log).write_text("clips: 30/60, 1.0/s, 30 s left\n")
    time.sleep(0.3)
    assert stream.getvalue().count("  decode, 0 of 2 jobs, 0 s, about ") == 1
    tell(made, LogEvent.JOB_ERROR, rule_name="decode", log=[log], jobid=1)
    tell(
        made, LogEvent.JOB_INFO, rule_name="decode", wildcards={"shard": "0001"}, log=[log], jobid=3
    )
    Path(log).write_text("clips: 60 rows, 60 computed\n")
    for number in (2, 3):
        tell(made, LogEvent.JOB_FINISHED, job_id=number)
    made.close()
    lines = [line[11:] for line in stream.getvalue().splitlines() if line.startswith("[")]
    assert lines[0] == "rule decode: 2 jobs"
    assert lines[-1].endswith("120 rows, 120 computed, 0 reused, 2 jobs (2 of 3 jobs)")
    assert any("Error in rule decode: decode 0001 failed" in line for line in lines)
    assert not made.failed


def test_a_job_that_the_user_stopped_is_noted_as_begun_and_not_as_failed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = [Planned(n, f"decode/000{n}.log", f"clips/000{n}.parquet", True) for n in (0, 1)]
    write_plan(Results(), "00ff", jobs)
    made = handler(io.StringIO())
    for number in (0, 1):
        log = [f"results/logs/decode/000{number}.log"]
        job: dict[str, Any] = {"rule_name": "decode", "log": log, "jobid": number}
        tell(made, LogEvent.JOB_INFO, wildcards={"shard": f"000{number}"}, **job)
        tell(made, LogEvent.JOB_ERROR, **job)
        made.stopped.set()
    made.close()
    now = look(Results())
    assert [job.state for job in now.jobs] == [State.FAILED, State.WAITING]
    assert "decode 0001" not in "\n".join(overview(now))


def test_the_last_words_count_the_shards_of_this_run(tmp_path):
    inputs = write_results(tmp_path, [Fate("pig"), Fate("dog"), Fate("pig", "speech")], shards=2)
    results = Results(inputs.results)
    probe = results.probe("base", "classes")
    probe.unlink(missing_ok=True)
    shards = ["0000", "0001"]
    words = last_words(results, shards, "base", tmp_path)
    inside = inputs.results.relative_to(tmp_path)
    assert words == f"2 of 3 clips kept; open {inside}/report.html"
    write_json(probe, {"metrics": [{"name": "audio_top1", "value": 25 / 26, "n": 26}]})
    words = last_words(results, shards, "base", tmp_path / "elsewhere")
    page = f"{inputs.results}/report.html"
    assert words == f"2 of 3 clips kept, sound names the class in 25 of 26; open {page}"
