"""Leaks: planted copies are found, clips of a dull world are not, and their effect is measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.evaluate.beside import nearest_train
from nano4m_audio.evaluate.common import ACCURACY, NATS, Measured
from nano4m_audio.evaluate.leak import Leaks, _rows, find_leaks
from nano4m_audio.paths import Results
from nano4m_audio.tables import write_rows


def near(picture: float | None, sound: float | None, same: bool | None = False) -> dict[str, Any]:
    return {"clip": "t", "picture": picture, "sound": sound, "same_group": same}


def usual(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Nearest clips of other videos: alike by chance."""
    values = np.random.default_rng(seed).uniform(0.3, 0.7, (n, 2))
    return [near(*row) for row in values.tolist()]


@given(st.integers(0, 200), st.integers(12, 60), st.randoms(use_true_random=False))
def test_planted_copies_are_found_and_nothing_else(seed, n, random):
    copies = [near(0.999, 0.998), near(1.0, 1.0), near(0.2, 0.1, same=True)]
    clips = [*((facts, False) for facts in usual(n, seed)), *((facts, True) for facts in copies)]
    random.shuffle(clips)
    found = find_leaks([facts for facts, _ in clips])
    assert found.leaked.tolist() == [leaked for _, leaked in clips]
    assert found.measured == n + 3 and f"leaked are 3 of {n + 3} clips" in found.words


def test_only_clips_alike_in_picture_and_sound_are_copies():
    found = find_leaks([*usual(30), near(1.0, 0.4), near(0.4, 1.0)])
    assert not found.leaked.any() and found.words.startswith("no leaked clips: none of 32 clips")


def test_many_copies_do_not_make_copies_usual():
    """As in a split by clips, where most videos are in train and test."""
    found = find_leaks([*usual(12), *(near(1.0, 1.0, same=True) for _ in range(50)), near(1, 1)])
    assert found.leaked.tolist() == [False] * 12 + [True] * 51
    unlinked = find_leaks([*usual(12), *(near(1.0, 0.995) for _ in range(50))])
    assert unlinked.leaked.tolist() == [False] * 12 + [True] * 50


def test_what_was_not_measured_is_said():
    nothing = find_leaks([near(None, None, None)] * 5)
    assert not nothing.leaked.any() and nothing.words.startswith("no leak was looked for")
    # Without sound only the video tells.
    found = find_leaks([near(None, None, True), *usual(10), near(float("nan"), 0.5)])
    assert found.leaked.tolist() == [True] + [False] * 11 and found.measured == 11


def inputs(n: int) -> Any:
    return SimpleNamespace(groups=np.arange(n), confidence=0.95, bootstrap=300, seed=0)


@pytest.mark.parametrize(("unit", "sign"), [(NATS, -1), (ACCURACY, 1)])
def test_the_effect_is_by_how_much_leaked_clips_do_better(unit, sign):
    rng, leaked, ones = np.random.default_rng(1), np.arange(60) < 20, np.ones(60, np.int64)
    if unit == NATS:
        values = 5 - 1.0 * leaked + 0.2 * rng.normal(size=60)
    else:
        values = np.where(leaked, rng.random(60) < 0.9, rng.random(60) < 0.2).astype(int)
    own, other = Measured("m", values, ones, "how"), Measured("m_unigram", ones + 4.0, ones, "")
    rows = {row["name"]: row for row in
            _rows(inputs(60), Leaks(leaked, 0.8, 60), own, other, unit, 0.1)}  # fmt: skip
    truth = sign * (values[leaked].mean() - values[~leaked].mean())
    effect = rows["m_effect"]
    assert effect["value"] == pytest.approx(truth) and effect["value"] > 0.5
    assert 0 < effect["low"] < truth < effect["high"] and effect["p"] < 0.001
    assert rows["m_without"]["value"] == pytest.approx(values[~leaked].mean())
    assert rows["m_without"]["n"] == 40 and rows["m"]["n"] == 60
    assert "leaked are 20 of 60 clips" in rows["m"]["note"]
    few = Leaks(np.arange(60) < 5, 0.8, 60)
    found = {row["name"]: row for row in _rows(inputs(60), few, own, other, unit, 0.1)}
    assert found["m_effect"]["low"] is found["m_effect"]["p"] is None


def test_where_all_clips_are_alike_no_interval_is_claimed():
    ones, leaked = np.ones(40, np.int64), np.arange(40) < 20
    own, other = Measured("m", ones, ones, ""), Measured("m_unigram", 0 * ones, ones, "")
    effect = _rows(inputs(40), Leaks(leaked, 0.8, 40), own, other, ACCURACY, 0.1)[-1]
    assert (effect["value"], effect["low"], effect["high"], effect["p"]) == (0, None, None, 1)


def test_without_leaks_there_is_no_effect():
    ones = np.ones(12, np.int64)
    own, other = Measured("m", ones, ones, ""), Measured("m_unigram", ones, ones, "")
    rows = _rows(inputs(12), Leaks(ones < 0, 0.8, 12), own, other, NATS, 1.0)
    assert [row["name"] for row in rows] == ["m", "m_unigram"]


def test_the_nearest_training_clip_is_read_from_the_split(tmp_path):
    def row(clip: str, video: str, group: str, nearest: str = "") -> dict[str, Any]:
        return {"clip_id": clip, "video_id": video, "group": group, "nearest_train": nearest,
                "nearest_picture": 0.5 if nearest else None,
                "nearest_sound": 0.25 if nearest else None}  # fmt: skip

    rows = [row("t1", "v1", "g1"), row("t2", "v2", "g2")]
    rows += [row("a", "v1", "ga", "t1"), row("b", "vb", "g2", "t2")]
    rows += [row("c", "vc", "gc", "t2"), row("d", "vd", "gd")]
    write_rows(tmp_path / "split.parquet", "split", rows)
    found = nearest_train(Results(tmp_path), ["d", "c", "b", "a"])
    assert [facts["same_group"] for facts in found] == [None, False, True, True]
    assert [facts["clip"] for facts in found] == [None, "t2", "t2", "t1"]
    assert found[1]["picture"] == 0.5 and found[0]["sound"] is None
