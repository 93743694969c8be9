"""The tool that says what differs between two results folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nano4m_audio.files import write_json
from nano4m_audio.tables import write_table
from tests.conftest import ROOT

ROWS: list[dict[str, Any]] = [
    {"clip_id": "a", "key": "1", "voiced": 0.25, "labels": ["x", "y"]},
    {"clip_id": "b", "key": "2", "voiced": float("nan"), "labels": []},
    {"clip_id": "c", "key": "3", "voiced": None, "labels": None},
]


def write(results: Path, shards: dict[str, list[dict[str, Any]]]) -> Path:
    """A results folder with one table, one JSON file and one other file."""
    for name, rows in shards.items():
        write_table(results / f"{name}.parquet", pa.Table.from_pylist(rows))
    write_json(results / "source.json", {"source": "folder", "root": {"path": "clips"}})
    (results / "weights").write_bytes(b"abc")
    return results


def call(*arguments: object) -> tuple[int, list[str]]:
    """Status and lines of the command."""
    script = ROOT / "benchmarks/compare_results.py"
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, (done.stdout or done.stderr).splitlines()


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return write(tmp_path / "before", {"speech/0000": ROWS[:2], "speech/0001": ROWS[2:]})


def test_equal_rows_are_equal_in_any_order_and_number_of_shards(before, tmp_path):
    after = write(tmp_path / "after", {"speech/0000": [ROWS[2], ROWS[0], ROWS[1]]})
    (after / "logs").mkdir()
    (after / "logs" / "speech.log").write_text("another machine")
    assert call(before, after) == (0, ["no difference"])


def test_each_difference_is_named_with_its_first_row(before, tmp_path):
    rows = [
        {**ROWS[0], "voiced": 0.5},
        {"clip_id": "b", "key": "2", "voiced": None, "labels": ["z"]},
        {"clip_id": "d", "key": "4", "voiced": 0.0, "labels": []},
    ]
    after = write(tmp_path / "after", {"speech/0000": rows})
    write_json(after / "source.json", {"source": "web", "root": {"path": "clips"}})
    (after / "weights").write_bytes(b"abd")
    (after / "new").write_text("")
    status, lines = call(before, after)
    assert status == 1
    assert lines[:1] == [f"new: only in {after}"]
    assert lines[1:5] == [
        "source: source: '\"folder\"' became '\"web\"'",
        "speech: 1 of 3 rows are gone, first c",
        "speech: 1 of 3 rows are new, first d",
        "speech: voiced: 2 of 2 rows, first a: 0.25 became 0.5",
    ]
    assert lines[5] == "speech: labels: 1 of 2 rows, first b: [] became ['z']"
    assert lines[6].startswith("weights: bytes: ") and len(lines) == 7


def test_renamed_tables_and_columns_are_followed_and_ignored_ones_left_out(before, tmp_path):
    rows = [{k.replace("voiced", "speech"): v for k, v in row.items()} for row in ROWS]
    after = write(tmp_path / "after", {"talk/0000": [{**row, "key": "new"} for row in rows]})
    assert call(before, after)[0] == 1
    table = ("--rename", "speech=talk")
    status, lines = call(before, after, *table, "--ignore", "talk:k*")
    assert (status, lines) == (
        1,
        ["talk: voiced: column is gone", "talk: speech: column is new"],
    )
    for column in (":voiced=speech", "talk:voiced=speech"):
        assert call(before, after, *table, column, "--ignore", "key")[0] == 0
    assert call(before, after, *table, "source:voiced=speech", "--ignore", "key")[0] == 1


def test_a_missing_folder_and_a_wrong_mapping_are_one_line(before, tmp_path):
    assert call(before, tmp_path / "nowhere")[1][-1].endswith("nowhere is not a folder of results")
    assert call(before, before, "--rename", "x")[1][-1].endswith("invalid renamed value: 'x'")
