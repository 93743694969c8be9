"""The linear probe on planted features, against a general solver and textbook measures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from nano4m_audio.evaluate import linear
from nano4m_audio.evaluate.embeddings import Features
from nano4m_audio.evaluate.linear import (
    balance,
    fit_path,
    group_folds,
    macro_f1,
    name_classes,
    turned,
    with_one,
)
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import Modality, ModelConfig


def reference(x: np.ndarray, labels: np.ndarray, penalty: float) -> np.ndarray:
    """Log probabilities of the same regression by a general solver, [n, classes]."""
    n, classes = len(x), labels.max() + 1

    def log_p(flat):
        w = flat.reshape(-1, classes)
        scores = x @ w[:-1] + w[-1]
        return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)

    def loss(flat):
        weights = flat.reshape(-1, classes)[:-1]
        return -log_p(flat)[np.arange(n), labels].mean() + penalty / 2 * (weights**2).sum()

    found = minimize(loss, np.zeros((x.shape[1] + 1) * classes), options={"gtol": 1e-6})
    return log_p(found.x)


def test_fits_are_those_of_a_general_solver():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    x = rng.standard_normal((60, 4)) * [3, 1, 1, 0.3] + 0.7 * np.eye(3)[labels] @ rng.normal(
        size=(3, 4)
    )
    features = turned(Features(x.astype(np.float32), x).standardised())
    x = features.train
    used = np.ones((60, 2), bool)
    used[::4, 0] = False
    penalties = (1.0, 0.1, 0.01)
    for penalty, weights in zip(
        penalties, fit_path(with_one(x), labels, used, penalties), strict=True
    ):
        for fit in range(2):
            wanted = reference(x[used[:, fit]], labels[used[:, fit]], penalty)
            w = weights[:, fit].numpy()
            scores = x[used[:, fit]] @ w[:-1] + w[-1]
            found = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
            np.testing.assert_allclose(np.exp(found), np.exp(wanted), atol=0.01)


def clips(train: np.ndarray, chosen: np.ndarray, per_group: int = 2) -> Any:
    names = np.array([f"c{i:02d}" for i in range(20)])
    return SimpleNamespace(
        train=SimpleNamespace(classes=names[train].tolist(), __len__=lambda: len(train)),
        chosen=SimpleNamespace(classes=names[chosen].tolist()),
        train_groups=np.arange(len(train)) // per_group,
        groups=np.arange(len(chosen)) // per_group,
        seed=0, confidence=0.95, bootstrap=200,
        model=FourM(
            ModelConfig(modalities=(Modality("audio", 4, 2),), dim=16, encoder_depth=1,
                        decoder_depth=1, head_dim=16)
        ),
    )  # fmt: skip


def computed(monkeypatch, train, chosen, kinds: dict[str, Features]) -> dict:
    inputs = clips(train, chosen)
    monkeypatch.setattr(linear, "feature_kinds", lambda _inputs: {"audio": kinds})
    monkeypatch.setattr(linear, "_procedure", lambda _inputs: "")
    return linear.compute(inputs)


def drawn(train, chosen, width: int, class_size: float, seed: int) -> Features:
    """Noise, and the class in its first dimensions."""
    rng = np.random.default_rng(seed)
    sides = []
    for labels in (train, chosen):
        x = rng.standard_normal((len(labels), width))
        x[:, :5] += class_size * np.eye(5)[labels]
        sides.append(x.astype(np.float32))
    return turned(Features(*sides).standardised())


def test_what_is_encoded_is_found_and_what_is_not_is_chance(monkeypatch):
    train, chosen = np.arange(200) % 5, np.arange(80) % 5
    kinds = {
        "trained": drawn(train, chosen, 30, 30.0, 1),
        "untrained": drawn(train, chosen, 30, 0.0, 2),
        "tokens": drawn(train, chosen, 600, 0.0, 3),
    }
    found = computed(monkeypatch, train, chosen, kinds)
    for row in found["metrics"]:
        assert row["value"] == 1 and row["chance"] == 0.2 and row["n"] == 80
        assert row["baseline"]["name"].startswith("audio_tokens_")
        assert row["baseline"]["verdict"] == "better"
    rows = {row["features"]: row for row in found["features"]}
    assert rows["trained"]["macro_f1"]["value"] == 1 and "gain" not in rows["trained"]
    for kind in ("untrained", "tokens"):
        for measure in ("accuracy", "balanced_accuracy"):
            assert rows[kind][measure]["low"] <= 0.2 <= rows[kind][measure]["high"]
        assert rows[kind]["gain"]["gain"] > 0.5 and rows[kind]["gain"]["p"] < 0.001
    assert rows["tokens"]["penalty"] == max(linear.PENALTIES)  # noise is held down


def test_frequent_classes_do_not_make_a_balanced_accuracy(monkeypatch):
    train = np.repeat([0, 0, 0, 0, 0, 0, 0, 0, 1, 2], 20)
    chosen = np.repeat([0, 0, 0, 0, 0, 0, 0, 0, 1, 2], 6)
    kinds = {kind: drawn(train, chosen, 6, 0.0, i) for i, kind in enumerate(("trained", "tokens"))}
    found = computed(monkeypatch, train, chosen, kinds)
    plain, balanced = found["metrics"]
    assert plain["value"] > 0.7 and abs(balanced["value"] - 1 / 3) < 0.1


def test_classes_without_a_training_clip_and_a_single_class():
    x = np.eye(4, dtype=np.float32)
    features = Features(x, x)
    folds = np.arange(4)
    only = name_classes(features, np.full(4, 2), folds, 5)
    assert only.classes.tolist() == [2, 2, 2, 2]
    two = name_classes(features, np.array([1, 1, 4, 4]), folds, 5)
    assert set(two.classes) <= {1, 4}
    empty = name_classes(Features(0 * x, 0 * x), np.array([3, 3, 1, 3]), folds, 5)
    assert empty.classes.tolist() == [3] * 4
    one_group = name_classes(features, np.array([1, 1, 4, 4]), np.zeros(4, int), 5)
    assert one_group.classes.tolist() == [1, 1, 4, 4]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_the_order_of_the_training_clips_changes_no_guess(seed):
    rng = np.random.default_rng(seed)
    train, chosen = np.arange(40) % 4, np.arange(12) % 4
    features = drawn(train, chosen, 8, 4.0, seed)
    folds = group_folds(np.arange(40) // 2, 0)
    order = rng.permutation(40)
    moved = Features(features.train[order], features.chosen)
    one = name_classes(features, train, folds, 5)
    two = name_classes(moved, train[order], folds[order], 5)
    np.testing.assert_array_equal(one.classes, two.classes)
    assert one.penalty == two.penalty


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(0, 5))
def test_folds_part_no_group_and_are_about_equal(groups, seed):
    numbers = np.array(groups)
    folds = group_folds(numbers, seed)
    assert all(len(np.unique(folds[numbers == g])) == 1 for g in numbers)
    sizes = np.bincount(folds)
    assert len(sizes) == min(5, len(np.unique(numbers)))
    assert sizes.max() - sizes.min() <= np.bincount(numbers).max()


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(2, 9), st.integers(1, 30))
def test_turning_keeps_every_product_between_clips(seed, n, width):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, width)), rng.standard_normal((3, width))
    found = turned(Features(x, y))
    assert found.train.shape[1] <= min(n, width)
    np.testing.assert_allclose(found.train @ found.train.T, x @ x.T, atol=1e-6)
    np.testing.assert_allclose(found.chosen @ found.train.T, y @ x.T, atol=1e-6)
    squares = found.train.T @ found.train
    np.testing.assert_allclose(squares, np.diag(np.diag(squares)), atol=1e-6)
    assert turned(Features(x, y), most=1).train.shape[1] == 1


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_measures_are_the_textbooks(pairs):
    true, guess = np.array(pairs).T
    classes = np.unique(true)
    recalls = [np.mean(guess[true == c] == c) for c in classes]
    weights = balance(true)
    assert weights.sum() == pytest.approx(len(true))
    assert ((guess == true) * weights).sum() / weights.sum() == pytest.approx(np.mean(recalls))
    f1 = []
    for c in classes:
        right = ((true == c) & (guess == c)).sum()
        f1.append(2 * right / ((true == c).sum() + (guess == c).sum()))
    assert macro_f1(true, guess) == pytest.approx(np.mean(f1))
