"""Thresholds: every reason, a null switches off, the best window and its keyframes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.config.curate import Verdict
from nano4m_audio.curate.verdict import failed_filters, verdicts
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
    assert failed_filters(GOOD, Verdict()) == []
    assert failed_filters({**GOOD, **change}, Verdict()) == [reason]
    assert failed_filters({**GOOD, **change}, OFF) == []


def test_a_value_on_the_threshold_passes():
    values = {"audio_score": 0.3, "visual_score": 0.25, "speech_fraction": 0.0, "level_dbfs": -60.0}
    assert failed_filters(values, Verdict()) == []


SCORE = st.floats(0, 1)


@given(SCORE, SCORE, SCORE, st.floats(-120, 0), SCORE, SCORE)
def test_a_looser_threshold_never_rejects_more(audio, visual, speech, level, low, high):
    values = dict(zip(GOOD, (audio, visual, speech, level), strict=True))
    low, high = min(low, high), max(low, high)
    strict = Verdict(audio_min=high, visual_min=high, speech_max=low)
    loose = Verdict(audio_min=low, visual_min=low, speech_max=high)
    assert set(failed_filters(values, loose)) <= set(failed_filters(values, strict))


@given(st.floats(0, 26.5), st.floats(3.42, 30))
def test_there_are_always_ten_keyframes_inside_the_window(start_s, duration_s):
    times = np.arange(int(duration_s * 3)) / 3
    start_s = min(start_s, max(0.0, duration_s - WINDOW_S))
    picks = windows.window_keyframes(times, start_s)
    assert len(picks) == 10
    assert picks == sorted(picks)
    assert all(start_s - 1e-3 <= times[i] < start_s + WINDOW_S for i in picks)
    assert len(set(picks)) >= 9


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
