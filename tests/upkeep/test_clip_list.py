"""The list of clips: every candidate once, filtered, sorted, and harmless to who reads it."""

from __future__ import annotations

import csv
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from nano4m_audio.cli.app import app
from nano4m_audio.config.curate import Verdict
from nano4m_audio.errors import UserError
from nano4m_audio.paths import Results
from nano4m_audio.report.inputs import read_clips
from nano4m_audio.shards import set_shards
from nano4m_audio.upkeep.clip_list import (
    SORTS,
    Wanted,
    harmless,
    lines,
    read_clip_list,
    select,
    write_csv,
)
from tests.report.fake import Fate, default_fates, write_results

CLASSES = ("cat", "dog", "cow")
NAMES = (
    "=1+1",
    "-9x",
    "@SUM(A1)",
    "a\x1b[31mred\x07",
    "two\nlines\r",
    "\u202etxt.exe",
    "x,\"y'",
    "'q",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    fates = [*default_fates(CLASSES), *(Fate("dog", "speech", name=name) for name in NAMES)]
    inputs = write_results(tmp_path_factory.mktemp("clips"), fates, runs=())
    set_shards(inputs.results, 2)
    return Results(inputs.results)


def listed(results: Results, **wanted) -> list[dict]:
    return select(read_clip_list(results), Wanted(**wanted), Verdict()).to_pylist()


def test_it_says_the_same_as_the_report(results):
    clips = read_clips(results.root)
    rows = listed(results)
    assert [row["clip_id"] for row in rows] == [clip.clip_id for clip in clips]
    for row, clip in zip(rows, clips, strict=True):
        state = "kept" if clip.complete else "copy" if clip.stop == "duplicate" else "rejected"
        assert row["state"] == state
        assert row["reasons"] == "+".join(clip.reasons)
        assert (row["class"], row["source"], row["file"]) == (
            clip.class_name, clip.source, clip.path,
        )  # fmt: skip
        assert row["split"] == (clip.split.get("split") or "")
        assert row["copy_of"] == (clip.split.get("duplicate_of") or "")


def test_filters_take_what_they_name(results):
    every = listed(results)
    kept, rejected = listed(results, kept=True), listed(results, rejected=True)
    assert len(kept) + len(rejected) == len(every) and kept and rejected
    assert {row["state"] for row in kept} == {"kept"}
    both = listed(results, rejected=True, reasons=["visual_low"])
    assert both == [row for row in every if "visual_low" in row["reasons"].split("+")] and both
    speech = listed(results, reasons=["speech", "duplicate"], classes=["dog"])
    dogs = [row for row in every if row["class"] == "dog"]
    assert speech == [r for r in dogs if {"speech", "duplicate"} & {*r["reasons"].split("+")}]
    assert {row["split"] for row in listed(results, splits=["test", "val"])} == {"test", "val"}


@pytest.mark.parametrize("column", SORTS)
def test_sorted_by_any_column_with_what_is_unknown_last(results, column):
    values = [row[column] for row in listed(results, sort=column)]
    known = [value for value in values if value is not None]
    assert known == sorted(known) and values[: len(known)] == known
    back = listed(results, sort=column, reverse=True)
    assert back == listed(results, sort=column)[::-1]


def test_near_a_threshold_comes_first(results):
    limits = Verdict(audio_min=0.4, per_class={"dog": {"audio_min": 0.1}})
    for name in ("audio_min", "audio_low", "audio_score", "audio"):
        rows = select(read_clip_list(results), Wanted(near=name), limits).to_pylist()
        over = [row["over audio_min"] for row in rows]
        assert sorted(over, key=abs) == over and over
        for row in rows:
            limit = 0.1 if row["class"] == "dog" else 0.4
            assert row["over audio_min"] == pytest.approx(row["audio"] - limit)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"classes": ["dgo"]}, "class: there is no 'dgo', did you mean 'dog'?"),
        ({"reasons": ["spech"]}, "reason: there is no 'spech', did you mean 'speech'?"),
        ({"splits": ["tset"]}, "split: there is no 'tset', did you mean 'test'?"),
        ({"sort": "claas"}, "--sort: there is no 'claas', did you mean 'class'?"),
        ({"near": "audio_mni"}, "--near: there is no 'audio_mni', did you mean 'audio_min'?"),
        ({"near": "music_max"}, "verdict.music_max is null"),
        ({"near": "zzzz"}, "known: level_min_dbfs"),
    ],
)
def test_unknown_words_are_one_line(results, wanted, message):
    with pytest.raises(UserError) as error:
        listed(results, **wanted)
    assert message in str(error.value) and "\n" not in str(error.value)


