"""Pictures and sounds of clips: reused, resumed, removed; and which clips get them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.browser.choose import choose
from nano4m_audio.browser.inputs import page_inputs, shard_inputs
from nano4m_audio.browser.media import CLIP_ENDINGS
from nano4m_audio.browser.stage import build_page, show_shard
from nano4m_audio.config.curate import Verdict
from nano4m_audio.config.schema import ClipMediaSettings, ClipsPageSettings
from nano4m_audio.errors import UserError
from nano4m_audio.media.stored import read_frame
from nano4m_audio.paths import Results
from nano4m_audio.report.inputs import Clip
from nano4m_audio.shards import set_shards
from tests.browser.test_maps import write_scores
from tests.report.fake import HOSTILE, Fate, write_results

FATES = [
    Fate("dog"),
    Fate("cat", "speech"),
    Fate("pig", "clips"),
    Fate("dog", "duplicate", copy_of=0),
    Fate("cow", split="test", name=HOSTILE + "/../../etc"),
    Fate("cow", "label"),
]


@pytest.fixture
def results(tmp_path) -> Results:
    write_results(tmp_path, FATES, heavy=True, runs=())
    set_shards(tmp_path / "results", 2)
    return Results(tmp_path / "results")


def make_all(results: Results, **settings: Any) -> dict[str, dict[str, str]]:
    """The indexes of all shards."""
    found: dict[str, dict[str, str]] = {}
    for shard in results.shards:
        show_shard(results, shard, ClipMediaSettings(**settings))
        found |= json.loads(results.clip_media(shard).read_text())
    return found


def files(results: Results) -> dict[Path, int]:
    """Every file of media and when it was written."""
    folder = results.clip_media("0").parent
    return {p: p.stat().st_mtime_ns for p in folder.glob("*/*") if p.is_file()}


def test_every_decoded_clip_has_media_and_its_names_are_digests(results):
    index = make_all(results)
    assert set(index) == {"clip0000", "clip0001", "clip0003", HOSTILE + "/../../etc", "clip0005"}
    assert set(index["clip0000"]) == {"clip", "depth", "normals"}
    assert set(index["clip0001"]) == {"clip"}, "a rejected clip is seen and heard, too"
    assert set(index["clip0005"]) == {"clip"}, "maps that failed are not shown"
    assert all(re.fullmatch(r"[0-9a-f]{32}[a-z-]*\.(jpg|mp3)", p.name) for p in files(results))
    strip = read_frame(
        (results.root / "clips_media/0000" / f"{index['clip0000']['clip']}.jpg").read_bytes()
    )
    assert strip.shape == (160, 480, 3)


def test_a_second_job_and_another_threshold_write_nothing(results):
    first, before = make_all(results), files(results)
    assert make_all(results) == first and files(results) == before
    assert make_all(results, verdict={"audio_min": 0.9}) == first and files(results) == before


def test_what_is_missing_is_made_again_and_what_no_clip_names_goes(results):
    index = make_all(results)
    before = files(results)
    lost = results.root / "clips_media/0000" / f"{index['clip0000']['clip']}{CLIP_ENDINGS[1]}"
    data = lost.read_bytes()
    lost.unlink()
    (lost.parent / ".x.mp3.tmp.elsewhere-1").write_bytes(b"")
    (lost.parent / "0123.jpg").write_bytes(b"")
    make_all(results)
    after = files(results)
    assert lost.read_bytes() == data
    assert {p for p in before if after[p] != before[p]} <= {
        lost.parent / f"{index['clip0000']['clip']}{ending}" for ending in CLIP_ENDINGS
    }
    assert not (lost.parent / "0123.jpg").exists()


def test_fewer_clips_leave_fewer_files(results):
    make_all(results)
    many = files(results)
    assert len(make_all(results, clips=2)) == 2
    assert set(files(results)) < set(many)
    assert make_all(results, clips=0) == {} and not files(results)


def test_media_of_shards_that_are_gone_go_with_the_page(results):
    make_all(results)
    old = results.root / "clips_media" / "0007"
    old.mkdir()
    (old / "a.jpg").write_bytes(b"")
    results.clip_media("0007").write_text("{}")
    build_page(results, ClipsPageSettings())
    assert not old.exists() and not results.clip_media("0007").exists()
    assert results.clip_media("0001").exists()


def test_without_an_index_the_page_is_one_line_of_error(results):
    with pytest.raises(UserError, match="browse media --shard 0000"):
        build_page(results, ClipsPageSettings())


def test_the_inputs_are_what_is_there(results):
    make_all(results)
    write_scores(results, ["clip0000"])
    assert all(path.exists() for path in page_inputs(results))
    assert set(shard_inputs(results, "0001")) < set(page_inputs(results))


def clip(number: int, class_name: str, reason: str | None, score: float) -> Clip:
    verdict = {"clip_key": f"key{number}", "accepted": not reason, "audio_score": score}
    reasons = (reason,) if reason else ()
    name = f"clip{number}"
    return Clip(name, name, class_name, "", "", "0000", "", reasons, "", verdict, {}, {})


@given(
    kinds=st.lists(
        st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 0.29)), max_size=40
    ),
    most=st.integers(0, 45),
    data=st.data(),
)
def test_choice_is_within_its_limit_in_order_and_prefers_what_tells(kinds, most, data):
    clips = [
        clip(i, name, "audio_low" if lost else None, score)
        for i, (name, lost, score) in enumerate(kinds)
    ]
    ids = [c.clip_id for c in clips]
    mistakes = set(data.draw(st.lists(st.sampled_from(ids)))) if ids else set()
    chosen = choose(clips, most, mistakes, set(), Verdict())
    assert len(chosen) == min(most, len(clips))
    assert [c.clip_id for c in chosen] == [i for i in ids if i in {c.clip_id for c in chosen}]
    assert chosen == choose(clips, most, mistakes, set(), Verdict())
    assert len(mistakes & {c.clip_id for c in chosen}) >= min(len(mistakes), most // 4)
    lost = sorted((0.3 - c.verdict["audio_score"], c.clip_id) for c in clips if c.reasons)
    if lost and most >= 4 and len(clips) > most:
        assert min(lost)[1] in {c.clip_id for c in chosen} or mistakes


def test_without_a_limit_all_decoded_clips_are_chosen():
    clips = [clip(i, "a", None, 0.5) for i in range(9)]
    assert choose(clips, None, set(), set(), Verdict()) == clips
