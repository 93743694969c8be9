"""Schedules, filters and greedy generation against the recorded reference; invariants."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nano4m_audio.nano4m.data import whole
from nano4m_audio.nano4m.generate import (
    constant_schedule,
    cosine_schedule,
    extend,
    filter_logits,
    generate_maskgit,
    generate_roar,
    maskgit_temperatures,
    sample_tokens,
)
from nano4m_audio.nano4m.model import FourM
from tests.nano4m.test_model import SMALL, check_greedy_roar, load_golden

TOGETHER = whole(0, np.arange(32).reshape(2, 16), np.array([16, 9]))


@pytest.fixture(scope="module")
def schedules(shared: Path) -> dict:
    folder = shared / "golden" / "nano4m_unmasking_schedule"
    return json.loads((folder / "schedules.json").read_text())


def numbers(key: str) -> list[int]:
    return [int(part) for part in key.split(",")]


def test_schedules_match_the_reference(schedules) -> None:
    for key, expected in schedules["constant"].items():
        assert constant_schedule(*numbers(key)) == expected, key
    for key in schedules["constant_rejected"]:
        with pytest.raises(ValueError, match="cannot be generated"):
            constant_schedule(*numbers(key))
    for key, expected in schedules["maskgit_cosine"].items():
        n_tokens, steps = numbers(key)
        parts = cosine_schedule(n_tokens, steps)
        assert parts == expected["committed"], key
        assert n_tokens - sum(parts) == expected["left_for_final_argmax"], key
        np.testing.assert_allclose(
            maskgit_temperatures(1.0, steps)[: len(parts)],
            expected["temperature_for_base_1"],
            atol=1e-6,
        )


def test_filters_match_the_reference(shared: Path) -> None:
    folder = shared / "golden" / "nano4m_unmasking_schedule"
    meta = json.loads((folder / "meta.json").read_text())
    fragile = {(case["index"], case["row"]) for case in meta["fragile"]}
    with np.load(folder / "io.npz") as io:
        io = dict(io)
    logits = torch.from_numpy(io["logits"])
    for case in meta["filter_cases"]:
        i = case["index"]
        top_k = int(case["top_k"]) if case["top_k_is"] == "int" else float(case["top_k"])
        filtered = filter_logits(logits, top_k, case["top_p"])
        shares = (filtered / 0.7).softmax(dim=-1)
        for row in range(len(logits)):
            if (i, row) in fragile:  # equal logits: which one is kept is the sort's choice
                assert int(filtered[row].isfinite().sum()) == case["kept_per_row"][row]
                continue
            np.testing.assert_array_equal(filtered[row].isfinite(), io[f"keep_{i}"][row])
            expected = io[f"probabilities_t07_{i}"][row]
            np.testing.assert_allclose(shares[row], expected, atol=1e-6)
    with pytest.raises(ValueError, match="less than one of 50 ids"):
        filter_logits(logits, 0.001)


def test_greedy_roar_matches_the_reference(shared: Path) -> None:
    check_greedy_roar(load_golden(shared / "golden" / "nano4m_small"))


def trained_looking_model() -> FourM:
    model = FourM(SMALL, seed=5).eval()
    with torch.no_grad():
        model.to_logits.weight.normal_(0, 0.03, generator=torch.Generator().manual_seed(1))
    return model


@pytest.mark.parametrize("generate", [generate_roar, generate_maskgit])
def test_generation_is_repeatable_and_fills_every_position(generate) -> None:
    model = trained_looking_model()
    out = [
        generate(model, TOGETHER, 1, 4, generator=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    ]
    assert out[0].shape == (2, 32)
    np.testing.assert_array_equal(out[0], out[1])
    assert (out[0] != out[2]).any()
    assert len(np.unique(out[0])) > 5


def test_maskgit_stays_within_the_ids_of_the_modality() -> None:
    out = generate_maskgit(trained_looking_model(), TOGETHER, 1, 4)
    assert out.min() >= 0 and out.max() < SMALL.modalities[1].vocab_size


def test_samples_of_a_batch_are_generated_as_if_alone() -> None:
    # In float64: products of other shapes may round otherwise, and a near tie would be another id.
    model, order = trained_looking_model().double(), np.tile(np.arange(32)[::-1], (2, 1))
    both = generate_roar(model, TOGETHER, 1, 8, 0.0, order=order)
    for i in range(2):
        alone = generate_roar(model, TOGETHER.samples(i, i + 1), 1, 8, 0.0, order=order[:1])
        np.testing.assert_array_equal(both[i], alone[0])


def test_extend_adds_to_the_end_of_every_sample() -> None:
    longer = extend(TOGETHER, 2, np.array([[3, 1], [0, 2]]), np.array([[50, 51], [52, 53]]))
    assert longer.lengths.tolist() == [18, 11]
    assert longer.tokens[16:18].tolist() == [50, 51] and longer.tokens[-2:].tolist() == [52, 53]
    assert longer.positions[-2:].tolist() == [0, 2] and longer.modalities[-2:].tolist() == [2, 2]
    np.testing.assert_array_equal(longer.samples(1, 2).tokens[:9], np.arange(16, 25))


def test_greedy_sampling_reports_certainty() -> None:
    ids, shares = sample_tokens(torch.tensor([[0.0, 3.0, 1.0]]), temperature=0)
    assert ids.tolist() == [1] and shares.tolist() == [1.0]
