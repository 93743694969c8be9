"""Mean-pooled encodings against the encoder itself, one sequence at a time."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nano4m_audio.evaluate import embeddings as made
from nano4m_audio.evaluate import linear
from nano4m_audio.evaluate.common import ProbeInputs
from nano4m_audio.evaluate.embeddings import Features, embeddings
from nano4m_audio.nano4m.attention import Tokens
from nano4m_audio.nano4m.data import TokenData, whole
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import Modality, ModelConfig, TrainSettings

MODALITIES = (Modality("rgb", 9, 6), Modality("audio", 8, 4, 2), Modality("caption", 30, 8))


def some_clips(n: int) -> TokenData:
    rng = np.random.default_rng(n)
    tokens = {"rgb": rng.integers(0, 9, (n, 5, 6)), "audio": rng.integers(0, 8, (n, 1, 4))}
    captions = [rng.integers(0, 30, 1 + i % 7).tolist() for i in range(n)]
    return TokenData(MODALITIES, tokens, captions)


def inputs_of(depth: int = 2) -> ProbeInputs:
    config = ModelConfig(
        modalities=MODALITIES, dim=32, encoder_depth=depth, decoder_depth=1, head_dim=16,
        init="scaled",
    )  # fmt: skip

    def some(n: int) -> Any:
        return SimpleNamespace(data=some_clips(n), clip_ids=[f"c{i}" for i in range(n)])

    models: Any = SimpleNamespace(results=SimpleNamespace(tables=lambda _name: []))
    return ProbeInputs(
        FourM(config, seed=1).eval(), TrainSettings(model=config), some(9), some(7), np.arange(9),
        np.arange(7), bootstrap=100, confidence=0.95, keyframes=3, seed=0, decoded=64,
        models=models, classes={},
    )  # fmt: skip


@torch.inference_mode()
def encoded(inputs: ProbeInputs, data: TokenData, m: int, clip: int, frame: int) -> np.ndarray:
    row = data.arrays[m][clip : clip + 1, frame]
    return (
        inputs.model.encode(Tokens.of(whole(m, row, data.lengths[clip, m][None]))).mean(0).numpy()
    )


@pytest.mark.parametrize("batch", [2, 32])
def test_means_are_those_of_each_sequence_alone(monkeypatch, batch):
    monkeypatch.setattr(made, "BATCH_SIZE", batch)
    inputs = inputs_of()
    found = embeddings(inputs)["trained"]
    for m, modality in enumerate(MODALITIES):
        frames = (0, 2, 4) if modality.name == "rgb" else (0,)
        for side, clips, shown in (
            ("chosen", inputs.chosen, frames),
            ("train", inputs.train, frames[len(frames) // 2 :][:1]),
        ):
            values = getattr(found[modality.name], side)
            assert values.dtype == np.float32
            for clip in range(len(clips.data)):
                wanted = np.mean([encoded(inputs, clips.data, m, clip, f) for f in shown], axis=0)
                np.testing.assert_allclose(values[clip], wanted, atol=1e-5)


def test_they_are_made_once_for_a_job(monkeypatch):
    inputs = inputs_of()
    first = embeddings(inputs)
    assert embeddings(inputs) is first
    assert embeddings(dataclasses.replace(inputs, seed=5)) is not first


def test_an_untrained_network_has_another_seed_and_a_middle_is_between():
    inputs = inputs_of()
    found = embeddings(inputs)
    assert sorted(found) == ["middle", "trained", "untrained"]
    a, b, c = (found[name]["rgb"].chosen for name in found)
    assert a.shape == b.shape == c.shape
    assert min(np.abs(a - b).max(), np.abs(a - c).max(), np.abs(b - c).max()) > 0.01
    assert sorted(embeddings(inputs_of(depth=1))) == ["trained", "untrained"]


def test_standardised_dimensions_and_constant_ones():
    rng = np.random.default_rng(0)
    train = rng.normal(3, 2, (50, 4)).astype(np.float32)
    train[:, 1] = 7 + 1e-7 * rng.random(50)
    found = Features(train, train[:5] + 100).standardised()
    np.testing.assert_allclose(found.train.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found.train.std(axis=0), [1, 0, 1, 1], atol=1e-4)
    assert (found.chosen[:, 1] == 0).all() and (found.chosen[:, 0] > 10).all()


def test_without_training_clips_the_others_are_the_measure():
    x = np.random.default_rng(1).normal(3, 2, (50, 4)).astype(np.float32)
    found = Features(x[:0], x).standardised()
    np.testing.assert_allclose(found.chosen.std(axis=0), 1, atol=1e-4)
    inputs = inputs_of()
    empty: Any = SimpleNamespace(data=some_clips(0), clip_ids=[], classes=[])
    inputs = dataclasses.replace(inputs, train=empty, train_groups=np.zeros(0, int))
    assert embeddings(inputs)["trained"]["rgb"].train.shape == (0, 32)
    assert linear.compute(inputs)["metrics"] == []


def test_shares_of_tokens_are_counted():
    inputs = inputs_of()
    found = linear.token_shares(inputs, 0)
    np.testing.assert_allclose(np.square(found.train).sum(axis=1), 1, rtol=1e-5)
    ids = np.unique(inputs.train.data.arrays[0][:, 2])
    counts = np.bincount(inputs.data.arrays[0][0, [0, 2, 4]].ravel(), minlength=9)[ids] / 18
    np.testing.assert_allclose(np.square(found.chosen[0]), counts, atol=1e-6)


def test_features_of_all_sources_stand_side_by_side():
    kinds = linear.feature_kinds(inputs_of())
    assert sorted(kinds) == ["all", "audio", "rgb"]
    assert sorted(kinds["all"]) == ["middle", "tokens", "trained", "untrained"]
    for features in kinds["all"].values():
        assert len(features.train) == 9 and len(features.chosen) == 7
        assert features.train.shape[1] <= 9
