"""Splits: no group is parted, fractions hold, every class is everywhere, order does not matter."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.curate.assign import SPLITS, assign_splits, measure_leak

#: (class, source, clips in the group) of one video, which may be linked to another by a copy.
GROUPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(1, 4)),
    min_size=1,
    max_size=120,
)


def _rows(groups) -> list[dict[str, str]]:
    return [
        {
            "clip_id": f"v{i}@{k}",
            "video_id": f"v{i}",
            "class_name": class_name,
            "source": source,
            "group": f"v{i}@0",
        }
        for i, (class_name, source, n) in enumerate(groups)
        for k in range(n)
    ]


@given(GROUPS, st.integers(0, 5), st.randoms(use_true_random=False))
def test_order_invariance_and_whole_groups(groups, seed, shuffler: random.Random):
    rows = _rows(groups)
    splits = assign_splits(rows, seed=seed)
    assert set(splits) == {row["clip_id"] for row in rows}
    assert set(splits.values()) <= set(SPLITS)
    by_group = defaultdict(set)
    for row in rows:
        by_group[row["group"]].add(splits[row["clip_id"]])
    assert all(len(found) == 1 for found in by_group.values())
    shuffler.shuffle(rows)
    assert assign_splits(rows, seed=seed) == splits


@given(GROUPS, st.integers(0, 5))
def test_fractions_and_presence_by_class(groups, seed):
    rows = _rows(groups)
    splits = assign_splits(rows, seed=seed)
    for class_name in {row["class_name"] for row in rows}:
        own = [row for row in rows if row["class_name"] == class_name]
        found = Counter(splits[row["clip_id"]] for row in own)
        n_groups = len({row["group"] for row in own})
        assert n_groups < 3 or all(found[split] for split in SPLITS)
        assert n_groups < 2 or found["train"]
        # One group of rounding, one carried over, and one given to an empty split.
        for split, fraction in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
            assert abs(found[split] - fraction * len(own)) <= 10


def test_large_sets_hit_the_fractions_in_every_stratum():
    rng = np.random.default_rng(0)
    groups = [("abc"[i % 3], "xyz"[i % 5 % 3], int(rng.integers(1, 3))) for i in range(3000)]
    rows = _rows(groups)
    splits = assign_splits(rows)
    strata: defaultdict[Any, Counter[str]] = defaultdict(Counter)
    for row in rows:
        strata[row["class_name"], row["source"]][splits[row["clip_id"]]] += 1
    assert len(strata) == 9
    for found in strata.values():
        for split, fraction in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
            assert abs(found[split] / found.total() - fraction) < 0.02


def test_the_seed_changes_who_not_how_many():
    rows = _rows([("a", "x", 1)] * 100)
    one, other = assign_splits(rows, seed=0), assign_splits(rows, seed=1)
    assert one != other
    assert Counter(one.values()) == Counter(other.values()) == {"train": 80, "val": 10, "test": 10}


def test_clips_that_come_later_move_few_of_the_others():
    rng = np.random.default_rng(0)
    groups = [("abcd"[rng.integers(4)], "xyz"[rng.integers(3)], 1 + i % 2) for i in range(4000)]
    before, after = assign_splits(_rows(groups[:-200])), assign_splits(_rows(groups))
    assert sum(after[clip_id] != split for clip_id, split in before.items()) < 0.02 * len(before)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=60))
@settings(deadline=None)
def test_videos_and_groups_join_transitively(links):
    rows = [
        {
            "clip_id": f"c{i}",
            "video_id": f"v{video}",
            "class_name": "a",
            "source": "x",
            "group": f"g{group}",
        }
        for i, (video, group) in enumerate(links)
    ]
    splits = assign_splits(rows)
    for column in ("video_id", "group"):
        by_value = defaultdict(set)
        for row in rows:
            by_value[row[column]].add(splits[row["clip_id"]])
        assert all(len(found) == 1 for found in by_value.values())


def test_unit_clip_parts_videos_and_zero_fractions_stay_empty():
    rows = _rows([("a", "x", 4)] * 25)
    splits = assign_splits(rows, (0.8, 0.1, 0.1), 0, "clip")
    assert Counter(splits.values()) == {"train": 80, "val": 10, "test": 10}
    videos = defaultdict(set)
    for clip_id, split in splits.items():
        videos[clip_id.split("@")[0]].add(split)
    assert any(len(found) > 1 for found in videos.values())
    assert Counter(assign_splits(rows, (0.9, 0.0, 0.1)).values())["val"] == 0


def _fingerprint(scene: int, call: int) -> dict[str, np.ndarray]:
    picture = np.random.default_rng(scene).normal(size=95)
    picture = (picture / np.linalg.norm(picture)).astype(np.float32)
    sound = np.random.default_rng(call).random((60, 16))
    return {"image": picture, "image_mirror": -picture, "audio": sound}


def test_leaks_are_measured():
    fingerprints = {
        "t1": _fingerprint(1, 1),
        "t2": _fingerprint(1, 2),
        "t3": _fingerprint(3, 4),
        "leak": _fingerprint(1, 2),
        "clean": _fingerprint(5, 6),
        "other": _fingerprint(7, 8),
    }
    rows = [{"clip_id": name} for name in fingerprints]
    splits = {name: "train" if name.startswith("t") else "test" for name in fingerprints}
    splits["other"] = "val"
    nearest = measure_leak(rows, fingerprints, splits)
    assert set(nearest) == {"leak", "clean", "other"}
    assert nearest["leak"]["nearest_train"] == "t2"
    assert nearest["leak"]["nearest_picture"] > 0.999
    assert nearest["leak"]["nearest_sound"] > 0.999
    assert min(nearest["clean"]["nearest_picture"], nearest["clean"]["nearest_sound"]) < 0.5
    assert measure_leak(rows, fingerprints, dict.fromkeys(fingerprints, "test")) == {}
