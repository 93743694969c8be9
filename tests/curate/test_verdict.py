"""Thresholds: every reason, a null switches off, the best window and its keyframes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nano4m_audio.config.curate import Verdict
from nano4m_audio.config.reading import parse_workflow
from nano4m_audio.curate.verdict import failed_filters, verdicts
from nano4m_audio.errors import UserError
from nano4m_audio.filters import FILTERS
from nano4m_audio.media import windows
from nano4m_audio.modalities import WINDOW_S
from nano4m_audio.paths import Results
from nano4m_audio.tables import read_rows, write_rows

GOOD = {"audio_score": 0.9, "visual_score": 0.9, "speech_fraction": 0.0, "level_dbfs": -20.0}
OFF = Verdict(audio_min=None, visual_min=None, speech_max=None, level_min_dbfs=None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"audio_score": 0.29}, "audio_low"),
        ({"visual_score": 0.24}, "visual_low"),
        ({"speech_fraction": 0.01}, "speech"),
        ({"level_dbfs": -61.0}, "silent"),
        ({"audio_score": None}, "audio_low"),
        ({"speech_fraction": None}, "speech"),
    ],
)
def test_each_filter_has_its_reason(change, reason):
    assert failed_filters(GOOD, Verdict().limits()) == []
    assert failed_filters({**GOOD, **change}, Verdict().limits()) == [reason]
    assert failed_filters({**GOOD, **change}, OFF.limits()) == []


def test_a_value_on_the_threshold_passes():
    values = {"audio_score": 0.3, "visual_score": 0.25, "speech_fraction": 0.0, "level_dbfs": -60.0}
    assert failed_filters(values, Verdict().limits()) == []


@pytest.mark.parametrize("row", FILTERS, ids=lambda row: row.key)
@given(st.data())
def test_of_every_filter_the_threshold_itself_passes_as_it_is_stored(row, data):
    """Tables keep float32: 0.7 comes back as 0.69999999. The next number on the bad side fails."""
    limit = data.draw(st.decimals(*row.limits, places=3).map(float))
    stored = np.float32(limit)
    beyond = np.nextafter(stored, np.float32(-np.inf if row.side == "min" else np.inf))
    assert not row.fails(float(stored), limit) and not row.fails(limit, limit)
    assert row.fails(float(beyond), limit)
    assert not row.fails(float(beyond), None)


def test_what_is_no_number_passes_no_filter():
    assert all(row.fails(float("nan"), 0.0) for row in FILTERS)
    everything = {row.column: float("nan") for row in FILTERS}
    limits = {row.key: 0.0 for row in FILTERS}
    assert len(failed_filters(everything, limits)) == len(FILTERS)
    assert failed_filters(everything, OFF.limits()) == []


def test_a_class_may_have_thresholds_of_its_own():
    verdict = Verdict(audio_min=0.5, per_class={"cat": {"audio_min": 0.2, "speech_max": None}})
    values = {**GOOD, "audio_score": 0.3, "speech_fraction": 0.9}
    assert failed_filters(values, verdict.limits("dog")) == ["audio_low", "speech"]
    assert failed_filters(values, verdict.limits("cat")) == []
    again = Verdict.model_validate_json(verdict.model_dump_json())
    assert again == verdict and again.limits("cat")["visual_min"] == 0.25


@pytest.mark.parametrize(
    ("own", "line"),
    [
        ({"cat": {"audio_mn": 0.2}}, "cat.audio_mn: unknown key, did you mean 'audio_min'"),
        ({"cat": {"audio_min": 1.5}}, "cat.audio_min = 1.5: from 0 to 1"),
        ({"act": {"audio_min": 0.2}}, "there is no class 'act', did you mean 'cat'"),
    ],
)
def test_wrong_thresholds_of_a_class_are_one_line(own, line):
    with pytest.raises(UserError, match=re.escape(line)):
        parse_workflow({"verdict": {"per_class": own}})


def test_a_filter_of_one_class_needs_its_scores_too():
    config = {
        "score": {"audio": {"backend": None}},
        "verdict": {"audio_min": None, "per_class": {"cat": {"audio_min": 0.2}}},
    }
    with pytest.raises(UserError, match=r"verdict.audio_min needs the scores of score.audio"):
        parse_workflow(config)


SCORE = st.floats(0, 1)


@given(SCORE, SCORE, SCORE, st.floats(-120, 0), SCORE, SCORE)
def test_a_looser_threshold_never_rejects_more(audio, visual, speech, level, low, high):
    values = dict(zip(GOOD, (audio, visual, speech, level), strict=True))
    low, high = min(low, high), max(low, high)
    strict = Verdict(audio_min=high, visual_min=high, speech_max=low)
    loose = Verdict(audio_min=low, visual_min=low, speech_max=high)
    assert set(failed_filters(values, loose.limits())) <= set(
        failed_filters(values, strict.limits())
    )


@given(st.floats(0, 26.5), st.floats(3.42, 30))
def test_there_are_always_ten_keyframes_inside_the_window(start_s, duration_s):
    times = np.arange(int(duration_s * 3)) / 3
    start_s = min(start_s, max(0.0, duration_s - WINDOW_S))
    picks = windows.window_keyframes(times, start_s, duration_s)
    assert len(picks) == 10
    assert picks == sorted(picks)
    assert all(start_s - 1e-3 <= times[i] < start_s + WINDOW_S for i in picks)
    assert len(set(picks)) >= 9


@given(st.lists(st.floats(0.05, 9.9), max_size=12), st.floats(0, 10 - WINDOW_S), st.floats(0, 0.02))
@example([5.0], 3.0, 0.0)  # two slides: the first one is on display for most of the window
@example([], 2.0, 0.0)
def test_a_picture_that_stays_counts_while_it_is_on_display(appear, start_s, late_s):
    """Frame i is what a film of ten seconds shows at i / 3 s, whenever that came up."""
    at = np.unique([late_s, *appear])
    shown_s = np.arange(30) / 3
    times = at[np.maximum(np.searchsorted(at, shown_s, side="right") - 1, 0)]
    picks = windows.window_keyframes(times, start_s, 10.0)
    assert len(picks) == 10 and picks == sorted(picks)
    assert all(start_s - 0.34 <= shown_s[i] < start_s + WINDOW_S + 0.34 for i in picks)
    assert len(set(picks)) >= 8


def test_ten_seconds_have_the_fourteen_windows_of_the_paper():
    assert windows.window_starts(10.0, 0.5).tolist() == [i / 2 for i in range(14)]
    assert windows.window_starts(3.0, 0.5).tolist() == [0.0]


def test_levels_and_cuts():
    assert windows.level_dbfs(np.zeros(100, np.float32)) == -120
    assert windows.level_dbfs(np.ones(100, np.float32)) == pytest.approx(0, abs=1e-6)
    assert windows.cut(np.ones(50_000, np.float32), 1.0).sum() == 18_000
    assert windows.cut(np.ones(200_000, np.float32), 0.0).shape == (109_227,)


def make_tables(folder, clips):
    """Tables of one shard; ``clips`` maps an id to its audio scores per window, or to a failure."""
    times = [i / 3 for i in range(18)]
    rows: dict[str, list] = {
        name: []
        for name in (
            "candidates",
            "media",
            "clips",
            "scores/audio",
            "scores/visual",
            "scores/speech",
        )
    }
    for clip_id, scores in clips.items():
        rows["candidates"].append({"clip_id": clip_id, "class_name": "pig"})
        failed = isinstance(scores, str)
        status = {
            "status": "failed" if failed else "ok",
            "reason": scores if failed else "",
            "message": "why",
        }
        media = scores == "missing_file"
        rows["media"].append(
            {"clip_id": clip_id, "key": "m", **(status if media else {"status": "ok"})}
        )
        if media:
            continue
        rows["clips"].append(
            {
                "clip_id": clip_id,
                "key": "c" + clip_id,
                **status,
                "duration_s": 6.0,
                "level_dbfs": -20.0,
                "frame_times_s": times,
            }
        )
        if failed:
            continue
        starts = [0.5 * i for i in range(len(scores))]
        rows["scores/audio"].append(
            {
                "clip_id": clip_id,
                "key": "a",
                "window_start_s": starts,
                "window_level_dbfs": [-20.0] * len(scores),
                "labels": ["dog", "pig"],
                "scores": [[1.0, s] for s in scores],
            }
        )
        rows["scores/visual"].append(
            {
                "clip_id": clip_id,
                "key": "v",
                "frame_times_s": times[:2],
                "labels": ["pig"],
                "cosines": [[0.4], [0.6]],
            }
        )
        rows["scores/speech"].append({"clip_id": clip_id, "key": "s", "speech_fraction": 0.0})
    for name, table in rows.items():
        write_rows(folder / name / "0000.parquet", name, table)


def test_every_candidate_has_one_row(tmp_path):
    make_tables(
        tmp_path,
        {"good": [0.1, 0.8, 0.8], "low": [0.1, 0.2], "gone": "missing_file", "cut": "truncated"},
    )
    verdicts(Results(tmp_path), "0000", Verdict())
    rows = {r["clip_id"]: r for r in read_rows(tmp_path / "verdicts/0000.parquet", "verdicts")}
    assert list(rows) == ["good", "low", "gone", "cut"]
    assert rows["good"]["accepted"]
    assert rows["good"]["window_start_s"] == 0.5  # the earliest of the best
    assert rows["good"]["audio_score"] == pytest.approx(0.8)
    assert rows["good"]["best_frame"] == 1
    assert rows["low"]["reasons"] == ["audio_low"]
    assert rows["gone"]["reasons"] == ["missing_file"]
    assert rows["cut"]["reasons"] == ["truncated"]
    assert rows["cut"]["message"] == "why"


def test_keyframes_can_be_spread_over_the_clip(tmp_path):
    make_tables(tmp_path, {"good": [0.9]})
    verdicts(Results(tmp_path), "0000", Verdict(keyframes_span="clip"))
    row = read_rows(tmp_path / "verdicts/0000.parquet", "verdicts")[0]
    assert row["keyframes"][0] == 0
    assert row["keyframes"][-1] == 17


def test_a_filter_is_off_for_a_class_that_its_model_does_not_know(tmp_path):
    make_tables(tmp_path, {"known": [0.1, 0.9], "silent": [0.1, 0.2]})
    for name in ("scores/audio", "scores/visual"):
        path = tmp_path / name / "0000.parquet"
        rows = read_rows(path, name)
        rows[0]["labels"] = ["dog", "cat"][: len(rows[0]["labels"])]
        write_rows(path, name, rows)
    verdicts(Results(tmp_path), "0000", Verdict())
    unknown, heard = read_rows(tmp_path / "verdicts/0000.parquet", "verdicts")
    assert unknown["accepted"] and unknown["reasons"] == []
    assert unknown["audio_score"] is None and unknown["visual_score"] is None
    assert heard["reasons"] == ["audio_low"]


def test_music_and_voice_over_reject_where_the_tagger_knows_them(tmp_path):
    """Whatever the class is: one that the tagger does not know is still free of music."""
    make_tables(tmp_path, {"loud": [0.9], "free": [0.9], "unheard": [0.9], "other": [0.9]})
    path = tmp_path / "scores/audio/0000.parquet"
    rows = read_rows(path, "scores/audio")
    rows[0] |= {"music_score": 0.7, "voice_over_score": 0.6}
    rows[1] |= {"music_score": 0.5, "voice_over_score": 0.4}
    rows[3] |= {"music_score": 0.7, "voice_over_score": 0.0, "labels": ["dog", "cat"]}
    write_rows(path, "scores/audio", rows)

    def reasons(**thresholds):
        verdicts(Results(tmp_path), "0000", Verdict(**thresholds))
        rows = read_rows(tmp_path / "verdicts/0000.parquet", "verdicts")
        assert rows[2]["music_score"] is None and rows[0]["music_score"] == np.float32(0.7)
        return [row["reasons"] for row in rows]

    assert reasons() == [[], [], [], []]
    assert reasons(music_max=0.5) == [["music"], [], [], ["music"]]
    both = {"music_max": 0.5, "voice_over_max": 0.4}
    assert reasons(**both) == [["music", "voice_over"], [], [], ["music"]]
    assert reasons(music_max=0.5, per_class={"pig": {"music_max": None}}) == [[], [], [], []]


def test_only_the_clips_of_that_class_get_another_verdict(tmp_path):
    make_tables(tmp_path, {"a": [0.25], "b": [0.9]})
    path = tmp_path / "candidates/0000.parquet"
    rows = read_rows(path, "candidates")
    rows[1]["class_name"] = "dog"  # whose audio score is 1
    write_rows(path, "candidates", rows)

    def judged(**own):
        verdicts(Results(tmp_path), "0000", Verdict(visual_min=None, per_class=own))
        rows = read_rows(tmp_path / "verdicts/0000.parquet", "verdicts")
        return [row["accepted"] for row in rows], rows

    before, rows = judged()
    assert before == [False, True]
    assert judged(pig={"audio_min": 0.25})[0] == [True, True]
    assert judged(cat={"audio_min": 0.9})[1] == rows
    assert judged(dog={"level_min_dbfs": -10})[0] == [False, False]
