"""What one modality says of another comes out as planted."""

from __future__ import annotations

from math import exp, log
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.evaluate import fixed_targets, gain
from nano4m_audio.evaluate.fixed_targets import FixedTargets, clip_numbers
from nano4m_audio.intervals import holm
from nano4m_audio.nano4m.attention import Tokens
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.objective import Objective, loss_weights
from nano4m_audio.nano4m.settings import Modality
from tests.evaluate.planted import EOS, MODALITIES, SIZE, SOS, Oracle, probe_inputs, world

TRUST = 4.0
#: The loss of 1 of 16 ids with these log odds, and of all others; a blind guess.
RIGHT = log(1 + 15 * exp(-TRUST))
WRONG, BLIND = RIGHT + TRUST, log(16)


def names(labels: np.ndarray) -> list[str]:
    return [f"class{c}" for c in labels]


def found(kind: str, **options: Any) -> dict[tuple[str, str], dict[str, Any]]:
    data, labels = world(kind, **options)
    rows = gain.compute(probe_inputs(Oracle(np.arange(32) % 16, TRUST), data, names(labels)))
    return {(row["source"], row["target"]): row for row in rows["directions"]}


def test_a_source_that_says_the_class():
    row = found("class")["audio", "rgb"]
    expected = {"none": BLIND, "own": RIGHT, "same_class": RIGHT, "other_class": WRONG}
    assert {k: row["cross_entropy"][k] for k in expected} == pytest.approx(expected, abs=1e-5)
    assert row["class"]["value"] == pytest.approx(TRUST, abs=1e-5)
    assert row["class"]["p_holm"] < 0.01
    assert row["gain"]["value"] == pytest.approx(BLIND - RIGHT, abs=1e-5)
    assert row["instance"]["value"] == pytest.approx(0, abs=1e-6)
    assert row["instance"]["p_holm"] == 1 and row["instance"]["low"] is None


def test_a_source_that_says_the_clip_and_nothing_of_its_class():
    row = found("instance", n=64, classes=4)["audio", "rgb"]
    assert row["cross_entropy"]["own"] == pytest.approx(RIGHT, abs=1e-5)
    assert row["instance"]["value"] == pytest.approx(TRUST, abs=1e-5)
    assert row["instance"]["p_holm"] < 0.01
    assert abs(row["class"]["value"]) < 0.5 and row["class"]["p_holm"] > 0.05


def test_a_source_that_says_nothing():
    data, labels = world("nothing")
    model = Oracle(np.arange(32) % 16, 0.0)
    for row in gain.compute(probe_inputs(model, data, names(labels)))["directions"]:
        for kind in ("gain", "class", "instance"):
            assert row[kind]["value"] == pytest.approx(0, abs=1e-6), (row["source"], kind)
            assert row[kind]["p_holm"] == 1


def test_other_directions_of_the_same_world_say_nothing():
    rows = found("class")
    assert {pair for pair, row in rows.items() if row["class"]["p_holm"] < 0.05} == {
        ("audio", "rgb"), ("all", "rgb")
    }  # fmt: skip
    assert len(rows) == 9 and list(rows)[:4] == [
        pair for pair in gain.MAIN if "semantic" not in pair
    ]


def test_sound_is_told_by_codebook():
    data, labels = world("class")
    torch.manual_seed(0)
    model = FourM(SIZE, seed=1).eval()
    with torch.no_grad():
        model.to_logits.weight.normal_(0, 0.5)
    rows = gain.compute(probe_inputs(model, data, names(labels)))["directions"]
    for row in rows:
        assert ("codebooks" in row) == (row["target"] == "audio")
        for key in ("own", "none") if "codebooks" in row else ():
            parts = [book["cross_entropy"][key] for book in row["codebooks"]]
            assert np.mean(parts) == pytest.approx(row["cross_entropy"][key], abs=1e-6)
            assert parts[0] != parts[1]


def test_half_of_the_source_is_enough_when_it_begins_with_what_matters():
    data, labels = world("class")
    inputs = probe_inputs(Oracle(np.arange(32) % 16, TRUST), data, names(labels))
    curves = {(c["source"], c["target"]): c for c in gain.compute(inputs)["curves"]}
    curve = curves["audio", "rgb"]
    assert curve["shown"] == [0, 0.25, 0.5, 0.75, 1]
    assert curve["value"] == pytest.approx([BLIND, *[RIGHT] * 4], abs=1e-5)
    assert curves["rgb", "audio"]["value"] == pytest.approx([log(32)] * 5, abs=1e-5)


