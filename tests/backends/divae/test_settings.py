"""config.json: what it decides, and one clear line for everything that is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.divae.scheduler import Diffusion
from nano4m_audio.backends.divae.settings import read_settings
from nano4m_audio.backends.divae.tokenizer import FourmNormalTokenizer
from nano4m_audio.errors import UserError

GOOD = {
    "n_channels": 3,
    "codebook_size": 16384,
    "latent_dim": 32,
    "enc_type": "vit_b_enc",
    "dec_type": "unet_patched",
    "post_mlp": True,
    "norm_codes": True,
    "scheduler": "ddim",
    "beta_schedule": "linear",
    "prediction_type": "sample",
    "clip_sample": True,
    "sync_codebook": False,
}


def _write(folder: Path, **changes: object) -> Path:
    path = folder / "config.json"
    values = {**GOOD, **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))
    return path


def test_the_config_decides_sizes_and_diffusion(tmp_path: Path):
    settings = read_settings(_write(tmp_path, n_channels="1", codebook_size="8192"))
    assert (settings.n_channels, settings.codebook_size, settings.latent_dim) == (1, 8192, 32)
    assert settings.diffusion == Diffusion("ddim", "linear", "sample", clip_sample=True)


def test_what_a_config_omits_has_the_default_of_the_reference(tmp_path: Path):
    path = _write(tmp_path, scheduler=..., beta_schedule=..., prediction_type=..., clip_sample=...)
    assert read_settings(path).diffusion == Diffusion("ddpm", "squaredcos_cap_v2", "v_prediction")


def test_every_scheduler_but_ddpm_is_ddim(tmp_path: Path):
    for name, expected in {"ddpm": "ddpm", "ddim": "ddim", "DDIMScheduler": "ddim"}.items():
        assert read_settings(_write(tmp_path, scheduler=name)).diffusion.scheduler == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebook_size": "1024-512"}, "codebook_size is '1024-512'"),
        ({"latent_dim": ...}, "latent_dim is missing"),
        ({"n_channels": 0}, "n_channels is 0"),
        ({"post_mlp": ...}, "post_mlp is False, and only True"),
        ({"enc_type": "vit_l_enc"}, "enc_type is 'vit_l_enc'"),
        ({"dec_type": "uvit_b_p4_f16"}, "dec_type is 'uvit_b_p4_f16'"),
        ({"n_labels": 133}, "n_labels is 133"),
        ({"thresholding": "yes"}, "thresholding is 'yes'"),
        ({"beta_schedule": "sigmoid"}, "unknown beta_schedule 'sigmoid'"),
        ({"beta_schedule": "shifted_cosine:fast"}, "noise schedule cannot be built"),
        ({"beta_schedule": ["linear"]}, "unknown beta_schedule"),
        ({"num_train_timesteps": "many"}, "num_train_timesteps is 'many'"),
    ],
)
def test_another_config_is_one_line(tmp_path: Path, changes: dict[str, object], message: str):
    path = _write(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        read_settings(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_a_config_that_is_no_config_is_one_line(tmp_path: Path, text: str):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"config\.json.*fetch .* again"):
        read_settings(tmp_path / "config.json")


def test_missing_files_are_one_line(tmp_path: Path):
    with pytest.raises(UserError, match=r"config\.json does not exist: fetch"):
        FourmNormalTokenizer.load(Compute(), tmp_path)
    _write(tmp_path)
    with pytest.raises(UserError, match=r"model\.safetensors: no such file"):
        FourmNormalTokenizer.load(Compute(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(UserError, match=r"model\.safetensors is not a whole safetensors file"):
        FourmNormalTokenizer.load(Compute(), tmp_path)
