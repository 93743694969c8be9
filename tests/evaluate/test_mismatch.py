"""What training showed, and what targets cost given so few modalities."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.config.experiment import presets
from nano4m_audio.evaluate import mismatch
from nano4m_audio.evaluate.fixed_targets import FixedTargets
from nano4m_audio.evaluate.mismatch import draw_shares_of_training, number_of_sources, training
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import MaskingConfig, Modality
from tests.evaluate.planted import SIZE, Oracle, probe_inputs, world


def long_data(n: int = 64) -> TokenData:
    """Five modalities, none of which is shorter than its budget can be."""
    modalities = tuple(Modality(name, 8, 600) for name in "abcde")
    tokens = {m.name: np.zeros((n, 1, 600), np.uint16) for m in modalities}
    return TokenData(modalities, tokens, [])


@pytest.mark.parametrize(
    ("alpha", "single", "to_single"),
    [(0.01, 0.89, 0.63), (0.1, 0.32, 0.08), (0.2, 0.11, 0.009), (1.0, 0.0, 0.0)],
)
def test_alpha_decides_how_often_one_modality_is_all_there_is(
    alpha, single, to_single, monkeypatch
):
    monkeypatch.setattr(mismatch, "SAMPLES", 2048)
    masking = MaskingConfig(
        input_alpha=alpha, target_alpha=alpha, input_tokens=(256, 256), target_tokens=(256, 256)
    )
    found = training(*draw_shares_of_training(long_data(), masking, seed=0))
    assert found["single_source"] == pytest.approx(single, abs=0.03)
    assert found["single_to_single"] == pytest.approx(to_single, abs=0.03)
    assert sum(found["by_number"]) == pytest.approx(1)


def test_single_sources_that_are_asked_for_are_found(monkeypatch):
    monkeypatch.setattr(mismatch, "SAMPLES", 2048)
    masking = MaskingConfig(
        single_source_prob=0.4, input_tokens=(200, 256), target_tokens=(200, 256)
    )
    found = training(*draw_shares_of_training(long_data(), masking, seed=0))
    assert found["single_source"] == pytest.approx(0.4, abs=0.04)


def test_a_curriculum_is_drawn_from_its_first_step_to_its_last():
    masking = MaskingConfig.model_validate(
        {**presets()["curriculum"]["masking"],
         "input_tokens": (256, 256), "target_tokens": (256, 256)}
    )  # fmt: skip
    found, first, last = (
        training(*draw_shares_of_training(long_data(), part, seed=0))["single_source"]
        for part in (masking, masking.at(0), masking.at(1))
    )
    assert first < 0.01 and last > 0.3  # from everything at once to one modality
    assert found == pytest.approx((first + last) / 2, abs=0.03)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.randoms())
def test_the_number_of_sources_is_the_fewest_that_hold_95_percent(tokens, random):
    random.shuffle(tokens)
    number = int(number_of_sources(np.array([tokens]))[0])
    largest = sorted(tokens, reverse=True)
    assert sum(largest[:number]) >= 0.95 * sum(tokens) - 1e-9
    assert number == 1 or sum(largest[: number - 1]) < 0.95 * sum(tokens)


def test_a_source_that_matters_is_among_more_of_the_inputs():
    data, labels = world("class")
    trust = 4.0
    inputs = probe_inputs(
        Oracle(np.arange(32) % 16, trust), data, [f"class{c}" for c in labels],
        masking={"input_tokens": (1, 8), "target_tokens": (1, 8)},
    )  # fmt: skip
    rows = {row["target"]: row for row in mismatch.compute(inputs)["targets"]}
    right = log(1 + 15 * exp(-trust))
    # The sound is one of two other modalities: half of the clips are given it alone, all with both.
    assert rows["rgb"]["by_number"] == pytest.approx([(right + log(16)) / 2, right], abs=1e-5)
    assert rows["rgb"]["one_minus_all"]["value"] == pytest.approx((log(16) - right) / 2, abs=1e-5)
    assert rows["audio"]["by_number"] == pytest.approx([log(32)] * 2, abs=1e-5)
    assert 0 < rows["rgb"]["training"]["asked"] <= 1
    assert sum(rows["rgb"]["training"]["by_number"]) == pytest.approx(1)


def test_every_clip_has_nested_inputs_and_every_source_is_shown_equally_often(monkeypatch):
    data, labels = world("class", n=12)
    fixed = FixedTargets(probe_inputs(FourM(SIZE).eval(), data, [f"{c}" for c in labels]))
    seen: dict[int, list[tuple[int, ...]]] = {}
    real = fixed.losses

    def losses(shown, sources, targets):
        for clip in np.flatnonzero(sources["own"] >= 0).tolist():
            seen.setdefault(clip, []).append(shown.modalities)
        return real(shown, sources, targets)

    monkeypatch.setattr(fixed, "losses", losses)
    found = mismatch._by_number(fixed, 0)
    assert len(found) == 2 and all(np.isfinite(x).all() for x in found)
    for one, both in seen.values():
        assert set(one) < set(both) == {1, 2}
    firsts = [one[0] for one, _ in seen.values()]
    assert len(seen) == 12 and firsts.count(1) == firsts.count(2) == 6


@pytest.mark.parametrize("n", [1, 3])
def test_few_clips_have_values(n):
    data, labels = world("class", n=n)
    result = mismatch.compute(probe_inputs(FourM(SIZE).eval(), data, [f"class{c}" for c in labels]))
    rows = {row["target"]: row for row in result["targets"]}
    assert rows["rgb"]["by_number"][-1] is not None
    assert rows["rgb"]["one_minus_all"]["p"] is None
    if n == 1:  # one caption: nothing of it is left to ask for
        assert rows["caption"]["by_number"] == [None, None]
