"""A row that was added is there, once, whatever is killed, torn or damaged."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nano4m_audio.errors import UserError
from nano4m_audio.fetch import ledger as module
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.faults import classify
from nano4m_audio.fetch.ledger import Attempt, open_ledger, read, read_attempts

START = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)


def row(number: int, video_id: str = "", **values) -> Attempt:
    at = START + timedelta(seconds=number)
    values = {"clip_ids": [f"{video_id}@0"], "warnings": [], **values}
    return Attempt(video_id or f"v{number}", 1, at, at + timedelta(seconds=0.5), **values)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "PART_ROWS", 3)


def test_rows_come_back_as_they_were(tmp_path, small_parts):
    fault = classify(FetchError("Premieres in 3 hours"))
    rows = [
        row(0, bytes=2**40, client="tv,web", yt_dlp="2026.10.26", route="range"),
        row(1, warnings=["one", "two"], http_status=429, session="ab12").failed(fault),
        *(row(number) for number in range(2, 10)),
    ]
    for some in (rows[:4], rows[4:5], rows[5:]):
        with open_ledger(tmp_path) as ledger:
            for one in some:
                ledger.append(one)
    assert read_attempts(tmp_path) == rows
    assert [a.video_id for a in ledger.attempts] == [a.video_id for a in rows]
    assert rows[1].retry_after_s == 3 * 3600 and rows[1].raw == "Premieres in 3 hours"


def test_any_reader_of_parquet_reads_the_folder(tmp_path, small_parts):
    with open_ledger(tmp_path) as ledger:
        for number in range(8):
            ledger.append(row(number))
            assert pq.read_table(tmp_path).num_rows == number + 1
    table = ds.dataset(tmp_path).to_table()
    assert table["started_at"].to_pylist()[0] == START and table.num_rows == 8


def test_a_ledger_that_is_not_there_has_no_rows(tmp_path):
    assert read(tmp_path / "none").num_rows == 0


def test_texts_are_cleaned_whoever_adds_them(tmp_path):
    with open_ledger(tmp_path) as ledger:
        ledger.append(
            row(0, raw="\x1b[31mx sig=S3cr3tS3cr3t", warnings=["https://a/b?c=S3cr3t"] * 9)
        )
    found = read_attempts(tmp_path)[0]
    assert found.raw == "x sig=..." and list(found.warnings) == ["https://a/..."] * 5


def test_there_is_one_writer(tmp_path):
    busy = pytest.raises(UserError, match="in use by another fetch")
    with open_ledger(tmp_path), busy, open_ledger(tmp_path):
        pass
    with open_ledger(tmp_path):
        pass


def test_threads_add_all_their_rows(tmp_path, small_parts):
    def add(first: int) -> None:
        for number in range(first, first + 5):
            ledger.append(row(number))

    with open_ledger(tmp_path) as ledger:
        work = [threading.Thread(target=add, args=[10 * i]) for i in range(4)]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
    assert (
        len({a.video_id for a in read_attempts(tmp_path)}) == pq.read_table(tmp_path).num_rows == 20
    )


def test_a_full_disk_adds_nothing_and_loses_nothing(tmp_path, monkeypatch):
    with open_ledger(tmp_path) as ledger:
        ledger.append(row(0))
        with monkeypatch.context() as patched:

            def full(*_):
                raise OSError(28, "No space left on device")

            patched.setattr("nano4m_audio.files.os.fsync", full)
            with pytest.raises(UserError, match="no space left"):
                ledger.append(row(1))
        assert [a.video_id for a in ledger.attempts] == ["v0"]
        ledger.append(row(2))
    assert [a.video_id for a in read_attempts(tmp_path)] == ["v0", "v2"]


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_a_kill_leaves_changes_nothing(tmp_path_factory, small_parts, data):
    """A kill leaves the part as it was, beside a part of the new one."""
    folder, added = tmp_path_factory.mktemp("ledger"), 0
    for _ in range(data.draw(st.integers(1, 4))):
        with open_ledger(folder) as ledger:
            for _ in range(data.draw(st.integers(0, 5))):
                ledger.append(row(added))
                added += 1
        newest = max(folder.glob("*.parquet"), default=None)
        content = newest.read_bytes() if newest else b"PAR1"
        torn = folder / f".{newest.name if newest else '00000000.parquet'}.tmp.host-{2**22 + 1}"
        torn.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        assert [a.video_id for a in read_attempts(folder)] == [f"v{n}" for n in range(added)]
        if added:
            assert pq.read_table(folder).num_rows == added


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_loses_the_rows_of_one_part_and_says_so(tmp_path_factory, small_parts, capsys, data):
    """Also a part cut off at any byte."""
    folder = tmp_path_factory.mktemp("ledger")
    with open_ledger(folder) as ledger:
        for number in range(7):
            ledger.append(row(number))
    part = data.draw(st.sampled_from(sorted(folder.glob("*.parquet"))))
    content = bytearray(part.read_bytes())
    where = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        part.write_bytes(content[:where])
    else:
        content[where] ^= data.draw(st.integers(1, 255))
        part.write_bytes(content)
    hit = {f"v{n}" for n in range(3 * int(part.stem), min(7, 3 * int(part.stem) + 3))}
    everything = {f"v{n}" for n in range(7)}
    capsys.readouterr()
    seen = {a.video_id for a in read_attempts(folder)}
    assert seen in (everything, everything - hit)
    assert ("its rows are left out" in capsys.readouterr().err) == (seen != everything)
    with open_ledger(folder) as ledger:
        assert {a.video_id for a in ledger.attempts} == seen
        ledger.append(row(7))
        ledger.append(row(8))
    assert {a.video_id for a in read_attempts(folder)} == seen | {"v7", "v8"}
    assert pq.read_table(folder).num_rows == len(seen) + 2


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from nano4m_audio.fetch import ledger as module
module.PART_ROWS = 5
with module.open_ledger(Path(sys.argv[1])) as ledger:
    first = len(ledger.attempts)
    for number in range(first, first + 10000):
        now = datetime.now(UTC)
        ledger.append(module.Attempt(f"v{number}", 1, now, now))
        print(number, flush=True)
"""


@pytest.mark.slow
def test_kill_9_at_any_moment(tmp_path):
    """What the writer said it had added is there, once; at most one row more."""
    folder, said = tmp_path / "ledger", -1
    for wait_s in (0.01, 0.05, 0.11, 0.2, 0.31):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        said = int(process.stdout.readline())
        time.sleep(wait_s)
        process.kill()
        rest = process.stdout.read().split("\n")
        process.wait()
        process.stdout.close()
        said = int(rest[-2]) if len(rest) > 1 else said
        ids = [a.video_id for a in read_attempts(folder)]
        assert ids == [f"v{n}" for n in range(len(ids))] and said + 1 <= len(ids) <= said + 2