def test_metrics_have_the_strongest_baseline():
    data, labels = world("class")
    inputs = probe_inputs(Oracle(np.arange(32) % 16, TRUST), data, names(labels))
    rows = {row["name"]: row for row in gain.compute(inputs)["metrics"]}
    # Four classes of 16 ids: counts know log 4, a model without a source log 16.
    assert rows["audio_to_rgb"]["baseline"]["name"] == "rgb_unigram"
    assert rows["rgb_unigram"]["value"] == pytest.approx(log(4), abs=0.1)
    assert rows["audio_to_rgb"]["baseline"]["verdict"] == "better"
    assert rows["audio_to_rgb_class_information"]["value"] == pytest.approx(TRUST, abs=1e-5)


def trained(data: TokenData, steps: int = 250) -> FourM:
    """A real model that learnt from these clips."""
    inputs = probe_inputs(FourM(SIZE), data, ["x"] * len(data))
    options = inputs.settings
    masking = options.masking.model_copy(
        update={"input_tokens": (2, 10), "target_tokens": (2, 10), "input_alpha": 0.2}
    )
    model = FourM(SIZE, seed=0)
    objective = Objective(model, options)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(steps):
        batch = data.batch(step, 32, masking, seed=0)
        targets = Tokens.of(batch.targets)
        counts = np.bincount(batch.targets.modalities, minlength=3).tolist()
        loss, _ = objective(Tokens.of(batch.inputs), targets, loss_weights(counts, "modality"))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "says_class"), [("class", True), ("nothing", False)])
def test_a_model_that_was_trained_says_what_is_in_the_world(kind, says_class):
    learnt, learnt_labels = world(kind, n=160, seed=1)
    data, labels = world(kind, n=48, seed=2)
    train = SimpleNamespace(data=learnt, classes=names(learnt_labels), clip_ids=[])
    inputs = probe_inputs(trained(learnt), data, names(labels), train=train)
    rows = {(r["source"], r["target"]): r for r in gain.compute(inputs)["directions"]}
    row = rows["audio", "rgb"]
    assert (row["class"]["p_holm"] < 0.01 and row["class"]["value"] > 1) == says_class
    assert abs(row["instance"]["value"]) < 0.2
    if says_class:  # counts know log 4
        assert row["beyond_counts"]["value"] > 1


def test_partners_are_of_another_group():
    rng = np.random.default_rng(0)
    classes = names(rng.integers(0, 4, 60))
    groups = rng.integers(0, 25, 60)
    numbers = clip_numbers([str(i) for i in range(60)], 0)
    same, other = gain.partners(classes, groups, numbers)
    for clip, (a, b) in enumerate(zip(same, other, strict=True)):
        assert classes[a] == classes[clip] and groups[a] != groups[clip]
        assert classes[b] != classes[clip] and groups[b] != groups[clip]


def test_a_class_with_one_group_takes_no_part_and_is_counted():
    data, labels = world("class")
    groups = np.arange(48)
    groups[labels == 3] = 3
    inputs = probe_inputs(Oracle(np.arange(32) % 16, TRUST), data, names(labels), groups)
    result = gain.compute(inputs)
    assert result["no_partner"] == {"clips": 12, "classes": ["class3"]}
    row = next(r for r in result["directions"] if (r["source"], r["target"]) == ("audio", "rgb"))
    assert (row["gain"]["n"], row["class"]["n"], row["class"]["groups"]) == (48, 36, 36)
    assert row["class"]["value"] == pytest.approx(TRUST, abs=1e-5)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_clips_have_values_and_no_p(n):
    data, labels = world("class", n=n)
    result = gain.compute(probe_inputs(FourM(SIZE).eval(), data, names(labels)))
    for row in result["directions"]:
        assert row["cross_entropy"]["own"] is not None or row["target"] == "caption"
        assert row["gain"]["p"] is None and row["gain"]["p_holm"] is None
        assert row["gain"]["low"] is None


def test_one_class_has_no_caption_to_ask_for_and_no_other_class():
    data, _ = world("class", n=12, classes=1)
    result = gain.compute(probe_inputs(FourM(SIZE).eval(), data, ["x"] * 12))
    rows = {(r["source"], r["target"]): r for r in result["directions"]}
    assert result["always_shown"] == 3
    assert rows["audio", "caption"]["cross_entropy"]["own"] is None
    assert rows["audio", "rgb"]["cross_entropy"]["other_class"] is None
    assert {row["name"] for row in result["metrics"]} >= {"audio_to_rgb", "rgb_to_audio"}


