"""Memorisation: a model that learnt its clips by heart has a gap, an untrained one has none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nano4m_audio.evaluate import memorisation
from nano4m_audio.evaluate.baselines import fit_counts
from nano4m_audio.evaluate.common import ProbeInputs
from nano4m_audio.nano4m.attention import Tokens
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.objective import Objective
from nano4m_audio.nano4m.settings import Modality, ModelConfig, TrainSettings

MODALITIES = (Modality("rgb", 12, 10), Modality("audio", 16, 20, span_stride=2),
              Modality("caption", 30, 8))  # fmt: skip
CLASSES = ("cat", "dog", "pig")


def clips_of(n: int, seed: int, classes: list[str]) -> Any:
    """Random tokens: nothing of a clip can be known but by heart."""
    rng = np.random.default_rng(seed)
    tokens = {"rgb": rng.integers(0, 12, (n, 2, 10)), "audio": rng.integers(0, 8, (n, 1, 20))}
    tokens["audio"] += np.arange(20) % 2 * 8
    data = TokenData(MODALITIES, tokens, [[28, 4, 29]] * n)
    return SimpleNamespace(data=data, classes=classes, clip_ids=[f"{seed}-{i}" for i in range(n)])


def inputs_of(steps: int, train: int = 16, test: int = 12, dim: int = 64) -> ProbeInputs:
    """A model trained for so many steps on half-masked sounds and pictures of its clips."""
    names = [CLASSES[i % 3] for i in range(max(train, test))]
    seen, unseen = clips_of(train, 1, names[:train]), clips_of(test, 2, names[:test])
    config = ModelConfig(
        modalities=MODALITIES, dim=dim, encoder_depth=1, decoder_depth=1, head_dim=16, init="scaled"
    )
    settings = TrainSettings.model_validate({
        "model": config,
        "masking": {"input_tokens": [8, 24], "target_tokens": [8, 24], "input_alpha": 0.2,
                    "target_alpha": 0.2},
    })  # fmt: skip
    model = FourM(config, seed=1)
    with torch.no_grad():
        model.to_logits.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
    objective = Objective(model, settings)
    optim = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(steps):
        batch = seen.data.batch(step, 12, settings.masking, 0)
        weights = [1 / 200] * 3
        loss, _ = objective(Tokens.of(batch.inputs), Tokens.of(batch.targets), weights)
        optim.zero_grad()
        loss.backward()
        optim.step()
    models: Any = None
    return ProbeInputs(
        model.eval(), settings, seen, unseen, np.arange(train), np.arange(test),
        bootstrap=200, confidence=0.95, keyframes=2, seed=0, decoded=64, models=models, classes={},
    )  # fmt: skip


def rows_of(inputs: ProbeInputs) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in memorisation.compute(inputs)["metrics"]}


@pytest.mark.slow
def test_a_model_that_learnt_its_clips_by_heart_has_a_gap():
    found = rows_of(inputs_of(steps=1200, train=12))
    for name in ("audio_gap", "rgb_gap", "audio_accuracy_gap"):
        assert found[name]["low"] > 0 and found[name]["p"] < 0.01, name
    assert found["audio_train_accuracy"]["value"] > 2 * found["audio_test_accuracy"]["value"]
    # Frequencies by position learn less of a clip by heart than the model does.
    assert found["audio_gap"]["baseline"]["verdict"] == "worse"


def test_a_model_that_learnt_nothing_has_none():
    found = rows_of(inputs_of(steps=0))
    for name in ("audio_gap", "rgb_gap", "audio_accuracy_gap", "rgb_accuracy_gap"):
        assert found[name]["low"] < 0 < found[name]["high"] and found[name]["p"] > 0.05, name
        assert (found[name]["n"], found[name]["groups"], found[name]["chance"]) == (24, 24, 0)
    assert found["audio_test"]["n"] == found["audio_train"]["n"] == 12
    # Runs are compared over evaluated clips.
    assert {name for name in found if "by_clip" in found[name]} == {
        name for name in found if "_test" in name
    }
    assert len(found["audio_test"]["by_clip"]) == 12


def test_training_clips_are_as_many_of_each_class():
    inputs = inputs_of(steps=0, train=30, test=9)
    picked = memorisation.pick_alike(inputs)
    assert len(set(picked.tolist())) == 9
    assert sorted(inputs.train.classes[i] for i in picked) == sorted(inputs.chosen.classes)
    # Where a class is short, others fill up; where all are, every training clip is compared.
    inputs.train.classes[:] = ["cat"] * 30
    assert len(memorisation.pick_alike(inputs)) == 9
    few = inputs_of(steps=0, train=10, test=12)
    np.testing.assert_array_equal(memorisation.pick_alike(few), np.arange(10))


def test_what_is_given_is_a_whole_beginning_of_sounds_and_half_of_pictures():
    inputs = inputs_of(steps=0)
    given, asked = memorisation.given_positions(inputs, 1, 3)
    np.testing.assert_array_equal(given, np.tile(np.arange(16), (3, 1)))
    np.testing.assert_array_equal(asked, np.tile(np.arange(16, 20), (3, 1)))
    given, asked = memorisation.given_positions(inputs, 0, 50)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([given, asked], axis=1)), np.tile(np.arange(10), (50, 1))
    )
    assert given.shape == asked.shape and len({tuple(row) for row in given.tolist()}) > 20
    # Training and evaluated clips are asked for the same positions, whatever their numbers.
    np.testing.assert_array_equal(memorisation.given_positions(inputs, 0, 5)[0], given[:5])


def test_only_what_is_given_is_seen(monkeypatch):
    inputs = inputs_of(steps=0, dim=32)
    counted = fit_counts(inputs.train.data, inputs.train_groups, 1)
    clips = np.arange(12)
    before = memorisation.score_rest(inputs, inputs.data, clips, 1, counted)
    monkeypatch.setattr(memorisation, "BATCH_SIZE", 5)
    again = memorisation.score_rest(inputs, inputs.data, clips, 1, counted)
    np.testing.assert_allclose(before.loss, again.loss, atol=1e-5)
    # The most likely ids do not change with the truth: another truth, other hits of the same guess.
    true = inputs.data.arrays[1][:, 0, 16:].copy()
    inputs.data.arrays[1][:, 0, 16:] = np.where(true < 8, 7 - true, 23 - true)
    other = memorisation.score_rest(inputs, inputs.data, clips, 1, counted)
    assert abs(other.loss - before.loss).max() > 1e-3
    inputs.data.arrays[1][:, 0, 16:] = true
    same = memorisation.score_rest(inputs, inputs.data, clips, 1, counted)
    np.testing.assert_array_equal(same.loss, again.loss)
