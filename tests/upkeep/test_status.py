"""What ``status`` says of a run, from the files that the run leaves: nothing is guessed."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from nano4m_audio import journal, shared_store
from nano4m_audio.cli.app import app
from nano4m_audio.errors import UserError
from nano4m_audio.journal import BEGUN, DONE, FAILED, Journal, Planned
from nano4m_audio.locks import in_use
from nano4m_audio.paths import Results
from nano4m_audio.settings_files import record_command
from nano4m_audio.upkeep.status import RunState, State, look, matching
from nano4m_audio.upkeep.status_lines import BAR, as_json, bar, job_rows, overview

RUN = "00ff00ff00ff00ff"
STAGES = ("media", "decode", "score_audio", "label", "tokenize_clips", "tokenize_labels")


class Run:
    """A run of this process over ``stages`` times ``shards``, whose jobs do what a test says."""

    def __init__(self, folder: Path, stages: tuple[str, ...] = STAGES, shards: int = 4) -> None:
        self.results = Results(folder / "results")
        pairs = [(stage, f"{shard:04d}") for stage in stages for shard in range(shards)]
        self.jobs = {
            pair: Planned(n, "/".join(pair) + ".log", "/".join(pair) + ".parquet", True)
            for n, pair in enumerate(pairs)
        }
        journal.write_plan(self.results, RUN, list(self.jobs.values()))
        record_command(self.results.settings, ["snakemake", "--cores", "2"])
        self.journal = Journal(self.results)
        (folder / ".snakemake/locks").mkdir(parents=True)
        self.snakemake_lock = folder / ".snakemake/locks/0.input.lock"
        self.snakemake_lock.touch()

    def write(self, name: str, text: str = "") -> None:
        path = self.results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def begin(self, stage: str, shard: str = "0000") -> None:
        self.journal.note(BEGUN, self.jobs[stage, shard].number)

    def log(self, stage: str, shard: str = "0000", *lines: str, **of: str | int) -> None:
        """The log of a job that started; ``of``: where (host, pid), when (at), of which run."""
        at = of.get("at", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        host, pid = of.get("host", "gpu04"), of.get("pid", 77)
        first = f"started on {host}, pid {pid}, {at}, run {of.get('run', RUN)}"
        self.write(f"logs/{stage}/{shard}.log", "\n".join([first, *lines]) + "\n")

    def finish(
        self, stage: str, shard: str = "0000", seconds: float = 60.0, note: bool = True
    ) -> None:
        self.write(f"benchmarks/{stage}/{shard}.tsv", f"s\th:m:s\n{seconds}\t0:01:00\n")
        self.write(f"{stage}/{shard}.parquet")
        if note:
            self.journal.note(DONE, self.jobs[stage, shard].number)

    def fail(self, stage: str, shard: str = "0000", **more: object) -> None:
        self.journal.note(FAILED, self.jobs[stage, shard].number, **more)

    def state(self, stage: str, shard: str = "0000") -> State:
        (job,) = [j for j in look(self.results).jobs if (j.stage, j.part) == (stage, shard)]
        return job.state


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_jobs_of_a_living_run_are_told_apart(run: Run) -> None:
    with in_use(run.results.store):
        run.begin("media", "0000")
        run.log("media", "0000")
        run.finish("media", "0000")
        run.begin("media", "0001")
        run.log("media", "0001", "media 0001: 1/4, 0.1/s, 30 s left")
        run.begin("media", "0002")
        now = look(run.results)
        assert now.state == RunState.AT_WORK and now.command == "snakemake --cores 2"
        media = now.stages[0]
        states = [State.DONE, State.RUNNING, State.QUEUED, State.WAITING]
        assert [job.state for job in media.jobs] == states
        assert (media.jobs[1].host, media.jobs[1].pid) == ("gpu04", 77)
        assert media.jobs[1].says == "1/4, 0.1/s, 30 s left"
    assert run.state("media", "0001") == State.UNFINISHED  # the run is gone, its node is not seen
    assert run.state("media", "0002") == State.WAITING
    assert look(run.results).state == RunState.KILLED
    run.snakemake_lock.unlink()
    assert look(run.results).state == RunState.ENDED


def test_a_job_that_outlives_its_run_is_running_as_long_as_its_process_is(run: Run) -> None:
    sleeper = [sys.executable, "-c", "print(flush=True); input()", "nano4m-audio"]
    job = subprocess.Popen(sleeper, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        job.stdout.readline()
        run.begin("decode")
        run.log("decode", host=socket.gethostname(), pid=job.pid)
        assert run.state("decode") == State.RUNNING
    finally:
        job.communicate()
    assert run.state("decode") == State.UNFINISHED
    # Another process may have its number by now.
    run.log("decode", host=socket.gethostname(), pid=1)
    assert run.state("decode") == State.UNFINISHED


def test_a_run_on_another_machine_is_not_called_dead(run: Run) -> None:
    values = json.loads(run.results.journal.read_text())
    run.write("logs/run.jsonl", json.dumps({**values, "host": "login7"}) + "\n")
    run.write(
        "logs/run.jsonl",
        run.results.journal.read_text() + '{"at": 1, "job": 0, "event": "begun"}\n',
    )
    run.log("media", "0000")
    now = look(run.results)
    assert now.state == RunState.AWAY and now.stages[0].jobs[0].state == State.UNFINISHED
    assert "cannot be seen" in "\n".join(overview(now))
    run.snakemake_lock.unlink()
    assert look(run.results).state == RunState.ENDED


def test_failures_are_counted_and_told_with_place_and_reason(run: Run) -> None:
    with in_use(run.results.store):
        for _ in range(2):
            run.begin("decode")
            run.fail("decode", logs=["results/logs/decode/0000.log"])
        # It was tried again and waits; what its log holds is of the attempt before.
        run.log("decode", "0000", "error: no space left", at="2020-01-01T00:00:00Z")
        run.begin("decode")
        assert run.state("decode") == State.QUEUED
        run.fail("decode", logs=["results/logs/decode/0000.log"])
        (job,) = matching(look(run.results), "decode")[0].jobs[:1]
        assert (job.state, job.failures, job.host) == (State.FAILED, 3, "gpu04")
        text = "\n".join(overview(look(run.results)))
        assert "decode 0000: failed 3 times, last on gpu04: error: no space left" in text
        run.begin("decode")
        run.log("decode")
        assert run.state("decode") == State.RUNNING
        run.finish("decode")
        (job,) = matching(look(run.results), "decode")[0].jobs[:1]
        assert (job.state, job.failures, job.took_s) == (State.DONE, 3, 60.0)


def test_no_total_is_told_while_a_stage_that_is_to_come_has_no_figure(run: Run) -> None:
    for shard in ("0000", "0001"):
        run.finish("media", shard, 120.0)
    now = look(run.results)
    said = "\n".join(overview(now))
    assert as_json(now, now.stages)["run"]["left_s"] is None
    assert "jobs done\ntime left: not known, as no job has ended here of decode, score" in said
    for stage in STAGES[1:]:
        for number in range(4):
            run.finish(stage, f"000{number}", 60.0)
    now = look(run.results)
    assert now.left_s == 240.0
    assert "22 of 24 jobs done, about 4 min 0 s left one by one" in "\n".join(overview(now))


def test_what_is_left_follows_from_jobs_that_ended_and_from_what_jobs_say(run: Run) -> None:
    with in_use(run.results.store):
        for shard, seconds in (("0000", 100.0), ("0001", 140.0)):
            run.begin("media", shard)
            run.finish("media", shard, seconds)
        media = look(run.results).stages[0]
        assert media.left_s == 240.0  # two jobs of the median
        assert look(run.results).stages[1].left_s is None
        ago = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 30))
        run.begin("media", "0002")
        run.log("media", "0002", "media 0002: 1/4, 1/s", at=ago)
        job = look(run.results).stages[0].jobs[2]
        assert 85 <= job.left_s <= 100  # a quarter took 30 s
        run.begin("media", "0003")
        run.log("media", "0003", at=ago)
        now = look(run.results)
        assert 85 <= now.stages[0].jobs[3].left_s <= 91  # says nothing: 120 s are usual
        assert now.at_once == 2 and now.untimed == list(STAGES[1:])
        for stage in STAGES[1:]:
            for number in range(4):
                run.finish(stage, f"000{number}")
        assert "left at 2 at once" in "\n".join(overview(look(run.results)))


def test_a_finished_stage_whose_file_is_gone_is_not_done(run: Run) -> None:
    run.begin("media")
    run.finish("media")
    assert run.state("media") == State.DONE
    (run.results / "media/0000.parquet").unlink()
    assert run.state("media") == State.WAITING


def test_without_events_only_what_the_files_show_is_claimed(run: Run) -> None:
    """Snakemake with another logger."""
    with in_use(run.results.store):
        run.log("media", "0000")
        run.finish("media", "0000", note=False)
        run.log("media", "0001")
        run.write("media/0002.parquet")  # of a run before
        now = look(run.results)
        assert not now.told and "noted no events" in "\n".join(overview(now))
        states = [State.DONE, State.UNFINISHED, State.WAITING, State.WAITING]
        assert [job.state for job in now.stages[0].jobs] == states


def test_128_shards_fit_one_screen_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    run = Run(tmp_path, tuple(f"stage{n}" for n in range(16)) + ("label_a", "label_b"), shards=128)
    run.begin("label_a")
    run.finish("label_a")
    with open(run.results.journal, "a") as handle:
        handle.write('{"at": 3, "job": 1, "ev')
    lines = list(overview(look(run.results)))
    assert len(lines) == 24 and max(map(len, lines)) <= 100
    assert sum(1 for _ in job_rows(matching(look(run.results), "label"))) == 2 * 128


def test_the_command_says_it_for_people_and_for_programs(run: Run) -> None:
    def call(*arguments: str, status: int = 0) -> str:
        done = CliRunner().invoke(app, ["status", str(run.results), *arguments])
        assert done.exit_code == status, done.output
        return done.output

    run.begin("decode", "0003")
    run.log("decode", "0003")
    run.finish("decode", "0003")
    assert f"{'decode':15}  ######{'.' * 18}  1 of 4, 3 waiting, 3 min 0 s left" in call()
    assert re.search("decode 0003 +done +gpu04  took 1 min 0 s", call("--shards"))
    assert "media 0003" in call("--shards")
    assert "decode 0003" in call("--stage", "decode") and "media 0" not in call("--stage", "decode")
    values = json.loads(call("--json"))
    assert values == as_json(look(run.results), look(run.results).stages) | values
    assert values["stages"][1]["done"] == 1 and len(values["jobs"]) == len(run.jobs)
    done = CliRunner().invoke(app, ["status", str(run.results), "--stage", "decod"])
    assert isinstance(done.exception, UserError) and "did you mean 'decode'?" in str(done.exception)


def test_without_a_run_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run of the workflow has begun"):
        look(Results(tmp_path))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/run.jsonl").write_text('{"run": ')
    with pytest.raises(UserError, match="cannot be read"):
        look(Results(tmp_path))


def test_only_the_process_that_began_a_journal_writes_into_it(run: Run) -> None:
    """Not the part of Snakemake that runs on a node, nor a dry run beside it."""
    code = (
        "import sys; from pathlib import Path; from nano4m_audio.journal import *;"
        "from nano4m_audio.paths import Results; Journal(Results(Path(sys.argv[1]))).note(DONE, 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(run.results)], check=True)
    assert len(run.results.journal.read_text().splitlines()) == 1


def test_hostile_logs_cannot_move_the_cursor(run: Run) -> None:
    with in_use(run.results.store):
        run.begin("decode")
        run.log("decode", "0000", "error: \x1b[2Jgone\u202e")
        run.fail("decode", logs=["x"])
        text = "\n".join([*overview(look(run.results)), *job_rows(look(run.results).stages)])
    assert "gone" in text and "\x1b" not in text and "\u202e" not in text


@given(st.lists(st.integers(0, 100_000), min_size=6, max_size=6))
def test_a_bar_is_full_and_shows_whatever_there_is(counts: list[int]) -> None:
    cells = bar(counts)
    assert sum(cells) == (BAR if any(counts) else 0)
    assert all(bool(cell) == bool(count) for cell, count in zip(cells, counts, strict=True))


def test_a_job_looks_for_the_mark_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(shared_store.RUN, "")  # so that no other test is of this run
    store = tmp_path / "results/store"
    first = shared_store.name_run()
    assert os.environ[shared_store.RUN] == first == shared_store.mark(store)
    second = shared_store.name_run()
    assert shared_store.mark(store) == second != first
    for run in (first, second):  # jobs of a run that was killed may still be in a queue
        shared_store.check(store, run, patience_s=0)
    for elsewhere in (tmp_path / "none", tmp_path / "other"):
        with pytest.raises(UserError, match="must lie on a file system that all nodes share") as e:
            shared_store.check(elsewhere, second, patience_s=0)
        assert "\n" not in str(e.value) and str(elsewhere) in str(e.value)
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / shared_store.MARKER).write_text(f"{first}\n{second[:-1]}\n")
    monkeypatch.chdir(tmp_path)
    shared_store.begin_job(["nano4m-audio", "media"])
    (tmp_path / "log").write_text(capsys.readouterr().err)
    start = shared_store.read_start(tmp_path / "log")
    assert start and (start.host, start.pid, start.run) == (
        socket.gethostname(),
        os.getpid(),
        second,
    )
    assert abs(start.at - time.time()) < 5
    monkeypatch.delenv(shared_store.RUN)
    monkeypatch.chdir("/")
    shared_store.begin_job(["nano4m-audio", "media"])  # by hand
    assert capsys.readouterr().err == ""
