"""The funnel adds up for any mixture of fates, and says so when tables contradict each other."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.errors import UserError
from nano4m_audio.report import funnel
from nano4m_audio.report.inputs import COMPLETE, STOPS, Clip, count_tokens, read_clips
from nano4m_audio.tables import read_rows, write_rows
from tests.report.fake import Fate, default_fates, write_results

CLASSES = ["pig", "cow", "lion"]
ALONE = [s for s in STOPS if s != "duplicate"]
FATES = st.builds(Fate, st.sampled_from(CLASSES[:2]), st.sampled_from([*ALONE, COMPLETE, COMPLETE]))


@settings(max_examples=20, deadline=None)
@given(st.lists(FATES, min_size=1, max_size=25), st.integers(1, 3))
def test_the_funnel_adds_up(fates, shards):
    with tempfile.TemporaryDirectory() as folder:
        inputs = write_results(Path(folder), fates, shards=shards, runs=())
        clips = read_clips(inputs.results)
    steps = funnel.steps(clips, inputs.config["verdict"])
    table = funnel.by_class(clips, CLASSES)
    wanted = sum(fate.stop == COMPLETE for fate in fates)
    assert steps[0].arriving == len(fates) and steps[-1].left == wanted
    for stop, step in zip(STOPS, steps, strict=True):
        assert step.lost == sum(fate.stop == stop for fate in fates)
    assert table[-1].complete == wanted
    assert sum(table[-1].lost.values()) + wanted == len(fates)
    assert [row.name for row in table[:-1]] == CLASSES


def test_overlaps_count_first_any_and_alone(tmp_path):
    fates = [
        Fate("pig", "silent", ("audio_low", "visual_low")),
        Fate("pig", "audio_low"),
        Fate("pig", "audio_low", ("visual_low",)),
        Fate("pig"),
    ]
    clips = read_clips(write_results(tmp_path, fates).results)
    rows = {r.reason: (r.first, r.any, r.alone) for r in funnel.reason_counts(clips)}
    assert rows == {"silent": (1, 1, 0), "audio_low": (2, 3, 1), "visual_low": (0, 2, 0)}


def test_tokens_are_counted_from_the_tables(tmp_path):
    inputs = write_results(tmp_path, [Fate("pig"), Fate("pig"), Fate("pig", "tokens")])
    complete = [clip for clip in read_clips(inputs.results) if clip.complete]
    totals = count_tokens(inputs.results, complete)
    assert totals == {"rgb": 3920, "audio": 1024, "depth": 3920, "normals": 3920, "caption": 8}


def test_a_lost_clip_is_an_error(tmp_path):
    clips = read_clips(write_results(tmp_path, default_fates(("pig", "cow"))).results)
    broken = [dataclasses.replace(clips[0], stop="nowhere"), *clips[1:]]
    with pytest.raises(funnel.FunnelError):
        funnel.steps(broken, {})
    with pytest.raises(funnel.FunnelError):
        funnel.by_class(broken, CLASSES)


@pytest.mark.parametrize("name", ["media", "verdicts", "selected", "tokens/depth"])
def test_a_missing_row_names_its_table(tmp_path, name):
    inputs = write_results(tmp_path, [Fate("pig"), Fate("pig")], shards=1)
    path = inputs.results / name / "0000.parquet"
    write_rows(path, name, read_rows(path, name)[1:])
    with pytest.raises(UserError, match=name):
        read_clips(inputs.results)


def test_a_split_of_an_unaccepted_clip_is_an_error(tmp_path):
    inputs = write_results(tmp_path, [Fate("pig"), Fate("pig", "silent")])
    path = inputs.results / "split.parquet"
    rows = read_rows(path, "split")
    write_rows(path, "split", [*rows, {**rows[0], "clip_id": "clip0001"}])
    with pytest.raises(UserError, match="not accepted"):
        read_clips(inputs.results)


def test_thresholds_of_single_classes_are_named(tmp_path):
    own = {"pig": {"audio_min": 0.2, "speech_max": None}, "cow": {}}
    inputs = write_results(tmp_path, [Fate("pig")], config={"verdict": {"per_class": own}})
    assert "Thresholds of their own: pig (audio_min 0.2, speech_max off)." in (
        funnel.collect(inputs).notes
    )


def test_segments_that_were_not_fetched_are_steps_of_their_own():
    stops = {"not_fetched_yet": "asked", "gone": "fetch", "restricted": "fetch", "silent": "silent"}
    clips = [
        Clip(
            clip_id=reason, video_id="", class_name="pig", source="", path="", shard="0000",
            stop=stop, reasons=(reason,), message="", verdict={}, split={}, token_keys={},
        )
        for reason, stop in stops.items()
    ]  # fmt: skip
    found = [(step.name, step.arriving, step.lost) for step in funnel.steps(clips, {})]
    assert found[:3] == [("Asked for", 4, 1), ("Fetched", 3, 2), ("File present", 1, 0)]
