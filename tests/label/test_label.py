"""The stored form of depth and normals, and its error."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nano4m_audio import label

DEPTHS = npst.arrays(np.float32, (2, 6, 5), elements=st.floats(-1000, 1000, width=32))


@given(DEPTHS)
def test_depth_comes_back_within_the_stated_error(depth):
    back = label.decode_depth(label.encode_depth(depth))
    span = depth.max((1, 2)) - depth.min((1, 2))
    allowed = span / 131_070 + 1e-4 * np.abs(depth).max() * 1e-2 + 1e-6
    assert (np.abs(back - depth).max((1, 2)) <= allowed).all()


@given(npst.arrays(np.float32, (1, 4, 4, 3), elements=st.floats(-1, 1, width=32)))
def test_normals_come_back_within_half_a_degree(vectors):
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors = np.where(length > 1e-3, vectors, np.float32([0, 0, 1]))
    normals = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    back = label.decode_normals(label.encode_normals(normals))
    angle = np.degrees(np.arccos(np.clip((back * normals).sum(-1), -1, 1)))
    assert angle.max() < 0.5


def test_the_tokenizer_sees_depth_between_minus_one_and_one():
    depth = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    image = label.depth_image(depth)
    assert image.shape == (3, 1, 8, 8)
    assert image.min((1, 2, 3)).tolist() == [-1, -1, -1]
    assert image.max((1, 2, 3)).tolist() == [1, 1, 1]


def test_a_flat_map_is_not_a_division_by_zero():
    depth = np.full((1, 4, 4), 7.0, np.float32)
    assert (label.decode_depth(label.encode_depth(depth)) == 7).all()
    assert np.isfinite(label.depth_image(depth)).all()
