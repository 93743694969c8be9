"""Count models that are told the token before, or the class: planted dependences are found."""

from __future__ import annotations

from math import log
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.evaluate import contexts, cross_entropy
from nano4m_audio.evaluate.baselines import fit_counts, fit_unigrams
from nano4m_audio.evaluate.contexts import (
    Counts,
    class_context,
    class_of,
    fit_contexts,
    shifted,
    token_before,
)
from nano4m_audio.evaluate.masks import Asked
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.settings import Modality
from tests.evaluate.planted import SIZE, Oracle, probe_inputs, world

AUDIO = (Modality("audio", 64, 32, 2), Modality("caption", 30, 8))


def sound(n: int, seed: int, steady: float = 1.0) -> TokenData:
    """The first codebook counts up (with probability ``steady``), the second is a function of it:
    uniform ids each, of which nothing but the neighbours is known."""
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random((n, 16)) < steady, 1, rng.integers(0, 16, (n, 16)))
    first = (rng.integers(0, 16, (n, 1)) + np.cumsum(steps, axis=1)) % 16
    tokens = np.stack([first, 32 + first * 5 % 16], axis=2).reshape(n, 1, 32)
    return TokenData(AUDIO, {"audio": tokens}, [[1]] * n)


def fitted(data: TokenData, context: Any, periods: list[int]) -> contexts.ContextModel:
    groups = np.arange(len(data))
    return fit_contexts(data, groups, 0, fit_counts(data, groups, 0), context, periods)


def mean_loss(model: contexts.ContextModel, data: TokenData, context: Any) -> float:
    ids = data.arrays[0].astype(np.int64)
    positions = np.broadcast_to(np.arange(ids.shape[2]), ids.shape)
    given_ = np.broadcast_to(context(np.arange(len(data)), ids), ids.shape)
    known = given_ >= 0
    return float(model.of(positions[known], given_[known], ids[known]).mean())


def test_the_token_before_of_the_same_codebook():
    context = token_before(2)
    model = fitted(sound(200, 0), context, [2])
    assert mean_loss(model, sound(40, 1), context) < 0.02  # log 16 without it
    noisy = fitted(sound(400, 0, 0.5), context, [2])
    p = 0.5 + 0.5 / 16
    wanted = -p * log(p) - (1 - p) * log(0.5 / 16)
    assert mean_loss(noisy, sound(200, 1, 0.5), context) == pytest.approx(wanted, abs=0.03)


def test_the_first_codebook_of_the_frame():
    context = token_before(1, 2)
    model = fitted(sound(200, 0, 0.0), context, [2])
    assert mean_loss(model, sound(40, 1, 0.0), context) < 0.02


def test_what_says_nothing_is_smoothed_away():
    rng = np.random.default_rng(0)
    modalities = (Modality("rgb", 64, 16), AUDIO[1])

    def drawn(n: int) -> TokenData:
        return TokenData(modalities, {"rgb": rng.integers(0, 64, (n, 1, 16))}, [[1]] * n)

    model = fitted(drawn(20), token_before(1), [1])
    assert mean_loss(model, drawn(200), token_before(1)) == pytest.approx(log(64), abs=0.05)


def test_the_class_tells_its_tokens():
    data, labels = world("class", n=80)
    groups = np.arange(80)
    prior = fit_counts(data, groups, 0)
    model = fit_contexts(data, groups, 0, prior, class_context(labels), [1, 6])
    ids = data.arrays[0][:, 0].ravel().astype(np.int64)
    positions, told = np.tile(np.arange(6), 80), np.repeat(labels, 6)
    assert model.of(positions, told, ids).mean() < 0.02
    unknown = model.of(positions, np.full(480, -1), ids)
    np.testing.assert_allclose(unknown, prior.of(positions, ids), rtol=1e-5)


def test_padding_is_told_by_the_class_where_it_counts():
    modalities = (Modality("rgb", 4, 2), Modality("caption", 30, 6, pad_id=29))
    captions = [[1, 2], [1, 3, 4, 5]] * 20
    data = TokenData(modalities, {"rgb": np.zeros((40, 1, 2), int)}, captions)
    labels, groups = np.arange(40) % 2, np.arange(40)
    prior = fit_counts(data, groups, 1, padded=True)
    model = fit_contexts(data, groups, 1, prior, class_context(labels), [6], padded=True)
    where = np.array([2, 3, 4, 5]), np.zeros(4, int), np.full(4, 29)
    assert model.of(*where).max() < 0.05 < prior.of(where[0], where[2])[:2].min()


def test_a_distribution_over_the_ids():
    data = sound(50, 0, 0.5)
    model = fitted(data, token_before(2), [2])
    ids = np.arange(64)
    for context in (-1, 3, 40):
        for position in (2, 3):
            losses = model.of(np.full(64, position), np.full(64, context), ids)
            assert np.exp(-losses).sum() == pytest.approx(1, abs=1e-5)


