"""The ImageTokenizer Protocol over the toy-size network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.divae.tokenizer import FourmNormalTokenizer, FourmRgbTokenizer
from nano4m_audio.errors import UserError


@pytest.fixture(scope="module")
def rgb(tiny) -> FourmRgbTokenizer:
    return FourmRgbTokenizer(tiny, Compute(dtype="bfloat16"))


def _images(n: int) -> np.ndarray:
    shape = (n, 3, 224, 224)
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def test_tokens_and_pictures_have_the_shapes_of_the_protocol(rgb):
    tokens = rgb.tokenize(_images(2))
    assert tokens.shape == (2, rgb.n_tokens) == (2, 196) and tokens.dtype == np.int32
    assert tokens.min() >= 0 and tokens.max() < rgb.vocab_size == 64
    pictures = rgb.decode(tokens, steps=2)
    assert pictures.shape == (2, 3, 224, 224) and pictures.dtype == np.float32
    assert abs(pictures).max() <= 1


def test_it_runs_in_float32_whatever_is_asked(rgb):
    assert {p.dtype for p in rgb.net.parameters()} == {torch.float32}


def test_rows_are_bit_identical_however_they_are_batched(rgb):
    images = _images(11)
    whole = rgb.tokenize(images)
    order = np.random.default_rng(0).permutation(11)
    assert np.array_equal(rgb.tokenize(images[order]), whole[order])
    pieces = np.split(images, [1, 4, 9])
    assert np.array_equal(np.concatenate([rgb.tokenize(p) for p in pieces]), whole)
    pictures = rgb.decode(whole[:5], steps=1)
    pieces = [rgb.decode(piece, steps=1) for piece in np.split(whole[:5], [2])]
    assert np.array_equal(np.concatenate(pieces), pictures)


def test_steps_and_seed_decide_the_picture(rgb):
    tokens = rgb.tokenize(_images(1))
    first = rgb.decode(tokens, steps=1, seed=5)
    assert np.array_equal(rgb.decode(tokens, steps=1, seed=5), first)
    assert not np.array_equal(rgb.decode(tokens, steps=1, seed=6), first)
    assert not np.array_equal(rgb.decode(tokens, steps=2, seed=5), first)


def test_normals_are_turned_round_on_the_way_in_and_out(tiny, rgb):
    normals, images = FourmNormalTokenizer(tiny, Compute()), _images(1)
    tokens = normals.tokenize(images)
    assert np.array_equal(tokens, rgb.tokenize(-images))
    assert not np.array_equal(tokens, rgb.tokenize(images))
    assert np.array_equal(normals.decode(tokens, steps=1), -rgb.decode(tokens, steps=1))


@pytest.mark.parametrize("shape", [(1, 1, 224, 224), (1, 3, 448, 448), (3, 224, 224)])
def test_other_shapes_are_refused_in_one_line(rgb, shape):
    with pytest.raises(UserError, match=r"\[B, 3, 224, 224\]"):
        rgb.tokenize(np.zeros(shape, np.float32))


def test_other_tokens_are_refused(rgb):
    with pytest.raises(UserError, match=r"\[B, 196\]"):
        rgb.decode(np.zeros((1, 784), np.int32))
    with pytest.raises(ValueError, match=r"0\.\.63"):
        rgb.decode(np.full((1, 196), 64))