def csv_rows(results: Results, **wanted) -> list[dict[str, str]]:
    out = io.StringIO()
    write_csv(select(read_clip_list(results), Wanted(**wanted), Verdict()), out)
    return list(csv.DictReader(io.StringIO(out.getvalue())))


def test_csv_is_no_formula_and_keeps_one_line_per_clip(results):
    rows = csv_rows(results)
    assert len(rows) == len(listed(results))
    ids = {row["clip_id"] for row in rows}
    assert {"'=1+1", "'-9x", "'@SUM(A1)", "''q", "x,\"y'", r"two\nlines\r", r"\u202etxt.exe"} <= ids
    for row in rows:
        texts = [row[name] for name in ("clip_id", "class", "file", "message", "copy_of")]
        assert all(
            text.isprintable() and not text.startswith(("=", "+", "-", "@")) for text in texts
        )


@given(st.text())
def test_what_is_shown_has_no_control_characters(text):
    assert harmless(text).isprintable()
    assert harmless(text) == text or not text.isprintable()


def test_lines_fit_the_terminal(results):
    from rich.cells import cell_len

    for width in (40, 80, 200):
        shown = list(lines(read_clip_list(results), width))
        assert len(shown) == len(listed(results)) + 1
        assert all(cell_len(line) <= width and line.isprintable() for line in shown)


def command(results: Results, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "nano4m_audio.cli", "clips", str(results), *arguments]


def on_terminal(words: list[str]) -> str:
    """What a command writes to a terminal."""
    main, side = pty.openpty()
    with subprocess.Popen(words, stdout=side, stderr=subprocess.DEVNULL) as process:
        os.close(side)
        parts = []
        while True:
            try:
                part = os.read(main, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            parts.append(part)
    os.close(main)
    assert process.returncode == 0
    return b"".join(parts).decode().replace("\r\n", "\n")


def test_a_table_on_a_terminal_and_csv_elsewhere(results, tmp_path):
    table = on_terminal(command(results, "--rejected"))
    assert table.startswith("clip id") and "\x1b" not in table and "\x07" not in table
    assert all(line.isprintable() for line in table.splitlines())
    piped = subprocess.run(
        command(results, "--rejected"), capture_output=True, text=True, check=True
    )
    assert piped.stdout.startswith("clip_id,class,source,file,state")
    assert piped.stderr.endswith("clips\n")
    assert on_terminal(command(results, "--rejected", "--csv")) == piped.stdout
    out = tmp_path / "clips.csv"
    subprocess.run(command(results, "--rejected", "--out", str(out)), check=True)
    assert out.read_text("utf-8") == piped.stdout


def test_head_is_no_error(results):
    pipe = subprocess.run(
        f"{sys.executable} -m nano4m_audio.cli clips {results} | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert pipe.returncode == 0 and "Traceback" not in pipe.stderr


def test_it_needs_no_more_than_verdicts(tmp_path):
    inputs = write_results(tmp_path, default_fates(CLASSES), runs=())
    set_shards(inputs.results, 2)
    results = Results(inputs.results)
    for folder in ("labels", "tokens"):
        for path in (inputs.results / folder).rglob("*.parquet"):
            path.unlink()
    results.split.unlink()
    rows = read_clip_list(results).to_pylist()
    assert {row["state"] for row in rows} == {"kept", "rejected"}
    Path(results.table("verdicts", "0000")).unlink()
    with pytest.raises(UserError, match="verdicts/0000.parquet does not exist"):
        read_clip_list(results)


def test_no_torch_and_no_model():
    code = (
        "import sys, nano4m_audio.upkeep.clip_list as c; from nano4m_audio.cli import tools\n"
        "assert not {'torch', 'transformers', 'snakemake'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_as_the_file_to_write_is_said(results, tmp_path):
    done = CliRunner().invoke(app, ["clips", str(results.root), "--out", str(tmp_path)])
    assert isinstance(done.exception, UserError)
    assert f"--out {tmp_path} is a folder: name a file in it" in str(done.exception)
