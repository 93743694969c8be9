"""Sizes of a DiVAE tokenizer, read from the config.json that is published beside its weights."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nano4m_audio.backends.divae.scheduler import Diffusion, signal_levels
from nano4m_audio.errors import UserError
from nano4m_audio.files import read_json


@dataclass(frozen=True)
class VitShape:
    """Encoder; the defaults are ``vit_b_enc``. ``table`` is the grid of the stored positions."""

    dim: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    patch_px: int = 16
    table: tuple[int, int] = (28, 28)


@dataclass(frozen=True)
class UnetShape:
    """Decoder; the defaults are ``unet_patched``."""

    channels: int = 256
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 3
    attention_levels: tuple[int, ...] = (2, 3)
    patch_px: int = 4


@dataclass(frozen=True)
class Settings:
    """Everything that decides the shape of a tokenizer and how its decoder runs."""

    n_channels: int
    codebook_size: int
    latent_dim: int = 32
    vit: VitShape = VitShape()
    unet: UnetShape = UnetShape()
    diffusion: Diffusion = Diffusion()


#: Settings that change the network, and the one value of each that is implemented: that of the
#: three published tokenizers. It is ml-4m's default too, but for those in _OMITTED.
_ONLY: dict[str, Any] = {
    "enc_type": "vit_b_enc",
    "dec_type": "unet_patched",
    "quant_type": "lucid",
    "patch_size": 16,
    "patch_proj": True,
    "num_codebooks": 1,
    "norm_codes": True,
    "n_labels": None,
    "post_mlp": True,
}
_OMITTED: dict[str, Any] = {"post_mlp": False}


def read_settings(path: Path) -> Settings:
    """Read a published config.json. UserError when it cannot be read, misses a size, or asks for
    something that is not implemented; keys that do not concern inference are ignored."""
    values = read_json(path, "fetch the weights of this tokenizer again")
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold an object of settings: fetch it again")
    for key, wanted in _ONLY.items():
        found = values.get(key, _OMITTED.get(key, wanted))
        if found != wanted:
            raise UserError(
                f"{path}: {key} is {found!r}, and only {wanted!r} is implemented: "
                "use one of the published 4M tokenizers"
            )
    return Settings(
        n_channels=_whole(path, values, "n_channels"),
        codebook_size=_whole(path, values, "codebook_size"),
        latent_dim=_whole(path, values, "latent_dim"),
        diffusion=_diffusion(path, values),
    )


def _whole(path: Path, values: dict[str, Any], key: str) -> int:
    """A positive whole number; published configs may write it as text ("16384")."""
    text = str(values.get(key, ""))
    if not text.isdecimal() or int(text) < 1:
        found = f"is {values[key]!r}" if key in values else "is missing"
        raise UserError(f"{path}: {key} {found}, it must be a positive whole number")
    return int(text)


def _diffusion(path: Path, values: dict[str, Any]) -> Diffusion:
    known = {f.name: values[f.name] for f in fields(Diffusion) if f.name in values}
    if "num_train_timesteps" in known:
        known["num_train_timesteps"] = _whole(path, values, "num_train_timesteps")
    if "beta_schedule" in known:
        known["beta_schedule"] = str(known["beta_schedule"])
    if known.get("scheduler", "ddpm") != "ddpm":
        known["scheduler"] = "ddim"  # whatever else it is called, as in ml-4m
    diffusion = Diffusion(**known)
    allowed = {
        "prediction_type": ("sample", "epsilon", "v_prediction"),
        "zero_terminal_snr": (True, False),
        "thresholding": (True, False),
        "clip_sample": (True, False),
    }
    for key, choices in allowed.items():
        if getattr(diffusion, key) not in choices:
            raise UserError(f"{path}: {key} is {known[key]!r}, it must be one of {choices}")
    try:
        signal_levels(diffusion)
    except ValueError as error:
        raise UserError(f"{path}: the noise schedule cannot be built: {error}") from None
    return diffusion
