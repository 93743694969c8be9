"""The three published tokenizers at full size, with seeded weights, against recorded numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.divae.model import Divae
from nano4m_audio.backends.divae.settings import read_settings
from nano4m_audio.backends.divae.tokenizer import FourmRgbTokenizer
from tests.backends.rows import check_tokens

pytestmark = pytest.mark.slow

RGB = "fourm_divae_rgb_16k"
ROUNDING = 1e-4  # of a cosine, as recorded with the margins


@dataclass(frozen=True)
class Loaded:
    """A tokenizer that went through files, and what its reference gave."""

    tokenizer: FourmRgbTokenizer
    meta: dict[str, Any]
    io: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def rgb(published, golden) -> Iterator[Loaded]:
    folder = published(RGB)
    yield Loaded(FourmRgbTokenizer.load(Compute(), folder), *golden(RGB))
    (folder / "model.safetensors").unlink()  # 1.1 GB


def _input(recipe, meta: dict[str, Any], name: str) -> torch.Tensor:
    wanted = meta["inputs"][name]
    return recipe.seeded_tensor(wanted["key"], wanted["shape"], wanted["kind"])


def test_config_and_keys_are_those_of_the_published_files(rgb):
    net = rgb.tokenizer.net
    assert len(net.state_dict()) == 604
    assert sum(p.numel() for p in net.parameters()) + 768 * 28 * 28 == rgb.meta["parameters"]
    assert (rgb.tokenizer.vocab_size, rgb.tokenizer.channels) == (16384, 3)


def test_tokens_and_latents_at_224_pixels(rgb):
    tokens = rgb.tokenizer.tokenize(rgb.io["image"])
    assert tokens.shape == (1, 196) and tokens.dtype == np.int32
    check_tokens(tokens, rgb.io["tokens"], rgb.io["token_margin"], ROUNDING)
    latents = rgb.tokenizer.net.latents(torch.from_numpy(rgb.io["image"]))
    assert np.allclose(latents, rgb.io["latents"], atol=1e-3)


@pytest.mark.parametrize("name", ["image448", "image_192x256"])
def test_tokens_at_other_sizes(rgb, recipe, name):
    size = name.removeprefix("image").lstrip("_")
    tokens = rgb.tokenizer.net.tokens(_input(recipe, rgb.meta, name))
    check_tokens(tokens, rgb.io[f"tokens_{size}"], rgb.io[f"token_margin_{size}"], ROUNDING)


def test_the_decoder_predicts_the_recorded_pictures(rgb):
    net, io = rgb.tokenizer.net, rgb.io
    noisy, codes = torch.from_numpy(io["x_t"]), torch.from_numpy(io["quantized"])
    full = net.predict(noisy, 999, codes)
    assert np.allclose(full, io["unet_out_0"], atol=2e-3)
    masked = net.predict(noisy, 500, codes * torch.from_numpy(~io["cond_mask"][:, None]))
    assert np.allclose(masked[:, :, ::4], io["unet_masked_out"], atol=2e-3)


def test_five_steps_of_diffusion_end_at_the_recorded_picture(rgb):
    tokens, noise = (torch.from_numpy(rgb.io[k]) for k in ("tokens", "noise"))
    images = rgb.tokenizer.net.decode(tokens.long(), noise, 5, torch.Generator())
    assert np.allclose(images, rgb.io["decode"], atol=5e-3)


@pytest.mark.parametrize("name", ["fourm_divae_depth_8k", "fourm_divae_normal_8k"])
def test_tokens_of_the_other_two(name, shared: Path, golden, seeded, tmp_path):
    """Only the encoder is filled: the decoder differs in its first and last layer alone."""
    meta, io = golden(name)
    (tmp_path / "config.json").write_text(json.dumps(meta["config"]))
    settings = read_settings(tmp_path / "config.json")
    assert settings.codebook_size == 8192
    with torch.device("meta"):
        net = Divae(settings)
    state = seeded(name, ("encoder.", "quant"))
    left = net.load_state_dict(state, strict=False, assign=True)
    assert not left.unexpected_keys and all(k.startswith("decoder.") for k in left.missing_keys)
    keys = json.loads((shared / "golden" / name / "keys.json").read_text())
    assert {k: list(v.shape) for k, v in net.state_dict().items()} == {
        k: shape for k, (shape, _) in keys.items()
    }
    with torch.inference_mode():
        tokens = net.tokens(torch.from_numpy(io["image"])).numpy()
    check_tokens(tokens, io["tokens"], io["token_margin"], ROUNDING)
