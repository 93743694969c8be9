"""What people see of a run: a small workflow under Snakemake, with a terminal and without."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time

import pytest

from nano4m_audio.terminal import Job, duration, last_words
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
        "for i in 1 2 3 4; do echo \"train: $i/4, 505 tokens/s\" >> {log}; sleep {config[sleep]}; done;"
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


def run_on_terminal(project, interrupt_after: str = "", **config: str) -> tuple[int, str]:
    """Exit status and all that was drawn; Ctrl-C is typed once ``interrupt_after`` is seen."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(project)
        os.execv(sys.executable, command(**config))
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
    return os.waitstatus_to_exitcode(status), re.sub(
        r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode("utf-8", "replace")
    )


@pytest.mark.slow
def test_a_job_is_two_lines_and_a_plan_looks_as_ever(project):
    plan = run(project, "-n")
    assert "rule both:" in plan.stderr + plan.stdout
    assert "input: a.txt, b.txt" in plan.stderr + plan.stdout
    done = run(project)
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if "tables" in line and line[:1] == "["]
    assert len(lines) == 4 and "input:" not in done.stderr and "Workflow ID" not in done.stderr
    assert sum("rule tables: a" in line for line in lines) == 1
    assert sum("1,200 rows, 30 computed, 1,170 reused" in line for line in lines) == 2
    assert re.search(r"  both: done in \d+ s \(3 of 4 jobs\)", done.stderr)
    assert "Nothing to be done" in run(project).stderr
    kept = "".join(log.read_text() for log in (project / ".snakemake/log").glob("*.log"))
    assert "input: a.txt, b.txt" in kept


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
    status, text = run_on_terminal(project, interrupt_after="train: 2/4", sleep="2")
    assert status == 1
    assert "both, 2 s: train: 1/4" in text or "both, 1 s: train: 1/4" in text
    assert re.search(r"\u2501+\u2500+ 2 of 4 jobs", text)
    assert "Stopped by you: 2 of 4 jobs are done" in text
    for noise in ("Traceback", "RuleException", "CalledProcessError", "Error in rule", "Workflow"):
        assert noise not in text.split("rule both")[1], noise
    assert not (project / ".snakemake/locks").exists() or not list(
        (project / ".snakemake/locks").iterdir()
    )


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
    assert job.result() == ""
    log.write_text("Traceback (most recent call last):\n  File x\nKeyError: 'a'\n")
    assert job.error() == "KeyError: 'a'"
    log.write_bytes(b"\xff" * 100_000 + b"\nclips: 9 rows, 0 computed\n")
    assert job.result() == "9 rows, 0 computed, 9 reused"
    log.write_text("train: 5/30, 9 s left, \n")
    assert job.last_line() == "train: 5/30, 9 s left"
    log.write_text("train: base is known, nothing to compute\n")
    assert job.result() == "known from before"


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


def test_the_last_words_count_the_shards_of_this_run(tmp_path):
    inputs = write_results(tmp_path, [Fate("pig"), Fate("dog"), Fate("pig", "speech")], shards=2)
    words = last_words(inputs.results, ["0000", "0001"])
    assert words == f"2 of 3 clips kept; open {inputs.results}/report.html"
