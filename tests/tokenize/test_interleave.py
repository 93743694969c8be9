"""Audio codes to one id sequence and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nano4m_audio.media.windows import fit_length
from nano4m_audio.tokenize.interleave import deinterleave, interleave
from nano4m_audio.tokenize.keyframes import rgb_image


@given(
    npst.arrays(np.int32, npst.array_shapes(min_dims=3, max_dims=3), elements=st.integers(0, 1023))
)
def test_flattening_has_an_exact_inverse(codes):
    flat = interleave(codes, 1024)
    assert flat.shape == (len(codes), codes.shape[1] * codes.shape[2])
    assert (deinterleave(flat, codes.shape[1], 1024) == codes).all()


def test_the_order_is_time_first_and_codebooks_have_their_own_ids():
    codes = np.array([[[1, 2, 3], [4, 5, 6]]])
    assert interleave(codes, 1024).tolist() == [[1, 1028, 2, 1029, 3, 1030]]


@pytest.mark.parametrize("ids", [[[1024, 1024]], [[1, 1]], [[0, 2048]]])
def test_ids_of_the_wrong_codebook_are_refused(ids):
    with pytest.raises(ValueError, match="codebook"):
        deinterleave(np.array(ids), 2, 1024)


def test_lengths_and_ranges():
    assert fit_length(np.ones((2, 5)), 3).shape == (2, 3)
    assert fit_length(np.ones((2, 5)), 8)[:, 5:].sum() == 0
    image = rgb_image(np.array([[[[0, 127, 255]]]], np.uint8))
    assert image.shape == (1, 3, 1, 1)
    assert image.ravel().tolist() == pytest.approx([-1, -0.0039, 1], abs=1e-3)