def test_without_a_caption_there_is_no_empty_input():
    modalities = MODALITIES[:2]
    config = SIZE.model_copy(update={"modalities": modalities})
    data, labels = world("class", n=12)
    tokens = {"rgb": data.arrays[0], "audio": data.arrays[1]}
    inputs = probe_inputs(
        FourM(config).eval(), TokenData(modalities, tokens, []), names(labels), np.arange(12)
    )
    rows = gain.compute(inputs)["directions"]
    assert [(r["source"], r["target"]) for r in rows] == [("rgb", "audio"), ("audio", "rgb")]
    assert rows[0]["cross_entropy"]["none"] is None and rows[0]["gain"]["n"] == 0
    assert rows[0]["beyond_counts"]["n"] == 12 and rows[0]["class"]["n"] == 12


def test_pieces_of_a_caption_are_asked_for_one_by_one_after_what_all_begin_with():
    modalities = (Modality("rgb", 16, 6), Modality("caption", 40, 12))
    captions = [[SOS, 5, 6, 7, 8, EOS], [SOS, 5, 9, EOS], [SOS, 5, 6, EOS]]
    data = TokenData(modalities, {"rgb": np.zeros((3, 1, 6), int)}, captions)
    fixed = FixedTargets(probe_inputs(FourM(SIZE), data, ["a", "b", "c"]))
    assert fixed.begun == 2
    packed, owner = fixed.asked(1, np.array([1, 0]))
    assert owner.tolist() == [0, 0, 1, 1, 1, 1]
    assert packed.tokens.tolist() == [9, EOS, 6, 7, 8, EOS]
    assert packed.positions.tolist() == [2, 3, 2, 3, 4, 5] and set(packed.lengths) == {1}


@settings(max_examples=12, deadline=None)
@given(order=st.permutations(range(14)), kind=st.sampled_from(["class", "instance"]))
def test_the_order_of_the_clips_changes_nothing(order, kind):
    data, labels = world(kind, n=14)
    ids = [f"clip{i}" for i in range(14)]
    groups = np.arange(14) // 2 * 2 % 7
    model = FourM(SIZE, seed=3).eval()
    with torch.no_grad():
        model.to_logits.weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(2))
    tokens = {"rgb": data.arrays[0][order], "audio": data.arrays[1][order]}
    captions = [data.arrays[2][i, 0, : data.lengths[i, 2]].tolist() for i in order]
    moved = TokenData(MODALITIES, tokens, captions)
    one = gain.compute(probe_inputs(model, data, names(labels), groups, ids))
    two = gain.compute(
        probe_inputs(
            model, moved, names(labels[list(order)]), groups[list(order)], [ids[i] for i in order]
        )
    )
    for a, b in zip(one["directions"], two["directions"], strict=True):
        assert a["cross_entropy"] == pytest.approx(b["cross_entropy"], abs=1e-4)
        assert a["class"]["value"] == pytest.approx(b["class"]["value"], abs=1e-4)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), copies=st.integers(2, 5))
def test_equal_clips_of_a_class_say_nothing_beyond_it(seed, copies):
    data, labels = world("class", n=4, seed=seed)
    again = {m.name: np.tile(data.arrays[i], (copies, 1, 1)) for i, m in enumerate(MODALITIES[:2])}
    captions = [[SOS, 1 + int(c), EOS] for c in labels] * copies
    model = FourM(SIZE, seed=seed).eval()
    with torch.no_grad():
        model.to_logits.weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(seed))
    inputs = probe_inputs(
        model, TokenData(MODALITIES, again, captions), names(np.tile(labels, copies))
    )
    for row in gain.compute(inputs)["directions"]:
        assert row["instance"]["value"] == pytest.approx(0, abs=1e-5)


def test_batches_change_nothing(monkeypatch):
    data, labels = world("instance", n=20)
    model = FourM(SIZE, seed=3).eval()
    with torch.no_grad():
        model.to_logits.weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(2))
    inputs = probe_inputs(model, data, names(labels))
    one = gain.compute(inputs)["directions"]
    monkeypatch.setattr(fixed_targets, "BATCH_SIZE", 3)
    monkeypatch.setattr(fixed_targets, "DECODED_AT_ONCE", 2)
    for a, b in zip(one, gain.compute(inputs)["directions"], strict=True):
        assert a["cross_entropy"] == pytest.approx(b["cross_entropy"], abs=1e-5)


def test_holm_corrects_the_smallest_most():
    assert holm([0.04, 0.01, 0.5, 0.012]) == pytest.approx([0.08, 0.04, 0.5, 0.04])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]
