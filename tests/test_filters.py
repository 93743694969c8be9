"""Filters are rows of one table: one more row is a filter everywhere, and reasons have words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nano4m_audio
from nano4m_audio.filters import CATALOGUE, COLUMNS, FILTERS, LISTED
from nano4m_audio.reasons import Reason

PACKAGE = Path(nano4m_audio.__file__).parent
CLIPPING = """
    Filter(
        column="peak_dbfs",
        key="peak_max_dbfs",
        side="max",
        default=None,
        limits=(-120, 0),
        unit="dBFS",
        reason="clipped",
        meaning="the sound is as loud as a sample can be",
        title="Peak",
        number="peak of the samples",
        passed="Not clipped",
        failed="clipped sound",
    ),
)

#: In the order in which config"""


def test_every_reason_has_words_and_its_place():
    names = list(CATALOGUE)
    assert {*map(str, Reason), *(row.reason for row in FILTERS)} == set(names)
    assert all(text and text[0].islower() and not text.endswith(".") for text in CATALOGUE.values())
    wanted = ["missing_file", "interrupted", "silent", "speech", "duplicate", "label_failed"]
    assert sorted(wanted, key=names.index) == wanted


def test_no_two_filters_share_a_reason_or_a_threshold():
    for field in ("reason", "key", "title", "passed"):
        values = [getattr(row, field) for row in FILTERS]
        assert len(set(values)) == len(values), field
    assert sorted(LISTED, key=FILTERS.index) == list(FILTERS)
    assert set(COLUMNS) == {row.column for row in FILTERS}


def test_one_more_row_is_a_filter_everywhere(tmp_path):
    """The package as it would be with one row added to filters.py and nothing else changed."""
    package = tmp_path / "nano4m_audio"
    package.mkdir()
    for path in PACKAGE.iterdir():
        (package / path.name).symlink_to(path)
    text = (PACKAGE / "filters.py").read_text("utf-8")
    assert text.count("\n)\n\n#: In the order in which config") == 1
    (package / "filters.py").unlink()
    (package / "filters.py").write_text(
        text.replace("\n)\n\n#: In the order in which config", CLIPPING), "utf-8"
    )
    paths = [str(tmp_path), str(Path(__file__).parents[1])]
    code = "import sys; from tests.test_filters import follow; follow(sys.argv[1])"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def follow(folder: str) -> None:
    """Take the added filter through config, verdict, funnel and report."""
    import pytest

    from nano4m_audio.config.reading import describe, parse_workflow
    from nano4m_audio.curate.verdict import verdicts
    from nano4m_audio.errors import UserError
    from nano4m_audio.paths import Results
    from nano4m_audio.report import funnel
    from nano4m_audio.report.inputs import read_clips
    from nano4m_audio.report.stage import build_report
    from nano4m_audio.tables import read_rows, write_rows
    from tests.curate.test_verdict import make_tables
    from tests.report.fake import Fate, write_results

    assert ("verdict.peak_max_dbfs", "null", "largest peak of the samples [dBFS]") in describe()
    with pytest.raises(UserError, match="verdict.peak_max_dbfs = 3: .* less than or equal to 0"):
        parse_workflow({"verdict": {"peak_max_dbfs": 3}})
    with pytest.raises(UserError, match="did you mean 'peak_max_dbfs'"):
        parse_workflow({"verdict": {"peak_mx_dbfs": -1}})
    values = {"verdict": {"peak_max_dbfs": -0.5}}

    tables = Path(folder) / "tables"
    make_tables(tables, {"quiet": [0.9], "loud": [0.9], "other": [0.1]})
    clips = read_rows(tables / "clips/0000.parquet", "clips")
    peaks = [{**row, "peak_dbfs": peak} for row, peak in zip(clips, (-3.0, 0.0, 0.0), strict=True)]
    write_rows(tables / "clips/0000.parquet", "clips", peaks)
    verdicts(Results(tables), "0000", parse_workflow(values).verdict)
    rows = read_rows(tables / "verdicts/0000.parquet", "verdicts")
    assert [row["reasons"] for row in rows] == [[], ["clipped"], ["audio_low", "clipped"]]
    assert [row["peak_dbfs"] for row in rows] == [-3.0, 0.0, 0.0]

    fates = [Fate("pig"), Fate("pig"), Fate("cow", "clipped"), Fate("cow", "silent", ("clipped",))]
    inputs = write_results(Path(folder), fates, config=values)
    found = read_clips(inputs.results)
    steps = {step.stop: step for step in funnel.steps(found, inputs.config["verdict"])}
    assert (steps["clipped"].lost, steps["clipped"].name) == (1, "Not clipped")
    assert [(r.reason, r.first, r.any) for r in funnel.reason_counts(found)] == [
        ("silent", 1, 1),
        ("clipped", 1, 2),
    ]
    build_report(inputs, Path(folder) / "report.html", with_examples=False)
    page = (Path(folder) / "report.html").read_text("utf-8")
    for words in (
        "Not clipped",
        "clipped sound</th>",
        "<td>the sound is as loud as a sample can be</td>",
        "<b>Peak</b>",
        "peak of the samples [dBFS]; kept up to the line",
    ):
        assert words in page, words
