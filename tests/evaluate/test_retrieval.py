"""Retrieval on planted embeddings: what is there is found, what is not stays at chance."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.evaluate import retrieval
from nano4m_audio.evaluate.embeddings import Features
from nano4m_audio.evaluate.retrieval import (
    Gallery,
    class_chance,
    class_precision,
    found_among,
    gallery,
    permutation_p,
    permutations,
    ranks_of,
    similarities,
)
from nano4m_audio.intervals import holm


def clips(n: int, per_group: int = 1, classes: int = 4, seed: int = 0) -> Any:
    ids = [f"clip{i:04d}" for i in range(n)]
    chosen = SimpleNamespace(clip_ids=ids, classes=[f"c{i % classes}" for i in range(n)])
    groups = np.arange(n) // per_group
    return SimpleNamespace(
        chosen=chosen, groups=groups, seed=seed, confidence=0.95, bootstrap=200, keyframes=1
    )


def computed(monkeypatch, inputs: Any, trained: dict, untrained: dict) -> dict:
    def features(side):
        return {name: Features(x, x) for name, x in side.items()}

    found = {"trained": features(trained), "untrained": features(untrained)}
    monkeypatch.setattr(retrieval, "embeddings", lambda _inputs: found)
    return retrieval.compute(inputs)


def noise(n: int, seed: int, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


def test_the_same_embedding_on_both_sides_is_found(monkeypatch):
    n = 40
    x, inputs = noise(n, 0), clips(n)
    scaled = x * np.arange(1, 13) * 7 + 100  # another place and scale: standardised away
    found = computed(
        monkeypatch, inputs, {"rgb": x, "audio": scaled.astype(np.float32)},
        {"rgb": noise(n, 1), "audio": noise(n, 2)},
    )  # fmt: skip
    values = {m["name"]: m for m in found["metrics"]}
    assert values["rgb_to_audio_r1"]["value"] == 1 == values["audio_to_rgb_of_200_r1"]["value"]
    assert values["rgb_to_audio_r5"]["chance"] == 5 / n
    assert values["rgb_to_audio_r1"]["baseline"]["verdict"] == "better"
    for row in found["directions"]:
        assert row["median_rank"] == row["low"] == row["high"] == 1
        assert row["p_holm"] < 0.001 and row["p_inside_class_holm"] < 0.001


def test_nothing_in_common_stays_at_chance(monkeypatch):
    n = 120
    sides = [{"rgb": noise(n, s), "audio": noise(n, s + 1)} for s in (10, 20)]
    found = computed(monkeypatch, clips(n, per_group=2), *sides)
    assert {row["n"] for row in found["metrics"]} == {n}
    assert {row["groups"] for row in found["metrics"]} == {n // 2}
    for row in found["metrics"]:
        assert row["low"] <= row["chance"] <= row["high"], row["name"]
        assert row["baseline"]["verdict"] in ("unclear", "chance")
    for row in found["directions"]:
        assert row["low"] <= row["chance"] <= row["high"] and row["p_holm"] > 0.05


def test_the_class_alone_is_found_as_class_and_not_as_clip(monkeypatch):
    n = 80
    inputs = clips(n, classes=4)
    side = np.eye(4)[np.arange(n) % 4]
    trained = {"rgb": side + 0.05 * noise(n, 1, 4), "audio": side + 0.05 * noise(n, 2, 4)}
    blank = {"rgb": noise(n, 3), "audio": noise(n, 4)}
    found = computed(monkeypatch, inputs, trained, blank)
    values = {m["name"]: m for m in found["metrics"]}
    precision = values["rgb_to_audio_class_precision"]
    assert precision["value"] == 1 and precision["chance"] == pytest.approx(19 / 79)
    for row in found["directions"]:
        assert row["p_holm"] < 0.001 and row["p_inside_class"] > 0.01


@pytest.mark.parametrize("k", [1, 5, 10])
def test_collapsed_embeddings_give_mid_ranks_and_chance(monkeypatch, k):
    n = 30
    same = np.ones((n, 8), np.float32) + 1e-7 * noise(n, 5, 8)
    sides = {"rgb": same, "audio": same + 3}
    found = computed(monkeypatch, clips(n), sides, sides)
    values = {m["name"]: m["value"] for m in found["metrics"]}
    assert values[f"rgb_to_audio_r{k}"] == pytest.approx(k / n)
    assert found["directions"][0]["median_rank"] == (n + 1) / 2
    assert found["directions"][0]["p"] == 1.0
    expected = {m["name"]: m["chance"] for m in found["metrics"]}["rgb_to_audio_class_precision"]
    assert values["rgb_to_audio_class_precision"] == pytest.approx(expected)


def test_ranks_of_ties_by_hand():
    cosines = np.array([[0.5, 0.9, 0.5, 0.1], [0.2, 0.2, 0.2, 0.3]])
    own = np.array([2, 3])
    np.testing.assert_array_equal(ranks_of(cosines, own), [2.5, 1.0])
    np.testing.assert_array_equal(found_among(cosines, own, 1), [0, 1])
    np.testing.assert_array_equal(found_among(cosines, own, 2), [0.5, 1])
    np.testing.assert_array_equal(found_among(cosines, own, 3), [1, 1])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 4))
def test_what_is_found_does_not_depend_on_the_order_of_the_clips(seed, groups, levels):
    rng = np.random.default_rng(seed)
    n = groups * 2
    inputs = clips(n, classes=3)
    inputs.groups = rng.integers(0, groups, n)
    x = {name: rng.integers(0, levels + 1, (n, 3)).astype(float) for name in ("a", "b")}
    order = rng.permutation(n)
    moved: Any = SimpleNamespace(
        chosen=SimpleNamespace(
            clip_ids=[inputs.chosen.clip_ids[i] for i in order],
            classes=[inputs.chosen.classes[i] for i in order],
        ),
        groups=inputs.groups[order], seed=0,
    )  # fmt: skip
    for most in (None, 3):
        one, two = gallery(inputs, most), gallery(moved, most)
        first = similarities(x, "a", "b", one)
        second = similarities({k: v[order] for k, v in x.items()}, "a", "b", two)
        ids = [np.array(c.chosen.clip_ids) for c in (inputs, moved)]
        for values in (
            lambda c, g: ranks_of(c, g.own),
            lambda c, g: found_among(c, g.own, 2),
            lambda c, g: class_precision(c, g, 2),
        ):
            a = dict(zip(ids[0][one.queries], values(first, one), strict=True))
            b = dict(zip(ids[1][two.queries], values(second, two), strict=True))
            assert a == pytest.approx(b)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 14), st.integers(1, 5), st.integers(1, 3))
def test_ties_count_as_a_draw_would_on_average(seed, n, k, levels):
    rng = np.random.default_rng(seed)
    own = rng.integers(0, n, 4)
    classes = rng.integers(0, 2, n)
    found = Gallery(np.arange(4) % n, np.arange(n), own, classes)
    cosines = rng.integers(0, levels, (4, n)).astype(float)
    hits, precision = np.zeros(4), np.zeros(4)
    draws = 4000
    for _ in range(draws):
        order = np.lexsort((rng.random((4, n)), -cosines), axis=1)
        hits += (order[:, :k] == own[:, None]).any(axis=1)
        for i, row in enumerate(order):
            others = row[row != own[i]][:k]
            precision[i] += (classes[others] == classes[found.queries[i]]).mean()
    np.testing.assert_allclose(found_among(cosines, own, k), hits / draws, atol=0.05)
    np.testing.assert_allclose(class_precision(cosines, found, k), precision / draws, atol=0.05)


def test_a_gallery_has_one_clip_of_every_group_and_every_clip_is_a_query():
    inputs = clips(60, per_group=3)
    full, few = gallery(inputs, None), gallery(inputs, 5)
    assert len(full) == 20 and len(full.queries) == 60
    assert sorted(inputs.groups[full.candidates]) == list(range(20))
    np.testing.assert_array_equal(
        inputs.groups[full.candidates[full.own]], inputs.groups[full.queries]
    )
    assert len(few) == 5 and len(few.queries) == 15
    assert set(few.candidates) <= set(full.candidates)
    inputs.seed = 1
    assert set(gallery(inputs, 5).candidates) != set(few.candidates)
    same = inputs.chosen.classes
    others = [
        np.mean([same[c] == same[q] for c in full.candidates if inputs.groups[c] != g])
        for q, g in zip(full.queries, inputs.groups[full.queries], strict=True)
    ]
    assert class_chance(full) == pytest.approx(np.mean(others))


def test_the_test_is_exact_where_nothing_is_in_common():
    inputs = clips(16)
    found = gallery(inputs, None)
    test = permutations(found, False, 0)
    assert test.shape == (10_000, 16) and (np.sort(test, axis=1) == np.arange(16)).all()
    ps = []
    for seed in range(300):
        x = np.random.default_rng(seed).integers(0, 3, (16, 16)).astype(float)
        p = permutation_p(x, found, test)
        assert p is not None
        ps.append(p)
    share = np.mean(np.array(ps) < 0.1)
    assert 0.05 < share < 0.16
    inside = permutations(found, True, 0)
    classes = found.classes[found.candidates]
    assert (classes[inside] == classes).all() and len(np.unique(inside[:, 0])) == 4


def test_few_groups_have_no_p():
    found = gallery(clips(8), None)
    assert permutation_p(np.eye(8), found, permutations(found, False, 0)) is None


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []
