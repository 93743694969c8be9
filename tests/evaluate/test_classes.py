"""Captions as classes: a distribution over the captions, computed where they part."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nano4m_audio.evaluate import classes
from nano4m_audio.evaluate.common import ProbeInputs
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import Modality, ModelConfig, TrainSettings

MODALITIES = (Modality("rgb", 9, 6), Modality("audio", 8, 4, 2), Modality("caption", 30, 8))
#: [SOS] 28, [EOS] 29; the second and the third begin alike, the first is the shortest.
CAPTIONS = [[28, 4, 29], [28, 7, 5, 9, 29], [28, 7, 6, 2, 1, 29]]


@pytest.fixture(scope="module")
def inputs() -> ProbeInputs:
    config = ModelConfig(
        modalities=MODALITIES, dim=32, encoder_depth=1, decoder_depth=1, head_dim=16, init="scaled"
    )
    model = FourM(config, seed=1)
    with torch.no_grad():
        model.to_logits.weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(2))
    rng = np.random.default_rng(3)
    tokens = {"rgb": rng.integers(0, 9, (5, 2, 6)), "audio": rng.integers(0, 8, (5, 1, 4))}
    data = TokenData(MODALITIES, tokens, [CAPTIONS[i % 3] for i in range(5)])
    clips: Any = SimpleNamespace(data=data)
    groups = np.arange(5)
    models: Any = None
    return ProbeInputs(
        model.eval(), TrainSettings(model=config), clips, clips, groups, groups,
        bootstrap=100, confidence=0.95, keyframes=1, seed=0, models=models, classes={},
    )  # fmt: skip


def test_branches_are_where_captions_part():
    assert classes.branches(CAPTIONS) == [((28,), [4, 7]), ((28, 7), [5, 6])]


@pytest.mark.parametrize("source", [("audio",), ("rgb",), ("rgb", "audio")])
def test_scores_are_a_distribution_over_the_captions(inputs, source):
    scores = classes.score_source(inputs, source, CAPTIONS)
    assert scores.shape == (5, 3)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, atol=1e-5)


def test_scores_depend_on_the_source_and_not_on_the_other_clips(inputs, monkeypatch):
    scores = classes.score_source(inputs, ("audio",), CAPTIONS)
    assert np.ptp(scores[:, 0]) > 1e-3
    monkeypatch.setattr(classes, "BATCH_SIZE", 2)
    np.testing.assert_allclose(
        classes.score_source(inputs, ("audio",), CAPTIONS), scores, atol=1e-5
    )


def test_ranks_count_better_classes_and_earlier_ties():
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]])
    np.testing.assert_array_equal(classes.rank_of(scores, np.array([2, 1])), [2, 2])
