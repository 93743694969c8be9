"""The numbers of the page, against hand counts and invariants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.report import scores, split
from nano4m_audio.report.figures import label, ticks
from nano4m_audio.report.inputs import read_clips
from nano4m_audio.report.runs import thin
from nano4m_audio.report.scores import bin_edges, count_bins
from nano4m_audio.report.split import find_leak
from tests.report.fake import Fate, default_fates, write_results

VALUES = st.lists(st.floats(-1000, 1000, allow_nan=False), min_size=1, max_size=50)


@given(VALUES)
def test_every_value_is_in_exactly_one_bin(values):
    edges = bin_edges(values)
    counts = count_bins(values, edges)
    assert sum(counts) == len(values)
    assert edges[0] <= min(values) + 1e-6 and max(values) <= edges[-1] + 1e-6
    assert 1 <= len(counts) <= 26
    widths = [b - a for a, b in zip(edges, edges[1:], strict=False)]
    assert max(widths) - min(widths) < 1e-6 * max(1.0, widths[0])


def test_bins_are_half_open_and_forgive_single_precision():
    assert count_bins([0.0, 0.30000001192, 0.29, 1.0], [0.0, 0.3, 0.6, 0.9, 1.2]) == [2, 1, 0, 1]


@given(st.floats(-50, 50), st.floats(0.01, 100))
def test_ticks_are_round_and_inside(low, span):
    found = ticks(low, low + span)
    assert all(low - 1e-6 <= t <= low + span + 1e-6 for t in found)
    assert len(found) <= 6
    assert all(len(label(t)) <= 9 for t in found)


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=900))
def test_thinned_curves_keep_their_length_limit_their_end_and_their_range(points):
    kept = thin(points, 240)
    assert len(kept) == min(len(points), 240) and kept[-1] == points[-1]
    assert min(y for _, y in kept) >= min(y for _, y in points) - 1e-9
    assert max(y for _, y in kept) <= max(y for _, y in points) + 1e-9


def test_score_histograms_count_kept_and_dropped_clips(tmp_path):
    inputs = write_results(tmp_path, default_fates(("pig", "cow", "dog")))
    clips = inputs.clips
    sound, picture, speech, level = scores.histograms(inputs)  # nobody asked for the others
    scored = [c for c in clips if c.stop not in ("media", "clips")]
    for histogram in (sound, picture, speech, level):
        assert histogram.n == len(scored)
        assert sum(histogram.kept) == sum(c.accepted for c in clips)
    assert (sound.edges[0], sound.edges[-1]) == (0.0, 1.0)
    assert sound.threshold == inputs.config["verdict"]["audio_min"]


def test_splits_are_counted_and_crossing_groups_are_found(tmp_path):
    fates = [
        Fate("pig", split="train", group="a"),
        Fate("pig", split="test", group="a"),
        Fate("cow", split="val", group="b"),
        Fate("cow", split="val", group="b"),
        Fate("cow", "duplicate", copy_of=2),
    ]
    config = {"classes": ["pig", "cow", "lion"]}
    found = split.collect(write_results(tmp_path, fates, config=config))
    assert [(row.name, row.counts) for row in found.classes] == [
        ("pig", [1, 0, 1]),
        ("cow", [0, 2, 0]),
        ("lion", [0, 0, 0]),
    ]
    assert (found.total.counts, found.total.sum) == ([1, 2, 1], 4)
    assert sum(row.sum for row in found.sources) == 4
    assert found.crossing_groups == ["a"] and found.crossing_videos == []


def test_a_leak_needs_picture_and_sound_together(tmp_path):
    fates = [Fate("pig", split="test") for _ in range(3)]
    clips = read_clips(write_results(tmp_path, fates).results)
    for clip, (picture, sound) in zip(clips, [(0.99, 0.9), (0.99, 0.1), (0.2, 0.99)], strict=True):
        clip.split.update(nearest_picture=picture, nearest_sound=sound)  # type: ignore[attr-defined]
    found = find_leak(clips, {"picture_min": 0.9, "sound_min": 0.8})
    assert found.n == len(found.points) == 3
    assert found.copies == [clips[0].clip_id]


def test_without_test_clips_no_leak_is_measured(tmp_path):
    clips = read_clips(write_results(tmp_path, [Fate("pig")]).results)
    assert find_leak(clips, {}) is None


def test_labels_are_short():
    assert [label(v) for v in (0, 0.25, -60.0, 1000, 20000)] == ["0", "0.25", "−60", "1,000", "20k"]


@pytest.mark.parametrize("value", [0.5, -20.0])
def test_one_single_value_still_gets_a_bin(value):
    assert sum(count_bins([value], bin_edges([value]))) == 1
