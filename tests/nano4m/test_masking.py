"""Masking: the recorded statistics of the reference, exact rules, and invariants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.nano4m.masking import (
    INPUT,
    TARGET,
    draw_counts,
    draw_roles,
    draw_shares,
    mask_batch,
    span_lengths,
)
from nano4m_audio.nano4m.plan import draw_plan
from nano4m_audio.nano4m.settings import MaskingConfig, Modality

WIDTHS = [196, 512, 196, 196, 64]
PAPER = tuple(
    Modality(name, 50304 if name == "caption" else 2048, width, stride, pad)
    for name, width, stride, pad in zip(
        ("rgb", "audio", "depth", "normals", "caption"),
        WIDTHS,
        (None, 2, None, None, None),
        (None, None, None, None, 50257),
        strict=True,
    )
)
DRAWS = 20_000


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict:
    return json.loads((shared / "golden" / "nano4m_masking" / "stats.json").read_text())


@pytest.fixture(scope="module")
def roles() -> list[np.ndarray]:
    """INPUT, TARGET or UNUSED per modality, of many samples under the paper's config."""
    drawn = [
        draw_roles(
            np.random.default_rng(seed), PAPER, MaskingConfig(), np.tile(WIDTHS, (1000, 1)), WIDTHS
        )
        for seed in range(DRAWS // 1000)
    ]
    return np.split(np.concatenate(drawn), np.cumsum(WIDTHS)[:-1], axis=1)


def check_mean(ours: np.ndarray, theirs: dict, name: str) -> None:
    """Five standard errors of the difference of two independent means."""
    error = np.hypot(theirs["standard_error"], ours.std() / len(ours) ** 0.5)
    assert abs(ours.mean() - theirs["mean"]) < 5 * error, (name, ours.mean(), theirs["mean"])


def check_share(ours: np.ndarray, theirs: float, draws: int, name: str) -> None:
    """The same for a share; a recorded 0 may be anything below a few draws."""
    p = (ours.mean() * len(ours) + theirs * draws) / (len(ours) + draws)
    error = (max(p, 1 / draws) * (1 - p) * (1 / len(ours) + 1 / draws)) ** 0.5
    assert abs(ours.mean() - theirs) < 5 * error, (name, ours.mean(), theirs)


def test_token_counts_match_the_reference(roles, recorded) -> None:
    n = recorded["draws"]
    for side, role in (("input", INPUT), ("target", TARGET)):
        counts = np.stack([(part == role).sum(axis=1) for part in roles], axis=1)
        for m, theirs in enumerate(recorded[f"{side}_tokens_per_modality"].values()):
            check_mean(counts[:, m], theirs, f"{side} {PAPER[m].name}")
            absent = counts[:, m] == 0
            check_share(absent, theirs["fraction_zero"], n, f"no {side} {PAPER[m].name}")
        total = counts.sum(axis=1)
        check_mean(total, recorded[f"total_{side}_tokens"], f"total {side}")
        assert total.max() <= 256
        padding = "encoder" if side == "input" else "decoder"
        share = 1 - total.mean() / 256
        assert share == pytest.approx(recorded["padding_fraction"][padding], abs=0.01)
        present = (counts > 0).sum(axis=1)
        for number, theirs in recorded[f"number_of_{side}_modalities"].items():
            check_share(present == int(number), theirs, n, f"{number} {side} modalities")
        edges = recorded[f"histogram_total_{side}_tokens"]["bin_edges"]
        for low, high, count in zip(
            edges, edges[1:], recorded[f"histogram_total_{side}_tokens"]["counts"], strict=False
        ):
            check_share((total >= low) & (total < high), count / n, n, f"{side} in {low}..{high}")


def test_audio_spans_match_the_reference(roles, recorded) -> None:
    audio = roles[1]
    n_input, n_target = ((audio == role).sum(axis=1) for role in (INPUT, TARGET))
    length = n_input + n_target
    start = (audio > 0).argmax(axis=1)
    check_mean(length, recorded["audio"]["span_length"], "span length")
    check_mean(start, recorded["audio"]["span_start"], "span start")
    relative = start / (512 - length)
    error = relative.std() / len(relative) ** 0.5
    assert abs(relative.mean() - recorded["audio"]["span_start_relative"]["mean"]) < 7 * error
    check_share(
        start == 0, recorded["audio"]["start_zero_fraction"], recorded["draws"], "start at 0"
    )
    assert not (n_input % 2).any() and not (n_target % 2).any() and not (start % 2).any()
    position = np.arange(512) - start[:, None]
    expected = np.where((position >= 0) & (position < length[:, None]), TARGET, 0)
    expected[(position >= 0) & (position < n_input[:, None])] = INPUT
    np.testing.assert_array_equal(audio, expected)


def test_span_rule_is_exact(recorded) -> None:
    for row in recorded["span_rule_table"]:
        a, b = span_lengths(
            np.array([row["budget_input"]]),
            np.array([row["budget_target"]]),
            row["stride"],
            np.array([row["num_tokens"]]),
        )
        assert (a[0], b[0]) == (row["input_length"], row["target_length"]), row


def test_budgets_match_the_reference(recorded) -> None:
    draws = 4000
    for row in recorded["budget_table"]:
        limits = np.tile(row["max_tokens"], (draws, 1))
        ones = np.ones((draws, 5))
        totals = np.full(draws, row["requested"])
        shares = draw_shares(np.random.default_rng(3), totals, ones, ones > 0)
        budgets = np.minimum(shares, limits)
        sums = budgets.sum(axis=1)
        spread = max(float(sums.std()), 1e-9)
        assert abs(sums.mean() - row["sum_mean"]) <= 5 * spread * (2 / draws) ** 0.5 + 1e-9, row
        spread = budgets.std(axis=0)
        close = np.abs(budgets.mean(axis=0) - row["per_modality_mean"])
        assert (close < 5 * spread * (2 / draws) ** 0.5 + 1e-9).all(), row


def masked(config: MaskingConfig, lengths: np.ndarray, seed: int, modalities=PAPER):
    """Token counts per modality of both sides, and the packed batch."""
    rng = np.random.default_rng([seed, 1])
    tokens = [rng.integers(0, 100, (len(lengths), m.max_tokens)) for m in modalities]
    sides = mask_batch(np.random.default_rng(seed), modalities, config, tokens, lengths)
    counts = []
    for side in sides:
        sample = np.repeat(np.arange(len(lengths)), side.lengths)
        table = np.zeros((len(lengths), len(modalities)), int)
        np.add.at(table, (sample, side.modalities), 1)
        counts.append(table)
    return counts, sides


def short_captions(batch: int) -> np.ndarray:
    lengths = np.tile(WIDTHS, (batch, 1))
    lengths[:, 4] = 5
    return lengths


def test_caption_padding_is_neither_shown_nor_asked_for() -> None:
    lengths = short_captions(500)
    (inputs, targets), sides = masked(MaskingConfig(), lengths, 0)
    assert (inputs + targets <= lengths).all()
    assert (inputs + targets)[:, 4].max() == 5
    assert all(side.positions[side.modalities == 4].max() < 5 for side in sides)


def test_the_number_of_targets_hides_the_length_of_a_caption() -> None:
    """Among samples that could ask for all of it, every number from 1 on is equally frequent."""
    config = MaskingConfig(
        input_tokens=(64, 64),
        target_tokens=(64, 64),
        target_alpha=100.0,
        input_alpha=dict(
            zip(
                ("rgb", "audio", "depth", "normals", "caption"),
                (1.0, 1.0, 1.0, 1.0, 1e-3),
                strict=True,
            )
        ),
    )
    (inputs, targets), _ = masked(config, short_captions(6000), 7)
    counts = np.bincount(targets[inputs[:, 4] == 0, 4], minlength=6)
    assert counts[0] == 0 and len(counts) == 6
    np.testing.assert_allclose(counts[1:] / counts.sum(), 0.2, atol=0.03)


def test_padded_captions_reproduce_the_paper(recorded) -> None:
    config = MaskingConfig(padded_captions=True)
    (inputs, targets), (_, target_side) = masked(config, short_captions(4000), 0)
    check_mean(targets[:, 4], recorded["target_tokens_per_modality"]["scene_desc"], "captions")
    check_mean(inputs[:, 4], recorded["input_tokens_per_modality"]["scene_desc"], "captions")
    asked = target_side.tokens[target_side.modalities == 4]
    places = target_side.positions[target_side.modalities == 4]
    np.testing.assert_array_equal(asked == 50257, places >= 5)
    assert (asked == 50257).mean() == pytest.approx(59 / 64, abs=0.01)


def test_single_sources_are_whole_and_alone() -> None:
    config = MaskingConfig(single_source_prob=1.0)
    lengths = short_captions(400)
    (inputs, targets), _ = masked(config, lengths, 1)
    assert ((inputs > 0).sum(axis=1) == 1).all()
    source = inputs.argmax(axis=1)
    rows = np.arange(len(lengths))
    np.testing.assert_array_equal(inputs[rows, source], lengths[rows, source])
    assert set(source) == set(range(5))
    assert (targets[rows, source] == 0).all() and (targets.sum(axis=1) > 0).all()
    assert not (targets[:, 1] % 2).any()


def test_single_source_probability_is_a_share_of_samples() -> None:
    lengths = short_captions(4000)
    (inputs, _), _ = masked(MaskingConfig(single_source_prob=0.3), lengths, 2)
    whole = ((inputs == lengths).any(axis=1) & ((inputs > 0).sum(axis=1) == 1)).mean()
    assert whole == pytest.approx(0.3, abs=0.04)


def test_modality_dropout_leaves_one_modality() -> None:
    lengths = short_captions(4000)
    (inputs, targets), _ = masked(
        MaskingConfig(input_tokens=(64, 256), modality_dropout=1.0), lengths, 3
    )
    assert ((inputs > 0).sum(axis=1) == 1).all()
    assert (targets > 0).any(axis=1).all()
    (inputs, _), _ = masked(
        MaskingConfig(input_tokens=(128, 256), modality_dropout=0.5), lengths, 3
    )
    absent = (inputs[:, 0] == 0).mean()
    assert absent == pytest.approx(0.5 - 0.5**5 / 5, abs=0.05)


def test_condition_dropout_leaves_no_source() -> None:
    lengths = short_captions(4000)
    (inputs, targets), _ = masked(MaskingConfig(condition_dropout=1.0), lengths, 6)
    assert ((targets > 0).sum(axis=1) == 1).all()
    asked = targets.argmax(axis=1)
    rows = np.arange(len(lengths))
    assert (inputs.sum(axis=1) == inputs[rows, asked]).all()
    np.testing.assert_allclose(np.bincount(asked) / len(lengths), 0.2, atol=0.03)
    spans = asked == 1
    assert not (inputs[spans, 1] % 2).any() and not (targets[spans, 1] % 2).any()
    blind = (inputs.sum(axis=1) == 0) & (asked != 4)  # most numbers are 0 for a caption of 5
    assert blind.sum() / (asked != 4).sum() == pytest.approx(0.5, abs=0.03)
    some = inputs.sum(axis=1)[(asked != 4) & ~blind]
    assert some.min() <= 8 and some.max() > 190  # from few on


def test_condition_dropout_is_a_share_of_samples_and_leaves_the_others_alone() -> None:
    lengths = np.tile(WIDTHS, (20_000, 1))
    plain, some = (
        masked(MaskingConfig(condition_dropout=share), lengths, 8)[0] for share in (0.0, 0.25)
    )
    alone = ((some[0] > 0) | (some[1] > 0)).sum(axis=1) == 1
    assert not (((plain[0] > 0) | (plain[1] > 0)).sum(axis=1) == 1).any()
    assert alone.mean() == pytest.approx(0.25, abs=0.02)
    for ours, theirs in zip(some, plain, strict=True):
        others = ours[~alone]
        error = theirs.std(axis=0) * (1 / len(others) + 1 / len(theirs)) ** 0.5
        assert (abs(others.mean(axis=0) - theirs.mean(axis=0)) < 5 * error).all()


def test_a_modality_that_is_never_an_input_is_alone_without_any() -> None:
    config = MaskingConfig(
        condition_dropout=1.0, input_alpha={"caption": 0.0}, target_alpha={"rgb": 0.0}
    )
    (inputs, targets), _ = masked(config, short_captions(500), 9)
    assert not inputs[:, 4].any() and not targets[:, 0].any()
    assert set(targets.argmax(axis=1)) == {1, 2, 3, 4}


@pytest.mark.parametrize("side", ["input", "target"])
@pytest.mark.parametrize("alpha", [0.0, dict.fromkeys((m.name for m in PAPER), 0.0)])
def test_a_side_without_any_modality_is_refused(side, alpha) -> None:
    config = MaskingConfig.model_validate({f"{side}_alpha": alpha})
    with pytest.raises(ValueError, match=f"{side}_alpha: at least one modality"):
        config.alphas(side, PAPER)


def test_a_mixture_draws_one_component_per_sample() -> None:
    def only(name: str) -> dict:
        return {m.name: 1.0 if m.name == name else 1e-6 for m in PAPER}

    mixture: Any = [
        {"weight": 3, "input_alpha": only("rgb"), "target_alpha": only("depth")},
        {"weight": 1, "input_alpha": only("depth"), "target_alpha": only("rgb")},
    ]
    config = MaskingConfig(input_tokens=(64, 128), mixture=mixture)
    (inputs, targets), _ = masked(config, short_captions(4000), 4)
    from_rgb = inputs.argmax(axis=1) == 0
    assert from_rgb.mean() == pytest.approx(0.75, abs=0.04)
    assert (targets[from_rgb][:, 2] > 0).all() and (targets[~from_rgb][:, 0] > 0).all()


def test_weights_of_a_mixture_go_from_start_to_end() -> None:
    only = {"audio": 0.0, "depth": 0.0, "normals": 0.0, "caption": 0.0}
    mixture: Any = [
        {"weight": 1, "start_weight": 0, "input_alpha": only},
        {"weight": 0, "start_weight": 1},
        {"weight": 1},
    ]
    config = MaskingConfig(mixture=mixture)
    for progress, share in ((0.0, 0.0), (0.5, 0.25), (1.0, 0.5)):
        now = config.at(progress)
        assert now.at(0.3) is now
        (inputs, _), _ = masked(now, np.tile(WIDTHS, (4000, 1)), 11)
        assert (inputs[:, 1:] == 0).all(axis=1).mean() == pytest.approx(share, abs=0.04)
    assert config.at(1.0).mixture != config.mixture
    (last, _), (plain, _) = (
        masked(c, np.tile(WIDTHS, (50, 1)), 12)[0] for c in (config.at(1.0), config)
    )
    np.testing.assert_array_equal(last, plain)


@pytest.mark.parametrize(
    ("component", "when"),
    [({"start_weight": 0}, "first"), ({"weight": 0, "start_weight": 1}, "last")],
)
def test_a_mixture_without_any_weight_is_refused(component, when) -> None:
    with pytest.raises(ValueError, match=f"all weights are 0 at the {when} step"):
        MaskingConfig.model_validate({"mixture": [component, component]})


def test_samples_of_a_packed_batch() -> None:
    _, (inputs, _) = masked(MaskingConfig(), short_captions(6), 5)
    parts = [inputs.samples(0, 2), inputs.samples(2, 6)]
    for name in ("tokens", "positions", "modalities", "lengths"):
        joined = np.concatenate([getattr(p, name) for p in parts])
        np.testing.assert_array_equal(joined, getattr(inputs, name))


@st.composite
def situations(draw):
    n = draw(st.integers(2, 4))
    modalities = tuple(
        Modality(f"m{i}", 200, draw(st.integers(4, 24)), draw(st.sampled_from([None, None, 2, 3])))
        for i in range(n)
    )
    low, high = sorted(draw(st.tuples(st.integers(1, 40), st.integers(1, 40))))
    config = MaskingConfig(
        input_tokens=(low, high),
        target_tokens=(low, high),
        input_alpha=draw(st.sampled_from([1e-3, 0.2, 1.0, 10.0])),
        target_alpha=draw(st.sampled_from([1e-3, 1.0])),
        single_source_prob=draw(st.sampled_from([0.0, 0.5, 1.0])),
        modality_dropout=draw(st.sampled_from([0.0, 0.7])),
        condition_dropout=draw(st.sampled_from([0.0, 0.0, 0.5])),
    )
    return modalities, config, draw(st.integers(0, 10**6))


@st.composite
def some_are_zero(draw, names: list[str]) -> dict[str, float]:
    """One alpha per name, at least one of them above 0."""
    alphas = {name: draw(st.sampled_from([0.0, 1e-3, 0.5, 1.0, 1000.0])) for name in names}
    return {**alphas, draw(st.sampled_from(names)): 1.0}


@settings(max_examples=150, deadline=None)
@given(situations(), st.data())
def test_a_modality_of_alpha_0_is_never_on_that_side(situation, data) -> None:
    modalities, config, seed = situation
    names = [m.name for m in modalities]
    alphas = [data.draw(some_are_zero(names)) for _ in range(2)]
    config = config.model_copy(update={"input_alpha": alphas[0], "target_alpha": alphas[1]})
    full = np.array([m.max_tokens for m in modalities])
    rng, lengths = np.random.default_rng(seed), np.tile(full, (16, 1))
    plan = draw_plan(rng, modalities, config, 16)
    inputs, targets = draw_counts(rng, modalities, config, lengths, plan)
    never_in, never_out = (np.array([side[n] == 0 for n in names]) for side in alphas)
    assert not inputs[:, never_in].any()
    # Only where all that may be targets were used up as inputs is another one asked for.
    units = np.array([m.span_stride or 1 for m in modalities])
    used_up = (full - inputs < units)[:, ~never_out].all(axis=1)
    assert not targets[~used_up][:, never_out].any()
    room = (full - inputs >= units).any(axis=1)
    assert (targets[room].sum(axis=1) > 0).all()


@settings(max_examples=150, deadline=None)
@given(situations())
def test_every_sample_has_inputs_within_its_lengths_and_no_token_twice(situation) -> None:
    modalities, config, seed = situation
    rng = np.random.default_rng(seed)
    full = np.array([m.max_tokens for m in modalities])
    units = np.array([m.span_stride or 1 for m in modalities])
    lengths = rng.integers(units, full, (16, len(full)), endpoint=True)
    (inputs, targets), (shown, asked) = masked(config, lengths, seed, modalities)
    assert config.condition_dropout or (inputs.sum(axis=1) > 0).all()
    assert (inputs + targets <= lengths).all()
    assert (targets.sum(axis=1) <= config.target_tokens[1]).all()
    for sample in range(16):
        places = [
            (int(m), int(p))
            for side in (shown.samples(sample, sample + 1), asked.samples(sample, sample + 1))
            for m, p in zip(side.modalities, side.positions, strict=True)
        ]
        assert len(places) == len(set(places))


def test_plan_allows_everything_by_default() -> None:
    plan = draw_plan(np.random.default_rng(0), PAPER, MaskingConfig(), 50)
    assert plan.allowed.all() and (plan.source == -1).all()
    counts = draw_counts(
        np.random.default_rng(0), PAPER, MaskingConfig(), np.tile(WIDTHS, (50, 1)), plan
    )
    assert all(side.sum() > 0 for side in counts)
