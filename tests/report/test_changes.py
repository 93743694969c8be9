"""What a report says of the one before: counted rightly, stable, and never in the way."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.report.changes import Measured, Summary, collect, compare, summarise
from nano4m_audio.report.stage import build_report
from tests.report.fake import HOSTILE, Fate, foreign_scripts, write_results

FATES = [Fate("pig"), Fate("pig"), Fate("cow", "speech"), Fate("cow"), Fate("cow", "silent")]


def build(inputs) -> str:
    out = inputs.results / "report.html"
    build_report(inputs, out, with_examples=False)
    return out.read_text("utf-8")


def store(inputs) -> Path:
    return inputs.results / "store" / "report"


def second(tmp_path, fates=None, config=None):
    """A results folder of other tables that remembers the report of ``FATES``."""
    first = write_results(tmp_path / "one", FATES)
    build(first)
    moved = [Fate("pig"), Fate("pig", "speech"), Fate("cow"), Fate("cow"), Fate("cow", "audio_low")]
    inputs = write_results(tmp_path / "two", fates or moved, config=config)
    store(inputs).parent.mkdir(parents=True, exist_ok=True)
    store(first).rename(store(inputs))
    return inputs


def test_a_first_report_has_no_such_section_and_nor_has_the_same_again(tmp_path):
    inputs = write_results(tmp_path, FATES)
    first = build(inputs)
    assert 'id="changes"' not in first and build(inputs) == first


def test_clips_keys_and_metrics_that_differ_are_shown(tmp_path):
    inputs = second(tmp_path, config={"verdict": {"speech_max": 0.2}})
    path = inputs.results / "evaluation/base/classes.json"
    content = json.loads(path.read_text())
    for number in content["metrics"][:2]:
        number |= {"value": 0.9, "low": 0.85, "high": 0.95}
    content["metrics"][3] |= {"value": 0.7}
    path.write_text(json.dumps(content))
    found = collect(inputs)
    assert [(m.clip_id, m.before, m.now) for m in found.won] == [("clip0002", "speech", "complete")]
    assert [(m.clip_id, m.before, m.now) for m in found.lost] == [
        ("clip0001", "complete", "speech")
    ]
    assert found.classes == (("cow", 1, 1, 0, 2), ("pig", 2, 0, 1, 1))
    assert found.otherwise == 1  # silent before, a wrong sound now
    assert [(k.key, k.before, k.now) for k in found.config] == [
        ("verdict.speech_max", "0.0", "0.2")
    ]
    shown = {s.now.title: s.overlap for s in found.metrics}
    assert shown["Class from audio, top 1"] is False and shown["Class from RGB, top 1"] is True
    page = build(inputs)
    assert 'id="changes"' in page and ">apart<" in page and 'href="clips.html#clip0002"' in page


def test_made_anew_the_comparison_stays(tmp_path):
    inputs = second(tmp_path)
    page = build(inputs)
    assert 'id="changes"' in page and build(inputs) == page == build(inputs)
    assert len(list(store(inputs).glob("*.json"))) == 3  # two summaries, and which is which


def test_there_and_back_again(tmp_path):
    inputs = second(tmp_path)
    build(inputs)
    back = dataclasses.replace(inputs, results=tmp_path / "three" / "results")
    write_results(tmp_path / "three", FATES)
    store(back).parent.mkdir(parents=True)
    store(inputs).rename(store(back))
    found = collect(back)
    assert {m.clip_id for m in found.won} == {"clip0001"}
    assert {m.clip_id for m in found.lost} == {"clip0002"}


def damage_summary(folder: Path) -> None:
    for path in folder.glob("*.json"):
        if path.name != "last.json":
            path.write_text(path.read_text()[:50])


def other_format(folder: Path) -> None:
    for path in folder.glob("*.json"):
        if path.name != "last.json":
            path.write_text(json.dumps({**json.loads(path.read_text()), "format": 0}))


def no_summary(folder: Path) -> None:
    for path in folder.glob("*.json"):
        if path.name != "last.json":
            path.unlink()


@pytest.mark.parametrize(
    "damage",
    [
        damage_summary,
        other_format,
        no_summary,
        lambda folder: (folder / "last.json").write_text("{"),
        lambda folder: (folder / "last.json").write_text("[1]"),
        lambda folder: (folder / "last.json").write_text('{"now": "../../x", "before": ""}'),
        lambda folder: (folder / "last.json").write_bytes(b"\xff\xfe"),
    ],
)
def test_what_cannot_be_read_is_one_note_and_the_next_report_compares(tmp_path, damage):
    inputs = second(tmp_path)
    damage(store(inputs))
    page = build(inputs)
    assert page.count("there is nothing to compare with") == 1 and build(inputs) == page
    later = dataclasses.replace(inputs, config={**inputs.config, "n_shards": 3})
    assert [k.key for k in collect(later).config] == ["n_shards"]


def test_hostile_names_stay_text(tmp_path):
    fates = [Fate(HOSTILE, name=f"{HOSTILE}{i}") for i in range(3)]
    page = build(second(tmp_path, fates))
    assert foreign_scripts(page) == [] and "<img src=x" not in page
    assert "no candidate" in page


WORDS = st.sampled_from(["complete", "speech", "silent"])
CLIPS = st.dictionaries(
    st.sampled_from("abcdefg"), st.tuples(st.sampled_from(["pig", "cow"]), WORDS)
)


@given(before=CLIPS, now=CLIPS)
def test_the_counts_add_up(before, now):
    """By class and in sum, kept before + won - lost is kept now, if no clip changed its class."""
    now = {clip: (before.get(clip, row)[0], row[1]) for clip, row in now.items()}
    found = compare(
        Summary(clips=before, config={}, metrics={}), Summary(clips=now, config={}, metrics={})
    )
    kept = [sum(fate == "complete" for _, fate in clips.values()) for clips in (before, now)]
    assert kept[0] + len(found.won) - len(found.lost) == kept[1]
    assert all(old + won - lost == new for _, old, won, lost, new in found.classes)
    assert not {m.clip_id for m in found.won} & {m.clip_id for m in found.lost}
    assert found.otherwise >= 0
    assert (compare(Summary(clips=now, config={}, metrics={}),
                    Summary(clips=now, config={}, metrics={}))).won == ()  # fmt: skip


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_overlap_is_the_same_from_both_sides(ends):
    def metric(low, high, value):
        return Measured(title="t", unit="", value=value, low=low, high=high, n=9, first=True)

    one, other = (
        metric(min(ends[:2]), max(ends[:2]), 0.1),
        metric(min(ends[2:]), max(ends[2:]), 0.2),
    )
    sides = [
        compare(
            Summary(clips={}, config={}, metrics={"m": a}),
            Summary(clips={}, config={}, metrics={"m": b}),
        )
        .metrics[0]
        .overlap
        for a, b in ((one, other), (other, one))
    ]
    assert sides[0] == sides[1] == (max(one.low, other.low) <= min(one.high, other.high))


def test_a_summary_survives_being_written(tmp_path):
    now = summarise(write_results(tmp_path, FATES))
    again = Summary.model_validate_json(now.text)
    assert again == now and again.digest == now.digest
    number = now.metrics["classes.audio_top1"]
    retitled = now.metrics | {"classes.audio_top1": number.model_copy(update={"title": "other"})}
    assert now.model_copy(update={"metrics": retitled}).digest == now.digest
    moved = now.metrics | {"classes.audio_top1": number.model_copy(update={"value": 0.99})}
    assert now.model_copy(update={"metrics": moved}).digest != now.digest
    assert now.clips["clip0002"] == ("cow", "speech") and "classes.audio_top1" in now.metrics
