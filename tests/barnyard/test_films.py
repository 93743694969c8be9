"""The plan of a world, and films that have the defect they claim."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.barnyard.build import build
from nano4m_audio.barnyard.film import film, pictures, sound_track
from nano4m_audio.barnyard.hard import IMPOSTORS, PICTURE_TROUBLES, SOUND_TROUBLES, TROUBLES
from nano4m_audio.barnyard.streams import CLASSES
from nano4m_audio.barnyard.world import DEFECTS, DUPLICATES, plan_world

WORLD: dict[str, Any] = {
    "purpose": "test", "seed": 2, "clips": 40, "clip_s": 4.5, "fps": 4.0, "defect_fraction": 0.5,
    "workers": 1,
}  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(22, 120), st.floats(0, 0.6))
def test_plans_hold_what_they_promise(seed, clips, defects):
    plans = plan_world("test", seed, clips, 6.0, defects)
    assert plans == plan_world("test", seed, clips, 6.0, defects)
    assert len(plans) == clips == len({plan.file for plan in plans})
    kinds = Counter(plan.kind for plan in plans)
    assert sum(kinds[kind] for kind in DEFECTS) == round(clips * defects)
    good = {plan.file: plan for plan in plans if plan.kind == "good"}
    counts = Counter(plan.class_name for plan in good.values())
    assert max(counts.values()) - min(counts[name] for name in CLASSES) <= 6
    for plan in plans:
        assert len(plan.video_id) == 11
        assert (plan.kind in DUPLICATES) == bool(plan.duplicate_of)
        if plan.duplicate_of:
            original = good[plan.duplicate_of]
            assert original.class_name == plan.class_name
            assert original.video_id != plan.video_id


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(22, 120), st.floats(0, 0.4), st.floats(0, 0.6))
def test_hard_clips_are_graded_and_change_no_other(seed, clips, defects, hard):
    plans = plan_world("test", seed, clips, 6.0, defects, hard)
    assert len(plans) == clips == len({plan.file for plan in plans})
    own = [plan for plan in plans if not plan.duplicate_of]
    kinds = Counter(plan.known_as for plan in own)
    n_hard, n_impostors = round(clips * hard), round(clips * hard) // 3
    assert sum(kinds[kind] for kind in IMPOSTORS) == n_impostors
    assert sum(kinds[kind] for kind in TROUBLES) == n_hard - n_impostors
    assert max(kinds[kind] for kind in TROUBLES) - min(kinds[kind] for kind in TROUBLES) <= 1
    for plan in own:
        assert (
            (0 < plan.hard < 1) == bool(plan.trouble) == (plan.known_as in (*TROUBLES, *IMPOSTORS))
        )
        assert (plan.expected == "keep") == (plan.known_as in ("good", *TROUBLES))
    by_file = {plan.file: plan for plan in plans}
    for plan in plans:
        if plan.duplicate_of:
            original = by_file[plan.duplicate_of]
            assert (plan.trouble, plan.hard) == (original.trouble, original.hard)
    if not n_hard:
        assert plans == plan_world("test", seed, clips, 6.0, defects)


def first_picture(plan):
    return next(pictures(plan, 1.0, [])).astype(int)


@pytest.mark.parametrize("trouble", [*PICTURE_TROUBLES, "look_alike"])
def test_trouble_in_the_picture_grows_and_leaves_the_sound(trouble):
    plan = plan_world("test", 4, 11, 4.5, 0.0)[3]
    worse = [replace(plan, trouble=trouble, hard=hard) for hard in (0.1, 0.9)]
    easy, hard = (np.abs(first_picture(p) - first_picture(plan)).mean() for p in worse)
    if trouble == "look_alike":  # painted like the animal the better the harder
        assert 0 < hard < easy
    elif trouble == "two_animals":  # a nearer one covers this one, or not
        assert hard > 0 < easy
    else:
        assert 0 < easy < hard
    assert np.array_equal(sound_track(worse[1])[0], sound_track(plan)[0])


@pytest.mark.parametrize("trouble", [*SOUND_TROUBLES, "imitation"])
def test_trouble_in_the_sound_grows_and_leaves_the_picture(trouble):
    plan = plan_world("test", 4, 11, 4.5, 0.0)[3]
    worse = [replace(plan, trouble=trouble, hard=hard) for hard in (0.1, 0.9)]
    sound = sound_track(plan)[0]

    def likeness(other):
        mine, its = (np.abs(np.fft.rfft(x.reshape(-1, 500))).ravel() for x in (sound, other))
        return np.corrcoef(mine, its)[0, 1]

    easy, hard = (likeness(sound_track(p)[0]) for p in worse)
    assert (easy < hard < 0.999) if trouble == "imitation" else (hard < easy < 0.9999)
    assert all(np.abs(sound_track(p)[0]).max() < 1 for p in worse)
    assert np.array_equal(first_picture(worse[1]), first_picture(plan))


def test_the_truth_says_how_hard_a_clip_is(tmp_path):
    settings_ = {**WORLD, "clips": 22, "defect_fraction": 0.1, "hard_fraction": 0.6, "fps": 3.0}
    build(tmp_path, **settings_)
    with open(tmp_path / "truth.csv", newline="") as handle:
        truth = list(csv.DictReader(handle))
    hard = {row["kind"]: float(row["hard"]) for row in truth}
    assert hard["good"] == 0 and 0 < hard["far"] < 1 and 0 < hard["imitation"] < 1
    expected = {row["kind"]: row["expected"] for row in truth}
    assert expected["far"] == "keep" and expected["imitation"] == "reject"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    build(folder, **WORLD)
    with open(folder / "truth.csv", newline="") as handle:
        return folder, list(csv.DictReader(handle))


def test_every_kind_is_there_and_every_listed_file_exists(world):
    folder, truth = world
    assert {row["kind"] for row in truth} == {"good", *DEFECTS}
    with open(folder / "clips.csv", newline="") as handle:
        clips = list(csv.DictReader(handle))
    assert [row["file"] for row in clips] == [row["file"] for row in truth]
    assert all((folder / row["file"]).is_file() for row in clips)
    assert set(clips[0]) == {"file", "class", "video_id", "start_s", "source"}


def streams(path):
    with av.open(str(path)) as container:
        kinds = [stream.type for stream in container.streams]
        frames = (
            [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
            if "video" in kinds
            else []
        )
    sound = np.zeros(0)
    if "audio" in kinds:
        with av.open(str(path)) as container:
            sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    return kinds, frames, sound


def test_defects_are_what_they_claim(world):
    folder, truth = world
    by_kind = {row["kind"]: row for row in truth}

    def look(kind):
        return streams(folder / by_kind[kind]["file"])

    kinds, frames, sound = look("good")
    assert kinds == ["video", "audio"]
    assert len(frames) == 18
    assert abs(len(sound) / 32_000 - 4.5) < 0.1
    assert frames[0].shape == (224, 224, 3)
    assert look("no_audio")[0] == ["video"]
    assert look("no_video")[0] == ["audio"]
    assert len(look("too_short")[1]) <= 2
    assert np.sqrt(np.mean(look("silent")[2] ** 2)) < 10 ** (-75 / 20)
    assert look("near_duplicate_resize")[1][0].shape == (160, 160, 3)
    assert (folder / by_kind["zero_bytes"]["file"]).stat().st_size == 0
    assert b"<html>" in (folder / by_kind["text_file"]["file"]).read_bytes()
    copy = by_kind["exact_duplicate"]
    assert (folder / copy["file"]).read_bytes() == (folder / copy["duplicate_of"]).read_bytes()
    mirror = by_kind["near_duplicate_mirror"]
    original = streams(folder / mirror["duplicate_of"])[1][0].astype(float)
    mirrored = streams(folder / mirror["file"])[1][0][:, ::-1].astype(float)
    assert np.abs(original - mirrored).mean() < 4
    whole = max((folder / row["file"]).stat().st_size for row in truth if row["kind"] == "good")
    assert (folder / by_kind["truncated"]["file"]).stat().st_size < 0.6 * whole


def test_a_finished_film_is_kept_and_another_recipe_is_filmed_again(tmp_path):
    plan = next(p for p in plan_world("test", 2, 22, 4.5, 0.0))
    path = film(plan, tmp_path, 4.0)
    data, stamp = path.read_bytes(), path.stat().st_mtime_ns
    film(plan, tmp_path, 4.0)
    assert path.stat().st_mtime_ns == stamp
    path.write_bytes(data[:1000])  # as an interrupted copy would be
    film(plan, tmp_path, 4.0)
    assert path.read_bytes() == data
    film(plan, tmp_path, 3.0)
    assert path.read_bytes() != data


def test_a_smaller_world_removes_the_films_of_the_larger_one(tmp_path):
    settings_ = {**WORLD, "clips": 11, "defect_fraction": 0.0, "fps": 3.0}
    build(tmp_path, **settings_)
    build(tmp_path, **{**settings_, "seed": 3})
    with open(tmp_path / "clips.csv", newline="") as handle:
        listed = {row["file"] for row in csv.DictReader(handle)}
    assert {f"media/{p.name}" for p in (tmp_path / "media").iterdir()} == listed
