"""Schedules, orders, filters and draws against the recorded reference; what generation promises."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.nano4m.attention import Tokens
from nano4m_audio.nano4m.data import whole
from nano4m_audio.nano4m.generate import (
    NOTHING,
    Marks,
    generate,
    generate_chain,
    known_ids,
    with_ids,
    without,
)
from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.sampling import Sampling
from nano4m_audio.nano4m.unmasking import (
    constant_schedule,
    cosine_schedule,
    draw_ids,
    filter_logits,
    halton_order,
    maskgit_temperatures,
    positions_per_pass,
)
from tests.nano4m.test_model import SMALL, check_greedy_roar, load_golden

RGB, AUDIO, CAPTION = range(3)
MARKS = {CAPTION: Marks(start=98, end=99)}
SAMPLINGS = st.builds(
    Sampling,
    scheme=st.sampled_from(["maskgit", "roar"]),
    schedule=st.sampled_from(["cosine", "constant"]),
    order=st.sampled_from(["scheme", "halton"]),
    steps=st.integers(1, 12),
    temperature=st.sampled_from([0.0, 1e-9, 0.7, 1.0, 10.0]),
    top_k=st.sampled_from([0, 1, 5, 1000]),
    top_p=st.sampled_from([0.0, 0.5, 1.0]),
    guidance=st.sampled_from([0.0, 2.0]),
    seed=st.integers(0, 2**63 - 1),
)


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


@pytest.fixture(scope="module")
def model() -> FourM:
    """A model that looks at its inputs: every weight is large."""
    model = FourM(SMALL.model_copy(update={"init": "scaled"}), seed=5).eval()
    with torch.no_grad():
        model.dec_mod_emb.weight.mul_(0.1)
        model.to_logits.weight.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
    return model


def some_samples(count: int = 6, seed: int = 0) -> Packed:
    """Samples of different shapes: a picture, part of the sound, part of a caption, or little."""
    rng = np.random.default_rng(seed)
    given = whole(RGB, rng.integers(0, 64, (count, 16)), rng.choice([3, 16], count))
    for modality, vocab_size, width in ((AUDIO, 32, 32), (CAPTION, 98, 8)):
        ids = rng.integers(0, vocab_size, (count, width))
        known = rng.random((count, 1)) < 0.5
        known = known & (np.arange(width) < rng.choice([2, 5], (count, 1)))
        if modality == AUDIO:
            ids = ids % 16 + np.arange(width) % 2 * 16
        given = with_ids(given, modality, np.where(known, ids, NOTHING))
    return given


def one_by_one(given: Packed, numbers: np.ndarray, call: Any) -> np.ndarray:
    parts = [call(given.samples(i, i + 1), numbers[i : i + 1]) for i in range(len(numbers))]
    return np.concatenate(parts)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    sampling=SAMPLINGS,
    modality=st.sampled_from([RGB, AUDIO, CAPTION]),
    order=st.permutations(range(6)),
    count=st.integers(1, 6),
)
def test_a_sample_is_the_same_in_any_batch(model, sampling, modality, order, count) -> None:
    """And keeps what is known, stays in the ids and codebooks of its modality, and fills it."""
    given = some_samples()
    numbers = np.array([7, 0, 3, 2**40, 5, 11])

    def call(part: Packed, of: np.ndarray) -> np.ndarray:
        return generate(model, part, modality, sampling, of, marks=MARKS)

    alone = one_by_one(given, numbers, call)
    chosen = list(order)[:count]
    parts = [given.samples(i, i + 1) for i in chosen]
    columns = (np.concatenate([getattr(p, f) for p in parts]) for f in Packed.__annotations__)
    np.testing.assert_array_equal(call(Packed(*columns), numbers[chosen]), alone[chosen])

    spec = SMALL.modalities[modality]
    known = known_ids(given, modality, spec.max_tokens)
    assert ((alone == known) | (known == NOTHING)).all()
    assert alone.shape == (6, spec.max_tokens) and alone.max() < spec.vocab_size
    if modality == CAPTION:
        check_captions(alone)
    else:
        assert alone.min() >= 0
    if modality == AUDIO:
        assert (alone // 16 == np.arange(32) % 2).all()


def test_a_sample_is_the_same_in_any_batch_on_a_gpu(model, gpu) -> None:
    there, given, numbers = deepcopy(model).to(gpu), some_samples(), np.arange(6)
    sampling = Sampling(guidance=1.0, top_p=0.9)
    for modality in (RGB, AUDIO, CAPTION):

        def call(part: Packed, of: np.ndarray, m=modality) -> np.ndarray:
            return generate(there, part, m, sampling, of, marks=MARKS)

        alone = one_by_one(given, numbers, call)
        np.testing.assert_array_equal(call(given, numbers), alone)


def test_the_model_sees_batches_of_one_shape(model) -> None:
    """Of another shape they may round otherwise, and a near tie would be another id."""
    seen = []
    hook = model.encoder.blocks[0].register_forward_pre_hook(
        lambda _, inputs: seen.append((tuple(inputs[0].shape), inputs[1].lengths))
    )
    for count in (1, 3, 8, 9):
        given = whole(RGB, np.zeros((count, 16), int), np.full(count, 16))
        generate(model, given, AUDIO, Sampling(steps=2), np.arange(count))
    hook.remove()
    assert [seen.count(shape) for shape in seen[:2]] == [5, 5] and len(seen) == 10


def check_captions(ids: np.ndarray) -> None:
    for row in ids.tolist():
        end = row.index(99)
        assert set(row[end + 1 :]) <= {NOTHING} and NOTHING not in row[:end]
        assert row.count(98) <= 1 and row.count(99) == 1
    assert ids.shape[1] == 8


def test_known_parts_of_a_caption_are_written_on(model) -> None:
    """Its end comes after what is known, and a caption that has ended stays as it is."""
    ids = np.array(
        [[98, 5, NOTHING, NOTHING, 7, NOTHING, NOTHING, NOTHING], [98, 5, 99] + [-1] * 5]
    )
    given = with_ids(whole(RGB, np.zeros((2, 16), int), np.array([16, 16])), CAPTION, ids)
    for seed in range(20):
        sampling = Sampling(temperature=10, seed=seed)
        out = generate(model, given, CAPTION, sampling, np.arange(2), marks=MARKS)
        check_captions(out)
        assert out[0, 4] == 7 and (out[0, :5] != 99).all()
        np.testing.assert_array_equal(out[1], ids[1])


def test_captions_without_marks_have_their_full_length(model) -> None:
    given = whole(RGB, np.zeros((2, 16), int), np.array([16, 9]))
    assert generate(model, given, CAPTION, Sampling(), np.arange(2)).min() >= 0


@pytest.mark.parametrize("scheme", ["maskgit", "roar"])
def test_seeds_and_numbers_of_samples_decide_what_is_drawn(model, scheme) -> None:
    given = whole(RGB, np.zeros((2, 16), int), np.array([16, 16]))
    first, again, other = (
        generate(model, given, AUDIO, Sampling(scheme=scheme, seed=s), np.arange(2))
        for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first[0] != first[1]).any()
    swapped = generate(model, given, AUDIO, Sampling(scheme=scheme, seed=1), np.array([1, 0]))
    np.testing.assert_array_equal(swapped, first[::-1])


def test_every_option_changes_what_is_made(model) -> None:
    given = whole(RGB, np.arange(64).reshape(4, 16), np.full(4, 16))
    made: dict[bytes, Any] = {}
    usual: dict[str, Any] = {"temperature": 3.0, "scheme": "roar", "schedule": "constant"}
    for option in (
        {},
        {"scheme": "maskgit"},
        {"schedule": "cosine"},
        {"order": "halton"},
        {"steps": 2},
        {"temperature": 0.0},
        {"top_k": 2},
        {"top_p": 0.3},
        {"guidance": 3.0},
        {"seed": 1},
    ):
        ids = generate(model, given, AUDIO, Sampling(**usual | option), np.arange(4))
        assert ids.tobytes() not in made, f"{option} is as {made[ids.tobytes()]}"
        made[ids.tobytes()] = option


def test_guidance_goes_from_the_scores_without_the_source_beyond_those_with_it(model) -> None:
    """One greedy pass: the most likely ids of uncond + (1 + g) (cond - uncond)."""
    given = whole(RGB, np.arange(16)[None], np.array([16]))
    nothing = Packed(*(np.zeros(0, np.int64),) * 3, np.zeros(1, np.int64))
    with torch.no_grad():
        asked = whole(CAPTION, np.zeros((1, 8), int), np.array([8]))
        cond, uncond = (
            model.to_logits(model(Tokens.of(side), Tokens.of(asked))) for side in (given, nothing)
        )
    expected = (uncond + (1 + 1.5) * (cond - uncond)).argmax(dim=1)
    sampling = Sampling(steps=1, temperature=0, guidance=1.5)
    out = generate(model, given, CAPTION, sampling, np.zeros(1, int))
    np.testing.assert_array_equal(out[0], expected)
    assert (expected != cond.argmax(dim=1)).any()


def test_a_chain_feeds_each_modality_into_the_next(model) -> None:
    given, numbers = whole(RGB, np.arange(32).reshape(2, 16), np.array([16, 16])), np.arange(2)
    made = generate_chain(model, given, [CAPTION, AUDIO], Sampling(), numbers, marks=MARKS)
    caption = generate(model, given, CAPTION, Sampling(), numbers, marks=MARKS)
    np.testing.assert_array_equal(made[CAPTION], caption)
    longer = with_ids(given, CAPTION, caption)
    audio = generate(model, longer, AUDIO, Sampling(), numbers)
    np.testing.assert_array_equal(made[AUDIO], audio)
    assert (audio != generate(model, given, AUDIO, Sampling(), numbers)).any()


def test_wrong_samples_orders_and_marks_are_refused(model) -> None:
    given = whole(RGB, np.zeros((2, 16), int), np.array([16, 16]))
    for numbers in (np.arange(3), np.array([0, -1])):
        with pytest.raises(ValueError, match="as many numbers"):
            generate(model, given, AUDIO, Sampling(), numbers)
    with pytest.raises(ValueError, match="every position"):
        generate(model, given, AUDIO, Sampling(), np.arange(2), order=np.zeros((2, 32), int))
    with pytest.raises(ValueError, match="has no ids"):
        generate(
            model, given, CAPTION, Sampling(), np.arange(2), marks={CAPTION: Marks(50258, 50259)}
        )


def test_ids_are_taken_out_and_put_back() -> None:
    given = some_samples()
    for modality in (RGB, AUDIO, CAPTION):
        ids = known_ids(given, modality, SMALL.modalities[modality].max_tokens)
        rest = without(given, modality)
        assert modality not in rest.modalities
        again = with_ids(rest, modality, ids)
        assert again.lengths.tolist() == given.lengths.tolist()
        np.testing.assert_array_equal(known_ids(again, modality, ids.shape[1]), ids)


@given(n=st.integers(1, 700), sampling=SAMPLINGS)
def test_passes_fill_exactly_what_is_left(n, sampling) -> None:
    parts = positions_per_pass(n, sampling)
    assert sum(parts) == n and min(parts) >= 1 and len(parts) <= sampling.steps


@pytest.mark.parametrize(("n", "line"), [(1, False), (196, False), (512, True), (8, False)])
def test_halton_orders_name_every_position_once(n, line) -> None:
    assert sorted(halton_order(n, line)) == list(range(n))


def test_beginnings_of_the_halton_order_lie_spread_over_the_picture() -> None:
    """From a cell to the nearest of the first 64 it is less far than in a random order."""
    cells = np.stack(np.divmod(np.arange(196), 14), axis=1)

    def distance(order: np.ndarray) -> float:
        between = np.linalg.norm(cells[:, None] - cells[order[:64]], axis=2)
        return between.min(axis=1).mean()

    rng = np.random.default_rng(0)
    assert distance(halton_order(196)) < min(distance(rng.permutation(196)) for _ in range(100))


def test_draws_have_the_probabilities_of_the_model() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, -torch.inf]).expand(20_000, 5)
    uniform = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ids, sure = draw_ids(logits, uniform, 0.5)
    found = np.bincount(ids, minlength=5) / len(ids)
    np.testing.assert_allclose(found, (logits[0] / 0.5).softmax(0), atol=0.01)
    np.testing.assert_allclose(sure, logits[0].log_softmax(0)[ids], rtol=1e-6)


def test_the_edges_of_the_unit_interval_draw_ids_that_may_be_drawn() -> None:
    logits = torch.tensor([-torch.inf, 0.0, 0.0, -torch.inf]).expand(2, 4)
    uniform = torch.tensor([0.0, np.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert draw_ids(logits, uniform, 1.0)[0].tolist() == [1, 2]
    assert draw_ids(logits, uniform, 0.0)[0].tolist() == [1, 1]


def test_pictures_with_a_stride_that_does_not_divide_their_ids_use_all_of_them() -> None:
    odd = replace(SMALL.modalities[AUDIO], vocab_size=33)
    modalities = SMALL.modalities[RGB], odd, SMALL.modalities[CAPTION]
    model = FourM(SMALL.model_copy(update={"modalities": modalities}), seed=1)
    given = whole(RGB, np.zeros((1, 16), int), np.array([16]))
    assert generate(model, given, AUDIO, Sampling(), np.zeros(1, int)).max() < 33
