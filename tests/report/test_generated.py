"""What the model makes: text stays text, everything has a name, and the page keeps its budget."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

import pytest

from nano4m_audio.report import generated
from nano4m_audio.report.stage import build_report
from tests.report.fake import (
    HOSTILE,
    default_fates,
    foreign_scripts,
    write_generated,
    write_results,
)

CLIPS = [("clip0008", "pig"), (f"{HOSTILE}-\u202ertl", HOSTILE)]


@pytest.fixture
def inputs(tmp_path):
    found = write_results(tmp_path, default_fates(("pig", "cow", "dog"), 3))
    write_generated(found.results, CLIPS)
    return found


def page_of(inputs) -> str:
    build_report(inputs, inputs.results / "report.html", with_examples=False)
    return (inputs.results / "report.html").read_text()


def test_every_column_stands_in_its_place_and_hostile_text_stays_text(inputs):
    page = page_of(inputs)
    section = page.split('<section id="generated">')[1].split("</section>")[0]
    assert foreign_scripts(page) == [] and "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in section
    columns = re.findall(r"<figcaption>(\w+)</figcaption>", section)
    per_clip = Counter(columns)
    assert per_clip == {"given": 6, "made": 6, "true": 6, "ceiling": 4}
    assert columns[:3] == ["given", "made", "true"], "a text has no ceiling"
    assert section.count("<audio controls") == 2 + 3 * 2
    assert '"makings hears"' in section and '"makings heard"' in section
    assert "Nearest to its own clip in 1 of 2, no better than a guess." in section


def test_no_two_pictures_or_players_have_one_name(inputs):
    found = re.findall(r'<(?:img|audio) [^>]*?(?:alt|aria-label)="([^"]+)"', page_of(inputs))
    assert len(found) == len(set(found)) > 20


def test_the_page_stays_within_its_budget(inputs, monkeypatch):
    whole = inputs.generated
    assert whole.left_out == 0 and whole.size_bytes > 10_000
    monkeypatch.setattr(generated, "MOST_BYTES", whole.size_bytes - 1)
    cut = dataclasses.replace(inputs)
    assert cut.generated.left_out == 1 and [len(t.rows) for t in cut.generated.tasks] == [1, 1, 1]
    assert "1 more clip did not fit into a page of this size" in page_of(cut)


def test_without_generations_there_is_no_section(inputs, tmp_path):
    config = {**inputs.config, "generate": {**inputs.config["generate"], "clips": 0}}
    assert dataclasses.replace(inputs, config=config).generated is None
    other = {**inputs.config["report"], "experiment": "other"}
    assert dataclasses.replace(inputs, config={**inputs.config, "report": other}).generated is None
