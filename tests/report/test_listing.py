"""What the funnel cannot count: files left out, clips that were cut, videos that are not known."""

from __future__ import annotations

import html

import pytest

from nano4m_audio.files import write_json
from nano4m_audio.report.inputs import shard_files
from nano4m_audio.report.stage import build_report
from nano4m_audio.tables import read_rows, write_rows
from nano4m_audio.taxonomy import class_names
from tests.report.fake import default_fates, write_results

KNOWN = "No group crosses splits, and no video does."


@pytest.fixture
def usual(tmp_path):
    return write_results(tmp_path, default_fates(class_names(), 2))


def _page(inputs, tmp_path) -> str:
    build_report(inputs, tmp_path / "report.html", with_examples=False)
    return html.unescape((tmp_path / "report.html").read_text("utf-8"))


def _listing(inputs, left_out=(), **video_ids):
    found = {
        "left_out": list(left_out),
        "video_ids": {"list": 0, "name": 0, "file": 0, **video_ids},
    }
    write_json(inputs.results / "candidates" / "listing.json", found)


def test_the_split_claims_no_more_than_names_tell(usual, tmp_path):
    _listing(usual, list=20)
    assert KNOWN in _page(usual, tmp_path)
    _listing(usual, list=5, name=8, file=7)
    page = _page(usual, tmp_path)
    assert KNOWN not in page
    assert "7 of 20 clips count as a video of its own" not in page
    assert "7 of 20 clips count as videos of their own" in page
    assert "The video of 8 clips is taken from the name of the file" in page
    _listing(usual, file=20)
    page = _page(usual, tmp_path)
    assert KNOWN not in page
    assert "every clip counts as a video of its own" in page


def test_what_was_left_out_is_named(usual, tmp_path):
    kinds = [{"why": ".jpg file", "files": 1200, "example": "dog/<b>.jpg"}]
    _listing(usual, kinds, list=20)
    assert "no candidates: 1,200 x .jpg file (such as dog/<b>.jpg)" in _page(usual, tmp_path)


def test_cut_clips_are_counted(usual, tmp_path):
    assert "cut there" not in _page(usual, tmp_path)
    lengths = [(30.0, 3600.0), (30.0, None), (30.0, 30.03), (12.0, 12.0), (30.0, 31.0)]
    for shard in shard_files(usual.results / "clips"):
        path = usual.results / "clips" / f"{shard}.parquet"
        rows = read_rows(path, "clips")
        for row in rows:
            if row["status"] == "ok" and lengths:
                row["duration_s"], row["source_duration_s"] = lengths.pop()
        write_rows(path, "clips", rows)
    assert not lengths
    assert "3 clips were longer than 30 s and were cut there." in _page(usual, tmp_path)


def test_lists_show_what_became_of_their_rows(usual, tmp_path):
    _listing(usual, list=20)
    assert 'id="lists"' not in _page(usual, tmp_path)
    fault = {"why": "unknown class", "rows": 30, "lines": [*range(2, 22)], "example": "'<script>'"}
    entry = {
        "list": "<b>/mine.csv", "source": "m<i>ne", "rows": 1057, "clips": 1000, "joined": 20,
        "conflicts": 4, "others": 3, "bad": 30, "faults": [fault],
    }  # fmt: skip
    found = {
        "lists": [entry, {**entry, "list": "two.csv", "faults": []}],
        "sources": [{"sources": "audioset + vggsound", "clips": 12}],
        "conflicts": [{"classes": ["dog", "cat"], "rows": 4}],
        "video_ids": {"list": 20},
    }
    write_json(usual.results / "candidates" / "listing.json", found)
    build_report(usual, tmp_path / "report.html", with_examples=False)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "<script>'" not in text and "<b>/mine.csv" not in text and "m<i>ne" not in text
    page = html.unescape(text)
    assert page.index('id="lists"') < page.index('id="funnel"')
    assert "2,114 rows name 2,000 clips" in page and "dog and cat" in page
    assert "lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 20 more" in page and "'<script>'" in page
