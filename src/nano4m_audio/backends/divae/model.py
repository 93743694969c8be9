"""The whole tokenizer network, and how the published files are loaded into it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from nano4m_audio.backends.batching import fill
from nano4m_audio.backends.checkpoints import read_safetensors
from nano4m_audio.backends.divae.encoder import Encoder
from nano4m_audio.backends.divae.quantizer import Quantizer
from nano4m_audio.backends.divae.scheduler import denoise
from nano4m_audio.backends.divae.settings import Settings, read_settings
from nano4m_audio.backends.divae.unet import Unet

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Divae(nn.Module):
    """Images [B, C, H, W] in -1..1 <-> token ids int64 [B, H / 16, W / 16].

    The attribute names are the keys of the published state dict.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = Encoder(settings.n_channels, settings.vit)
        self.quant_proj = nn.Conv2d(settings.vit.dim, settings.latent_dim, 1)
        self.quantize = Quantizer(settings.codebook_size, settings.latent_dim)
        self.decoder = Unet(settings.n_channels, settings.latent_dim, settings.unet)

    def latents(self, images: torch.Tensor) -> torch.Tensor:
        """Images -> float32 [B, latent_dim, H / 16, W / 16]."""
        return self.quant_proj(self.encoder(images)).float()

    def tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Images -> int64 [B, H / 16, W / 16]."""
        return self.quantize.tokens(self.latents(images))

    def predict(self, noisy: torch.Tensor, t: int, codes: torch.Tensor) -> torch.Tensor:
        """One call of the decoder at time ``t``; float32 [B, C, H, W]."""
        times = torch.full((len(noisy),), t, device=noisy.device)
        return self.decoder(noisy, times, codes).float()

    def decode(
        self, tokens: torch.Tensor, start: torch.Tensor, steps: int, generator: torch.Generator
    ) -> torch.Tensor:
        """Tokens [B, h, w] and noise [B, C, 16 h, 16 w] -> images in -1..1."""
        codes = self.quantize.vectors(tokens)
        return denoise(
            self.settings.diffusion,
            lambda noisy, t: self.predict(noisy, t, codes),
            start,
            steps,
            generator,
        )


def load_divae(folder: Path) -> Divae:
    """Build a tokenizer from ``config.json`` and fill it from ``model.safetensors``, on the CPU.

    Sizes come from the config, but for the table of positions, whose size is the file's. UserError
    when a file is missing or damaged, or when their keys or shapes differ from the network's.
    """
    settings = read_settings(folder / CONFIG)
    state = read_safetensors(folder / WEIGHTS)
    positions = state.get("encoder.pos_emb")
    if positions is not None and positions.ndim == 4:
        table = (positions.shape[2], positions.shape[3])
        settings = replace(settings, vit=replace(settings.vit, table=table))
    with torch.device("meta"):
        net = Divae(settings)
    return fill(net, state, folder / WEIGHTS)