def test_groups_are_held_out_together():
    rng = np.random.default_rng(3)
    modalities = (Modality("rgb", 256, 32), AUDIO[1])
    videos = rng.integers(0, 256, (12, 1, 32))  # each repeats itself and no other one
    data = TokenData(modalities, {"rgb": np.repeat(videos, 5, axis=0)}, [[1]] * 60)
    other = TokenData(modalities, {"rgb": rng.integers(0, 256, (50, 1, 32))}, [[1]] * 50)
    losses = []
    for groups in (np.repeat(np.arange(12), 5), np.arange(60)):
        prior = fit_counts(data, groups, 0)
        model = fit_contexts(data, groups, 0, prior, token_before(1), [1])
        losses.append(mean_loss(model, other, token_before(1)))
    assert losses[0] < log(256) + 0.1 < losses[1] - 0.5


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 5)), max_size=30))
def test_counts_add_up(pairs):
    keys, counts = (np.array([p[i] for p in pairs], np.int64) for i in (0, 1))
    found = Counts.of(keys, counts.astype(float))(np.arange(-1, 22))
    wanted = np.bincount(keys + 1, counts, 23) if len(keys) else np.zeros(23)
    np.testing.assert_array_equal(found, wanted)


def test_shifts_stay_in_the_sequence_and_the_frame():
    ids = np.arange(1, 7)
    assert shifted(ids, 2).tolist() == [-1, -1, 1, 2, 3, 4]
    assert shifted(ids, 1, 2).tolist() == [-1, 1, -1, 3, -1, 5]
    assert class_of(["b", "c"], ["a", "b"]).tolist() == [1, -1]


def test_pooled_codebooks_are_log_2_harder():
    data = sound(300, 0, 0.0)
    models = fit_unigrams(data, np.arange(300), 0)
    ids = sound(200, 1, 0.0).arrays[0][:, 0]
    places = np.broadcast_to(np.arange(32), ids.shape)
    losses = {name: float(model.of(places, ids).mean()) for name, model in models.items()}
    assert losses["pooled"] == pytest.approx(log(32), abs=0.02)
    assert losses["per_codebook"] == pytest.approx(log(16), abs=0.02)
    assert set(fit_unigrams(data, np.arange(300), 1)) == {"pooled", "unigram"}


def test_a_fair_bigram_sees_inputs_only():
    data = sound(60, 0)
    inputs = SimpleNamespace(
        train=SimpleNamespace(data=data, classes=["x"] * 60),
        train_groups=np.arange(60),
        settings=SimpleNamespace(
            model=SimpleNamespace(modalities=AUDIO), masking=SimpleNamespace(padded_captions=False)
        ),
    )
    some: Any = inputs
    models = cross_entropy._counted(some, 0, ["x"])
    ids = data.arrays[0][7, 0].astype(np.int64)
    zeros = np.zeros(4, np.int64)
    seen = Packed(ids[4:8], np.arange(4, 8), zeros, np.array([4]))
    asked = Packed(ids[8:12], np.arange(8, 12), zeros, np.array([4]))
    batch = Asked(seen, asked, np.array([7]), np.ones((1, 2), bool))
    found = cross_entropy._count_losses(models, AUDIO[0], 0, batch, np.arange(4), zeros)
    assert (found["bigram"][:2] < 0.1).all()  # the frame before is an input
    np.testing.assert_allclose(found["bigram"][2:], found["unigram"][2:], rtol=1e-5)
    assert (found["previous"] < 0.1).all()  # told what is only a target
    assert found["frame"][0] == pytest.approx(found["unigram"][0], rel=1e-5)
    assert found["frame"][1] < 0.1


def test_the_table_has_all_baselines_of_the_same_targets():
    data, labels = world("class", n=40)
    inputs = probe_inputs(
        Oracle(np.arange(32) % 16, 4.0), data, [f"class{c}" for c in labels],
        masking={"input_tokens": (1, 8), "target_tokens": (1, 8)},
    )  # fmt: skip
    assert inputs.settings.model == SIZE
    result = cross_entropy.compute(inputs)
    rows = {(r["target"], r["codebook"]): r for r in result["baselines"]}
    assert set(rows) == {
        ("rgb", None), ("audio", None), ("audio", 1), ("audio", 2), ("caption", None)
    }  # fmt: skip
    rgb = rows["rgb", None]
    assert rgb["class"] < 0.05 < rgb["bigram"] < rgb["unigram"] == pytest.approx(log(4), abs=0.1)
    assert rgb["uniform"] == log(16)
    metrics = {row["name"]: row for row in result["metrics"]}
    for name in ("rgb", "audio", "caption"):
        row, fair = rows[name, None], [k for k in cross_entropy.FAIR if k in rows[name, None]]
        best = min(fair, key=row.__getitem__)
        assert metrics[name]["baseline"]["name"] == f"{name}_{best}"
        assert metrics[name]["baseline"]["value"] == pytest.approx(row[best])
        assert metrics[name]["value"] == pytest.approx(row["model"])
