"""The building blocks at toy size against numbers recorded from the reference code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.backends.rows import check_tokens

ATOL = 1e-4
NAME = "fourm_divae_tiny"


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)


@pytest.mark.parametrize("size", ["64x64", "32x96"])
def test_pictures_become_the_recorded_tokens(tiny, golden, size):
    _, io = golden(NAME)
    images = _tensor(io[f"image_{size}"])
    assert np.allclose(tiny.encoder(images), io[f"features_{size}"], atol=ATOL)
    assert np.allclose(tiny.latents(images), io[f"latents_{size}"], atol=ATOL)
    tokens = tiny.tokens(images)
    check_tokens(tokens, io[f"tokens_{size}"], io[f"token_margin_{size}"], ATOL, firm=0.9)
    vectors = tiny.quantize.vectors(_tensor(io[f"tokens_{size}"]))
    assert np.array_equal(vectors, io[f"quantized_{size}"])


@pytest.mark.parametrize("t", [999, 500, 0])
def test_the_decoder_predicts_the_recorded_pictures(tiny, golden, t):
    _, io = golden(NAME)
    codes = _tensor(io["quantized_64x64"])
    assert np.allclose(tiny.predict(_tensor(io["x_t"]), t, codes), io[f"unet_t{t}"], atol=ATOL)


def test_each_picture_of_a_batch_has_its_own_time(tiny, golden):
    _, io = golden(NAME)
    times = torch.tensor([999, 3])
    out = tiny.decoder(_tensor(io["x_t"]), times, _tensor(io["quantized_64x64"]))
    assert np.allclose(out, io["unet_t_pair"], atol=ATOL)


def test_codes_that_are_zero_are_the_recorded_condition_mask(tiny, golden):
    _, io = golden(NAME)
    codes = _tensor(io["quantized_64x64"] * ~io["cond_mask"][:, None])
    assert np.allclose(
        tiny.predict(_tensor(io["x_t"]), 500, codes), io["unet_masked_t500"], atol=ATOL
    )


def test_a_wide_picture_decodes_as_recorded(tiny, golden):
    _, io = golden(NAME)
    out = tiny.predict(_tensor(io["x_t_wide"]), 500, _tensor(io["quantized_32x96"]))
    assert np.allclose(out, io["unet_wide_t500"], atol=ATOL)


def test_five_steps_of_diffusion_end_at_the_recorded_picture(tiny, golden):
    _, io = golden(NAME)
    tokens, start = _tensor(io["tokens_64x64"]), _tensor(io["x_t"])
    images = tiny.decode(tokens, start, 5, torch.Generator())
    assert np.allclose(images, io["decode_5_steps"], atol=ATOL)
