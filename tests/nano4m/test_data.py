"""Batches are a function of data, settings, seed and number; captions are ragged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.nano4m.data import Ragged, TokenData, smallest_dtype, spread_keyframes
from nano4m_audio.nano4m.settings import MaskingConfig, Modality

MODALITIES = (Modality("rgb", 50, 16), Modality("caption", 90, 8))
MASKING = MaskingConfig(input_tokens=(2, 12), target_tokens=(2, 12))


def some_data(n: int, dtype=np.uint16) -> TokenData:
    rng = np.random.default_rng(n)
    rgb = rng.integers(0, 50, (n, 3, 16)).astype(dtype)
    return TokenData(MODALITIES, {"rgb": rgb}, [[i % 90] * (1 + i % 7) for i in range(n)])


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=8), st.data())
def test_ragged_slices_and_pads_like_lists(sequences, data):
    ragged = Ragged.of(sequences)
    start = data.draw(st.integers(0, len(sequences)))
    stop = data.draw(st.integers(0, len(sequences)))
    part, wanted = ragged[start:stop], sequences[start:stop]
    assert len(part) == len(wanted)
    assert part.lengths.tolist() == [len(s) for s in wanted]
    for row, sequence in zip(part.padded().tolist(), wanted, strict=True):
        assert row == sequence + [0] * (len(row) - len(sequence))


@pytest.mark.parametrize(
    ("size", "dtype"), [(2, np.uint16), (65_536, np.uint16), (65_537, np.int32)]
)
def test_the_smallest_dtype_holds_the_last_id(size, dtype):
    assert smallest_dtype(size) is dtype
    assert int(np.array(size - 1).astype(smallest_dtype(size))) == size - 1


@given(st.integers(1, 10), st.integers(1, 10))
def test_keyframes_are_the_middles_of_equal_parts(count, of):
    count = min(count, of)
    found = spread_keyframes(count, of)
    middles = (np.arange(count) + 0.5) * of / count
    assert (np.abs(np.array(found) - (middles - 0.5)) <= 0.5).all()
    assert len(set(found)) == count and set(found) <= set(range(of))


def test_three_keyframes_of_ten():
    assert [spread_keyframes(n) for n in (1, 3)] == [[5], [1, 5, 8]]
    assert some_data(4).spread_keyframes(None).tolist() == [0, 1, 2]


@pytest.mark.parametrize("n", [1, 5, 64])
def test_every_epoch_visits_every_clip_once(n):
    data, size = some_data(n), 4
    drawn = np.concatenate([data.batch(k, size, MASKING, 0).clips for k in range(n)])
    for epoch in range(size):
        assert sorted(drawn[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_the_stored_dtype_changes_no_batch():
    a, b = some_data(9), some_data(9, np.int64)
    for step in range(3):
        x, y = a.batch(step, 5, MASKING, 3), b.batch(step, 5, MASKING, 3)
        np.testing.assert_array_equal(x.inputs.tokens, y.inputs.tokens)
        np.testing.assert_array_equal(x.targets.tokens, y.targets.tokens)
        assert x.inputs.tokens.dtype == np.int64


@pytest.mark.parametrize(
    ("rgb", "captions", "message"),
    [
        (np.full((2, 1, 16), 50), [[1], [2]], "rgb row 0, keyframe 0, position 0: id 50"),
        (np.zeros((2, 1, 15), int), [[1], [2]], r"rgb: tokens have shape \[2, 1, 15\]"),
        (np.zeros((2, 1, 16), int), [[1], []], "caption row 1: 0 ids"),
        (np.zeros((2, 1, 16), int), [[1], [1] * 9], "caption row 1: 9 ids"),
        (np.zeros((2, 1, 16), int), [[1]], "different numbers of clips"),
    ],
)
def test_wrong_tokens_are_named(rgb, captions, message):
    with pytest.raises(ValueError, match=message):
        TokenData(MODALITIES, {"rgb": rgb}, captions)
