"""The section about the web: there when something was asked, loud about what is not known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.faults import classify
from nano4m_audio.fetch.ledger import Attempt, open_ledger
from nano4m_audio.paths import Results
from nano4m_audio.report.collect import collect
from nano4m_audio.report.stage import render
from nano4m_audio.taxonomy import class_names
from tests.report.fake import HOSTILE, default_fates, foreign_scripts, write_results
from tests.report.test_stage import Page

START = datetime(2026, 1, 1, tzinfo=UTC)
WALL = "Sign in to confirm you're not a bot"


@pytest.fixture
def inputs(tmp_path):
    return write_results(tmp_path, default_fates(class_names(), 1))


def write_ledger(inputs, *texts: str, every: timedelta = timedelta(minutes=1)) -> None:
    with open_ledger(Results(inputs.results).ledger) as ledger:
        for number, text in enumerate(texts):
            at = START + number * every
            row = Attempt(f"v{number}", 1, at, at, yt_dlp="2026.10.26")
            ledger.append(row.failed(classify(FetchError(text))) if text else row)


def test_without_a_ledger_there_is_no_section(inputs):
    assert "fetch" not in collect(inputs).sections


def test_a_good_run(inputs):
    write_ledger(inputs, *[""] * 9, "Private video")
    content = collect(inputs)
    text = render(content)
    page = Page(text)
    assert [(a.name, a.n) for a in content.sections["fetch"].answers] == [("ok", 9), ("private", 1)]
    assert "Fetching never had to stop." in page.text and 'class="bad">' not in text
    assert "90.0% ok" in page.text and "2026.10.26 (10 times)" in page.text
    assert "2026-01-01 00:00 UTC: 9 ok" in text and "UTC: 1 faults of videos" in text
    assert not any("answers" in warning for warning in content.warnings)
    assert render(collect(inputs)) == text


@pytest.mark.parametrize("every", [timedelta(minutes=10), timedelta(hours=30)])
def test_walls_and_unknown_answers_are_loud_and_harmless(inputs, every):
    write_ledger(inputs, "", WALL, WALL, WALL, HOSTILE, HOSTILE, every=every)
    content = collect(inputs)
    text = render(content)
    page = Page(text)
    assert "33.3% of the web's answers" in content.warnings[0]
    assert 'class="bad">' in text and "33.3% unknown: more than 2%" in page.text
    assert foreign_scripts(text) == [] and "alert(1)" in page.text
    assert "one video was tried" in page.text and "bot wall" in page.text
    assert ("days since 2026-01-01" in page.text) == (every > timedelta(hours=1))
