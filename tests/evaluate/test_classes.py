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
    clips: Any = SimpleNamespace(
        data=data, classes=[f"c{i % 3}" for i in range(5)], clip_ids=[f"clip{i}" for i in range(5)]
    )
    groups = np.arange(5)
    models: Any = None
    return ProbeInputs(
        model.eval(), TrainSettings(model=config), clips, clips, groups, groups,
        bootstrap=100, confidence=0.95, keyframes=1, seed=0, decoded=64, models=models, classes={},
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


def test_sources_that_the_run_has_not_are_left_out(inputs):
    assert list(classes.known_sources(inputs)) == ["audio", "rgb", "audio_rgb"]
    found = classes.compute(inputs)
    assert set(found["confusion"]) == set(found["predictions"]) == {"audio", "rgb", "audio_rgb"}


def test_the_first_token_ranks_the_pieces_at_position_1_alone(inputs):
    # The second and the third class begin alike: two pieces, three classes.
    scores, first = classes._source_scores(inputs, ("audio",), CAPTIONS, [4, 7])
    alone = classes._next_piece(inputs, ("audio",), np.arange(5), 0, (28,), [4, 7])
    np.testing.assert_allclose(first, alone, atol=1e-5)
    np.testing.assert_allclose(first[:, 0], scores[:, 0], atol=1e-5)
    rows = {row["name"]: row for row in classes.compute(inputs)["metrics"]}
    true = np.array([0, 1, 1, 0, 1])  # pieces of the clips' classes
    top1 = rows["first_token_audio_top1"]
    assert top1["value"] == pytest.approx((first.argmax(axis=1) == true).mean())
    assert top1["chance"] == 0.5 and "c1 and c2" in top1["note"]
    assert rows["first_token_audio_top3"]["value"] == 1


def test_one_beginning_for_all_classes_tells_nothing(inputs):
    same = [[28, 7, 5, 29], [28, 7, 6, 29]]
    _, first = classes._source_scores(inputs, ("audio",), same, [7])
    assert first.shape == (5, 1) and not first.any()


def test_confusion_adds_up_and_the_wrong_clips_are_named(inputs):
    found = classes.compute(inputs)
    names = found["classes"]
    for source, counts in found["confusion"].items():
        table = np.array(counts)
        assert table.sum(axis=1).tolist() == [found["true"].count(name) for name in names]
        hits = sum(a == b for a, b in zip(found["true"], found["predictions"][source], strict=True))
        wrong = [row for row in found["wrong"] if row["source"] == source]
        assert np.trace(table) == hits and len(wrong) == 5 - hits
        assert [r["probability"] for r in wrong] == sorted(
            (r["probability"] for r in wrong), reverse=True
        )
        for row in wrong:
            i = found["clip_ids"].index(row["clip_id"])
            assert (row["true"], row["guessed"]) == (
                found["true"][i],
                found["predictions"][source][i],
            )
            assert 1 / 3 <= row["probability"] <= 1 and row["guessed"] != row["true"]
            assert row["probability_of_true"] <= row["probability"]


def test_confusion_by_hand():
    counts = classes.confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
